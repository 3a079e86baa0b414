"""Rounds in turns, A B C A B C …, so that a drift of the machine meets all backends alike."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from statistics import median

from benchmarks.backends.backend import reason_of
from benchmarks.host.gpu_state import throttle_reasons
from benchmarks.host.reference_workload import ReferenceWorkload
from benchmarks.records.measurements import Round
from benchmarks.records.statistics import FEWEST_VALUES, median_interval
from benchmarks.scenarios.scenarios import GivenUp

WORKLOAD_TIMES = 3  # before a round, and after it
SETTLE_S = 0.05  # until threads that wait awake for their library's next call have gone to sleep


@dataclass(frozen=True)
class Patience:
    """How many rounds there are.

    rounds: that every backend gets at least.
    stable_within: no more rounds, once half the 95 % interval of every backend's median is within
    this share of the median. None: exactly `rounds`.
    limit_seconds: no further rounds after this time, stable or not.
    whole_seconds: of all backends together; after it there are no further rounds, not even the
    least number of them.
    """

    rounds: int = 10
    stable_within: float | None = 0.02
    limit_seconds: float = 60.0
    whole_seconds: float = math.inf


class Deadline:
    """The end of a whole benchmark: some seconds from now, or never.

    reason: why what comes after it was not run.
    """

    def __init__(
        self, seconds: float | None, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock_s, self._seconds = clock_s, math.inf if seconds is None else seconds
        self._end_s = clock_s() + self._seconds
        self.reason = f"the {self._seconds:g} s of --total-seconds were over"

    @property
    def left_seconds(self) -> float:
        return self._end_s - self._clock_s()

    @property
    def half_over(self) -> bool:
        """Backends that compile for minutes must leave time to measure those that are there."""
        return self.left_seconds < self._seconds / 2


@dataclass
class Contestant:
    """One backend in one scenario.

    play: plays one round. on_gpu: whether the GPU's state matters to it.
    rounds: those played; error: what ended them early; given_up: why there are none.
    """

    play: Callable[[], Round]
    workload: ReferenceWorkload | None
    on_gpu: bool
    rounds: list[Round] = field(default_factory=list)
    error: str | None = None
    given_up: str | None = None

    @property
    def spread(self) -> float:
        """Half the 95 % interval of the rounds' median latency, over it; inf of too few rounds."""
        if len(self.rounds) < FEWEST_VALUES:
            return math.inf
        medians = [median(entry.latencies_ms) for entry in self.rounds]
        return median_interval(medians).relative_width


def play_in_turns(
    contestants: Sequence[Contestant],
    patience: Patience,
    after_turn: Callable[[], object] = lambda: None,
    clock_s: Callable[[], float] = time.monotonic,
) -> list[str]:
    """Play rounds until all are stable or the time is over, at least one each.

    An exception ends the rounds of its backend alone; those before it stay.

    Returns why each contestant's rounds ended: stable, time, rounds or error.
    """
    start = clock_s()
    for turn in count():
        spent = clock_s() - start
        if turn and spent >= patience.whole_seconds:
            break
        if turn >= patience.rounds and (
            spent >= patience.limit_seconds or _enough(contestants, patience)
        ):
            break
        for contestant in contestants:
            if contestant.error is None and contestant.given_up is None:
                _play(contestant)
            after_turn()
    return [_reason(contestant, patience) for contestant in contestants]


def _enough(contestants: Sequence[Contestant], patience: Patience) -> bool:
    """Whether nobody needs another round: who has given up plays none."""
    return all(
        contestant.given_up is not None or _reason(contestant, patience) != "time"
        for contestant in contestants
    )


def _reason(contestant: Contestant, patience: Patience) -> str:
    if contestant.error is not None:
        return "error"
    if patience.stable_within is None:
        return "rounds" if len(contestant.rounds) >= patience.rounds else "time"
    return "stable" if contestant.spread <= patience.stable_within else "time"


def _play(contestant: Contestant) -> None:
    try:
        contestant.rounds.append(_played(contestant))
    except GivenUp as reason:
        contestant.given_up = str(reason)
    except Exception as error:
        contestant.error = reason_of(error)


def _played(contestant: Contestant) -> Round:
    before = _time_workload(contestant)
    played = contestant.play()
    throttle = throttle_reasons() if contestant.on_gpu else None
    timed = before + _time_workload(contestant)
    return replace(
        played,
        workload_ms=tuple(wall for wall, _ in timed),
        workload_cpu_ms=tuple(cpu for _, cpu in timed),
        throttle_reasons=throttle,
    )


def _time_workload(contestant: Contestant) -> list[tuple[float, float]]:
    workload = contestant.workload
    if workload is None:
        return []
    if not contestant.on_gpu:
        time.sleep(SETTLE_S)
    return [workload() for _ in range(WORKLOAD_TIMES)]
