"""When rounds end, and in which order the backends take their turns."""

import numpy as np
from numpy.typing import NDArray

from benchmarks.scenarios import StopRule, one_round, single

FRAMES = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1).repeat(3, axis=3)  # (3, 1, 1, 3)
RULE = StopRule(seconds=1.0, minimum_count=10, cap_seconds=5.0, warm_up_ms=200.0)


class Stopwatch:
    """A clock that only a backend's work moves."""

    now_ns = 0

    def __call__(self) -> int:
        return self.now_ns


class Worker:
    """A backend that takes a fixed time by the clock and remembers which frames it saw."""

    description = "a worker"

    def __init__(self, clock: Stopwatch, milliseconds: float) -> None:
        self.clock, self.milliseconds, self.seen = clock, milliseconds, list[int]()

    def __call__(self, frames: NDArray[np.uint8], /) -> NDArray[np.uint8]:
        assert frames.shape == (1, 1, 1, 3)
        self.clock.now_ns += round(self.milliseconds * 1e6)
        self.seen.append(int(frames[0, 0, 0, 0]))
        return frames[..., 0]

    def close(self) -> None: ...


def test_a_fast_backend_runs_until_the_time_is_reached() -> None:
    clock = Stopwatch()
    measured = one_round(Worker(clock, 10), FRAMES, RULE, clock)
    assert measured.latencies_ms == (10.0,) * 100
    assert (measured.wall_ms, measured.stopped_by) == (1000.0, "enough")


def test_a_slow_backend_runs_until_the_count_is_reached() -> None:
    clock = Stopwatch()
    measured = one_round(Worker(clock, 400), FRAMES, RULE, clock)
    assert (len(measured.latencies_ms), measured.stopped_by) == (10, "enough")


def test_a_very_slow_backend_stops_at_the_cap_and_says_so() -> None:
    clock = Stopwatch()
    measured = one_round(Worker(clock, 2000), FRAMES, RULE, clock)
    assert (len(measured.latencies_ms), measured.stopped_by) == (3, "cap")


def test_the_warm_up_is_not_measured() -> None:
    clock = Stopwatch()
    worker = Worker(clock, 100)
    measured = one_round(worker, FRAMES, RULE, clock)
    assert len(worker.seen) == len(measured.latencies_ms) + 2


def test_frames_are_cycled() -> None:
    clock = Stopwatch()
    worker = Worker(clock, 400)
    one_round(worker, FRAMES, RULE, clock)
    assert worker.seen[1:] == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]


def test_latencies_are_whole_microseconds() -> None:
    clock = Stopwatch()
    measured = one_round(Worker(clock, 400.0004), FRAMES, RULE, clock)
    assert set(measured.latencies_ms) == {400.0}


def test_backends_take_turns() -> None:
    turns = list[str]()

    class Named(Worker):
        def __call__(self, frames: NDArray[np.uint8], /) -> NDArray[np.uint8]:
            turns.append(self.description)
            return frames[..., 0]

    backends = [Named(Stopwatch(), 0), Named(Stopwatch(), 0)]
    backends[0].description, backends[1].description = "A", "B"
    rule = StopRule(seconds=0.0, minimum_count=1, warm_up_ms=0.0)
    measured = single(backends, FRAMES, rule, rounds=3)
    assert turns[::2] == ["A", "B", "A", "B", "A", "B"]  # each turn: one warm-up, one measured
    assert [len(rounds) for rounds in measured] == [3, 3]
