"""How frames reach a backend, and when a measurement has seen enough of them.

`single` is MLPerf's single stream: one frame at a time, the next once the last one's mask is there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.backends import Backend
from benchmarks.record import Round

SCENARIOS = ("single",)

Clock = Callable[[], int]  # nanoseconds


@dataclass(frozen=True)
class StopRule:
    """A round ends when both time and count are reached, and at the cap in any case.

    seconds, minimum_count: what a round must reach. The defaults are trtexec's.
    cap_seconds: where a slow backend is cut short of the count. At least one frame is measured.
    warm_up_ms: of unmeasured frames before each round, since others ran in between; at least one.
    """

    seconds: float = 3.0
    minimum_count: int = 10
    cap_seconds: float = 30.0
    warm_up_ms: float = 200.0


def single(
    backends: Sequence[Backend],
    frames: NDArray[np.uint8],
    rule: StopRule,
    rounds: int,
    after_round: Callable[[], object] = lambda: None,
) -> list[tuple[Round, ...]]:
    """Measure the backends in turns, A B C A B C …, so that a drift of the machine meets them all.

    frames: (N, H, W, 3) uint8 BGR, given one by one and over again.

    Returns each backend's rounds, in the order of `backends`.
    """
    measured: list[list[Round]] = [[] for _ in backends]
    for _ in range(rounds):
        for backend, own_rounds in zip(backends, measured, strict=True):
            own_rounds.append(one_round(backend, frames, rule))
            after_round()
    return [tuple(own_rounds) for own_rounds in measured]


def one_round(
    backend: Backend,
    frames: NDArray[np.uint8],
    rule: StopRule,
    clock_ns: Clock = time.perf_counter_ns,
) -> Round:
    """Warm up, then time frame after frame until the rule says enough."""
    batches = [frames[i : i + 1] for i in range(len(frames))]  # (1, H, W, 3) each
    _warm_up(backend, batches, rule.warm_up_ms, clock_ns)
    latencies_ms: list[float] = []
    start_ns = clock_ns()
    while True:
        batch = batches[len(latencies_ms) % len(batches)]
        before_ns = clock_ns()
        backend(batch)
        after_ns = clock_ns()
        latencies_ms.append(round((after_ns - before_ns) / 1e6, 3))
        elapsed_s = (after_ns - start_ns) / 1e9
        if elapsed_s >= rule.seconds and len(latencies_ms) >= rule.minimum_count:
            return Round(tuple(latencies_ms), round(elapsed_s * 1e3, 3), "enough")
        if elapsed_s >= rule.cap_seconds:
            return Round(tuple(latencies_ms), round(elapsed_s * 1e3, 3), "cap")


def _warm_up(
    backend: Backend, batches: list[NDArray[np.uint8]], warm_up_ms: float, clock_ns: Clock
) -> None:
    start_ns = clock_ns()
    count = 0
    while count == 0 or (clock_ns() - start_ns) / 1e6 < warm_up_ms:
        backend(batches[count % len(batches)])
        count += 1
