"""What a server costs beside the network: the same frames by a file here and by a server.

python -m tools.serving_cost street.fp32.onnx triton://localhost:8001/street --images photos \
    --threads 2 --json benchmarks/results/serving-network.json

The cases take turns, so that other load meets all alike. The server's own figures are its
statistics: how long a request waited there, and what the model took.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.host.environment import environment, machine_state
from runtime.arguments import DONE, Parser, positive, run_command
from runtime.errors import CheckFailed
from runtime.files import sha256_of, written_whole
from runtime.frames import Frame, images_of, read_frame
from runtime.remote.served_model import served_model
from runtime.remote.triton_session import TritonSession
from runtime.resize import fit
from runtime.session import open_session

PROGRAM = "python -m tools.serving_cost"
FILE, MESSAGE, MEMORY = "file in this process", "server, gRPC messages", "server, shared memory"
PARTS = ("queue", "compute_input", "compute_infer", "compute_output")
WARM_UP = 3


@dataclass(frozen=True)
class Cost:
    """latency_ms: of every frame. server_ms: the mean of each part that the server counts, of one
    frame; empty for a file."""

    case: str
    latency_ms: list[float]
    server_ms: dict[str, float]

    @property
    def median_ms(self) -> float:
        return median(self.latency_ms)


def serving_cost(
    model: Path, address: str, frames: Sequence[Frame], rounds: int, threads: int | None
) -> list[Cost]:
    """Each case on every frame, `rounds` times. Raises CheckFailed if the masks are not equal."""
    with ExitStack() as stack:
        local = open_session(model, None, None, threads, None)
        stack.callback(local.close)
        by_message = stack.enter_context(TritonSession.open(address, shared_memory=False))
        by_memory = stack.enter_context(TritonSession.open(address))
        if not by_memory.description.endswith("shared memory"):
            raise CheckFailed(f"{address} shares no memory with this process")
        if by_memory.served.sha256 != sha256_of(model):
            raise CheckFailed(f"{address} does not serve {model}")
        batches = [fit(frame, by_memory.card)[None] for frame in frames]
        cases: dict[str, Callable[[Frame], Any]] = {
            FILE: local, MESSAGE: by_message, MEMORY: by_memory
        }  # fmt: skip
        _check_equal(cases, batches)
        latency_ms: dict[str, list[float]] = {case: [] for case in cases}
        counted: dict[str, list[dict[str, float]]] = {case: [] for case in cases}
        for _ in range(rounds):
            for case, call in cases.items():
                before = by_memory.statistics_ms()
                latency_ms[case] += _timed(call, batches)
                after = by_memory.statistics_ms()
                counted[case].append({part: after[part] - before[part] for part in after})
    count = rounds * len(batches)
    return [
        Cost(
            case,
            latency_ms[case],
            {
                part: round(sum(entry[part] for entry in counted[case]) / count, 3)
                for part in (PARTS if case != FILE else ())
            },
        )
        for case in cases
    ]


def _check_equal(cases: dict[str, Callable[[Frame], Any]], batches: Sequence[Frame]) -> None:
    """Which warms every case up."""
    for batch in [*batches, *[batches[0]] * WARM_UP]:
        masks = [call(batch) for call in cases.values()]
        if not all(np.array_equal(masks[0], mask) for mask in masks[1:]):
            raise CheckFailed("the masks of file and server differ")


def _timed(call: Callable[[Frame], Any], batches: Sequence[Frame]) -> list[float]:
    latencies = []
    for batch in batches:
        start = time.perf_counter_ns()
        call(batch)
        latencies.append(round((time.perf_counter_ns() - start) / 1e6, 3))
    return latencies


def main(arguments: Sequence[str]) -> int:
    parser = Parser("serving-cost", "What a server costs beside the network.", PROGRAM)
    parser.prog = PROGRAM
    parser.add_argument("model", type=Path, help="the file that is served")
    parser.add_argument("address", help="triton://HOST:PORT/NAME")
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--limit", type=positive, default=8, help="images (default: 8)")
    parser.add_argument("--rounds", type=positive, default=5, help="(default: 5)")
    parser.add_argument("--threads", type=positive, help="of the file in this process")
    parser.add_argument("--json", type=Path, required=True)
    given = parser.parse_args(arguments)
    frames = [read_frame(image) for image in images_of(given.images)[: given.limit]]
    before = machine_state()
    costs = serving_cost(given.model, given.address, frames, given.rounds, given.threads)
    record = {
        "command": " ".join([PROGRAM, *arguments]),
        "environment": asdict(environment()),
        "before": asdict(before),
        "after": asdict(machine_state()),
        "frame_shapes": sorted({frame.shape for frame in frames}),
        "server": served_model(given.address).server,
        "model_sha256": sha256_of(given.model),
        "costs": [asdict(cost) for cost in costs],
    }
    with written_whole(given.json) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    for cost in costs:
        parts = ", ".join(f"{part} {ms:.2f}" for part, ms in cost.server_ms.items())
        print(f"{cost.case:<24} {cost.median_ms:9.2f} ms  {parts}")
    return DONE


if __name__ == "__main__":
    sys.exit(run_command(main, PROGRAM, sys.argv[1:]))
