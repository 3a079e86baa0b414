"""When rounds end, and in which order the backends take their turns."""

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.backends.backend import Streamed
from benchmarks.records.measurements import Round
from benchmarks.scenarios.scenarios import (
    SERVER_QUERIES,
    GivenUp,
    RateSearch,
    StopRule,
    closed_loop,
    holds,
    overlapping,
    poisson_arrivals,
    queries,
    rate_search,
    server_rule,
)

FRAMES = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1).repeat(3, axis=3)  # (3, 1, 1, 3)
SINGLE = queries("single", FRAMES, 1, 8)
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
    measured = closed_loop(Worker(clock, 10), SINGLE, RULE, clock)
    assert measured.latencies_ms == (10.0,) * 100
    assert (measured.wall_ms, measured.stopped_by) == (1000.0, "enough")


def test_a_slow_backend_runs_until_the_count_is_reached() -> None:
    clock = Stopwatch()
    measured = closed_loop(Worker(clock, 400), SINGLE, RULE, clock)
    assert (len(measured.latencies_ms), measured.stopped_by) == (10, "enough")


def test_a_very_slow_backend_stops_at_the_cap_and_says_so() -> None:
    clock = Stopwatch()
    measured = closed_loop(Worker(clock, 2000), SINGLE, RULE, clock)
    assert (len(measured.latencies_ms), measured.stopped_by) == (3, "cap")


def test_the_warm_up_is_not_measured() -> None:
    clock = Stopwatch()
    worker = Worker(clock, 100)
    measured = closed_loop(worker, SINGLE, RULE, clock)
    assert len(worker.seen) == len(measured.latencies_ms) + 2


def test_frames_are_cycled() -> None:
    clock = Stopwatch()
    worker = Worker(clock, 400)
    closed_loop(worker, SINGLE, RULE, clock)
    assert worker.seen[1:] == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]


def test_latencies_are_whole_microseconds() -> None:
    clock = Stopwatch()
    measured = closed_loop(Worker(clock, 400.0004), SINGLE, RULE, clock)
    assert set(measured.latencies_ms) == {400.0}


def shapes(scenario: str, batch: int, streams: int) -> list[list[list[int]]]:
    """The frames' numbers, of every call of every query."""
    asked = queries(scenario, FRAMES, batch, streams)
    return [[frames[:, 0, 0, 0].tolist() for frames in query] for query in asked]


def test_every_scenario_asks_in_its_own_way() -> None:
    assert shapes("single", 1, 8) == [[[0]], [[1]], [[2]]]
    assert shapes("offline", 2, 8) == [[[0, 1]], [[2, 0]]]
    assert shapes("multi", 1, 4) == [[[0], [1], [2], [0]]]
    assert shapes("multi", 2, 4) == [[[0, 1], [2, 0]]]


def test_the_latency_of_a_query_is_that_of_all_its_frames() -> None:
    clock = Stopwatch()
    measured = closed_loop(Worker(clock, 100), queries("multi", FRAMES, 1, 4), RULE, clock)
    assert set(measured.latencies_ms) == {400.0}


class Stream(Worker):
    """A device that is done with a call so long after it took it up, one after the other."""

    def __init__(self, clock: Stopwatch, milliseconds: float) -> None:
        super().__init__(clock, milliseconds)
        self.free_ns = 0

    def submit(self, frames: NDArray[np.uint8]) -> "Stream.Under":
        self.free_ns = max(self.free_ns, self.clock.now_ns) + round(self.milliseconds * 1e6)
        self.clock.now_ns += 1_000_000  # the host takes a millisecond for a frame
        return Stream.Under(self, self.free_ns, frames[..., 0])

    class Under:
        def __init__(self, stream: "Stream", ready_ns: int, masks: NDArray[np.uint8]) -> None:
            self.stream, self.ready_ns, self.masks = stream, ready_ns, masks

        def result(self) -> NDArray[np.uint8]:
            clock = self.stream.clock
            clock.now_ns = max(clock.now_ns, self.ready_ns)
            return self.masks


def test_frames_that_overlap_hide_the_hosts_share() -> None:
    clock = Stopwatch()
    measured = overlapping(
        Streamed(Stream(clock, 9)), queries("offline", FRAMES, 1, 8), RULE, clock
    )
    # 9 ms each, not 10; two are under way at a time, and those at the end are waited for.
    assert len(measured.latencies_ms) == 113
    assert measured.wall_ms == 113 * 9
    assert np.median(measured.latencies_ms) == 18


class Lanes(Stream):
    """An engine: a lane more where all are in use, which takes its buffers and then captures."""

    def __init__(self, clock: Stopwatch) -> None:
        super().__init__(clock, 9)
        self.free, self.lanes = list[int](), list[int]()  # the lanes' calls, by number

    def submit(self, frames: NDArray[np.uint8]) -> "Lanes.Lane":
        if not self.free:
            self.free.append(len(self.lanes))
            self.lanes.append(0)
        lane = self.free.pop()
        self.lanes[lane] += 1
        if self.lanes[lane] <= 2:
            self.clock.now_ns += 500_000_000
        return Lanes.Lane(self, lane, super().submit(frames))

    class Lane(Stream.Under):
        def __init__(self, lanes: "Lanes", lane: int, under: Stream.Under) -> None:
            super().__init__(lanes, under.ready_ns, under.masks)
            self.lanes, self.lane = lanes, lane

        def result(self) -> NDArray[np.uint8]:
            self.lanes.free.append(self.lane)
            return super().result()


def test_what_a_stream_prepares_for_every_call_under_way_is_not_timed() -> None:
    clock = Stopwatch()
    lanes = Lanes(clock)
    cold = StopRule(seconds=1.0, minimum_count=10, warm_up_ms=0.0)
    measured = overlapping(Streamed(lanes), queries("offline", FRAMES, 1, 8), cold, clock)
    assert len(lanes.lanes) == 2
    assert max(measured.latencies_ms) <= 20


SERVER_RULE = StopRule(seconds=10.0, minimum_count=10, cap_seconds=20.0, warm_up_ms=0.0)


def arrivals(
    milliseconds: float,
    per_second: float,
    rule: StopRule = SERVER_RULE,
    latency_bound_ms: float = np.inf,
) -> Round:
    """A server that takes so long for a frame, at a rate, by a clock that only it moves."""
    clock = Stopwatch()

    def sleep(seconds: float) -> None:
        clock.now_ns += round(seconds * 1e9)

    worker = Worker(clock, milliseconds)
    generator = np.random.default_rng(0)

    def ticking() -> int:
        clock.now_ns += 10_000  # or a wait that is awake would never end
        return clock.now_ns

    return poisson_arrivals(
        worker, SINGLE, per_second, rule, generator, latency_bound_ms, ticking, sleep
    )


def test_a_server_that_is_fast_enough_answers_every_frame_within_its_time() -> None:
    measured = arrivals(milliseconds=1, per_second=20)
    assert len(measured.latencies_ms) == 200
    assert np.median(measured.latencies_ms) < 1.1
    assert measured.arrivals_per_second == 20


def test_frames_that_wait_for_the_ones_before_them_are_late() -> None:
    at_ease, busy = arrivals(20, 5), arrivals(20, 40)
    assert np.percentile(busy.latencies_ms, 99) > 2 * np.percentile(at_ease.latencies_ms, 99)


def test_a_server_that_falls_behind_ends_at_the_cap() -> None:
    assert arrivals(milliseconds=100, per_second=50).stopped_by == "cap"


def test_a_queue_needs_many_arrivals_to_build() -> None:
    # At 45 of at most 50 a second, one query in five waits for longer than three others' times.
    busy, bound_ms = 45.0, 80.0
    short = StopRule(seconds=0.5, minimum_count=3, warm_up_ms=0.0)
    assert holds(arrivals(20, busy, short), bound_ms)
    assert not holds(arrivals(20, busy, server_rule(short, busy, np.inf)), bound_ms)
    at_ease = arrivals(20, 10.0, server_rule(short, 10.0, np.inf), bound_ms)
    assert holds(at_ease, bound_ms)
    assert len(at_ease.latencies_ms) == SERVER_QUERIES


def test_a_server_that_cannot_hold_its_bound_any_more_stops_at_once() -> None:
    rule = server_rule(StopRule(warm_up_ms=0.0), per_second=1.0, limit_seconds=np.inf)
    measured = arrivals(20, 1.0, rule, latency_bound_ms=10.0)
    assert len(measured.latencies_ms) == SERVER_QUERIES // 100 + 1
    assert not holds(measured, 10.0)


def test_a_servers_cap_leaves_a_backend_that_keeps_up_twice_its_time() -> None:
    assert server_rule(StopRule(), 20.0, np.inf).cap_seconds == 2 * SERVER_QUERIES / 20
    assert server_rule(StopRule(seconds=10.0), 1e4, np.inf).minimum_count == 100_000


def test_a_servers_round_ends_at_its_limit() -> None:
    assert server_rule(StopRule(), per_second=20.0, limit_seconds=60.0).cap_seconds == 60.0
    long = server_rule(StopRule(seconds=100.0), per_second=1e3, limit_seconds=11.0)
    assert long.minimum_count == 10_000  # in ten seconds, and one is spare


def alone(latency_ms: float) -> Round:
    return Round((latency_ms,) * 10, 10 * latency_ms, "enough")


def test_a_search_begins_at_the_rate_whose_arrivals_come_in_time() -> None:
    search = rate_search(alone(20.0), latency_bound_ms=33.0, limit_seconds=110.0)
    assert (search.slowest, search.fastest) == (pytest.approx(10.0), 50.0)
    for _ in range(8):  # at the slowest rates too, the arrivals end by themselves
        rule = server_rule(StopRule(warm_up_ms=0.0), search.next_rate, 110.0)
        measured = arrivals(1, search.next_rate, rule)
        assert (measured.stopped_by, measured.wall_ms < 110e3) == ("enough", True)
        search.fastest = search.next_rate


def test_a_search_that_finds_nothing_is_given_up_at_once() -> None:
    with pytest.raises(GivenUp, match=r" 40\.0 ms.* 33 ms"):
        rate_search(alone(40.0), latency_bound_ms=33.0, limit_seconds=60.0)
    with pytest.raises(GivenUp, match=r" 146\.7 .* 6 times --limit-seconds"):
        rate_search(alone(20.0), latency_bound_ms=33.0, limit_seconds=7.5)


def test_the_highest_rate_is_found_by_halving() -> None:
    search = RateSearch(0.0, 64.0)
    for _ in range(8):
        p99 = 10.0 if search.next_rate <= 21 else 90.0
        search.learn(Round((p99,), 1.0, "enough"), latency_bound_ms=50)
    assert search.slowest == 21.0
