"""How frames reach a backend, in MLPerf's terms, and when one round has seen enough of them.

single: single stream, one frame at a time, the next once the last one's mask is there.
multi: multi stream, queries of several frames that arrive together.
server: frames arrive at random (a Poisson process), whether or not the last mask is there.
offline: all frames are at hand, and go in as many at once as the batch says.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.backends.backend import Backend, Job, Streamed
from benchmarks.records.measurements import MULTI, SINGLE, Round

Clock = Callable[[], int]  # nanoseconds
Frames = NDArray[np.uint8]  # (N, H, W, 3) BGR
Query = tuple[Frames, ...]  # the calls that answer it, one after the other

AHEAD = 2  # calls under way in a stream: one computes while the other is copied
WARM_CALLS = 2  # of a lane of an engine: the first takes its buffers, the second captures its graph
SERVER_QUERIES = 1000  # of a server's round: ten lie beyond the p99 that it must hold
SPARE = 1.1  # of a server's time, for arrivals that come late: three standard deviations of 1000
SPIN_NS = 500_000  # sleeping wakes up late; the last half millisecond is waited for awake


@dataclass(frozen=True)
class StopRule:
    """A round ends when both time and count are reached, and at the cap in any case.

    seconds, minimum_count: what a round must reach. Rounds are short, and many: what disturbs a
    machine for a while should meet all backends, and few rounds of each.
    cap_seconds: where a slow backend is cut short of the count. At least one query is measured.
    warm_up_ms: of unmeasured queries before each round, since others ran in between; at least one.
    """

    seconds: float = 0.5
    minimum_count: int = 3
    cap_seconds: float = 10.0
    warm_up_ms: float = 50.0


class GivenUp(Exception):
    """A backend that cannot do what a scenario asks, and why; the other scenarios it can."""


def server_rule(rule: StopRule, per_second: float, limit_seconds: float) -> StopRule:
    """The rule of a server's round: so many arrivals that a queue builds, and p99 means something.

    A backend that keeps up needs count / per_second; at twice that, or the limit, it has fallen
    behind.
    """
    seconds = min(rule.seconds, limit_seconds / SPARE)
    count = max(rule.minimum_count, SERVER_QUERIES, math.ceil(per_second * seconds))
    cap_seconds = min(2 * count / per_second, limit_seconds)
    return replace(rule, seconds=seconds, minimum_count=count, cap_seconds=cap_seconds)


def queries(scenario: str, frames: Frames, batch: int, streams: int) -> list[Query]:
    """The frames as queries, every frame at least once; the first come again to fill the last.

    batch: frames in one call. streams: frames in a query of `multi`.
    """
    if scenario == SINGLE:
        return [(frames[i : i + 1],) for i in range(len(frames))]
    size = streams if scenario == MULTI else batch
    count = math.ceil(len(frames) / size)
    filled = frames[np.arange(count * size) % len(frames)]
    return [
        tuple(filled[start + i : start + min(i + batch, size)] for i in range(0, size, batch))
        for start in range(0, len(filled), size)
    ]


def closed_loop(
    backend: Backend,
    asked: Sequence[Query],
    rule: StopRule,
    clock_ns: Clock = time.perf_counter_ns,
) -> Round:
    """Warm up, then answer query after query until the rule says enough."""
    _warm_up(backend, asked, rule.warm_up_ms, clock_ns)
    latencies_ms: list[float] = []
    cpu_ns, start_ns = time.process_time_ns(), clock_ns()
    while True:
        query = asked[len(latencies_ms) % len(asked)]
        before_ns = clock_ns()
        for frames in query:
            backend(frames)
        after_ns = clock_ns()
        latencies_ms.append(_ms(after_ns - before_ns))
        if stopped_by := _stop(rule, len(latencies_ms), (after_ns - start_ns) / 1e9):
            return Round(tuple(latencies_ms), _ms(after_ns - start_ns), stopped_by, _cpu_ms(cpu_ns))


def overlapping(
    backend: Streamed,
    asked: Sequence[Query],
    rule: StopRule,
    clock_ns: Clock = time.perf_counter_ns,
) -> Round:
    """Like closed_loop, with AHEAD calls under way at any time; each query must be one call.

    Latency runs from the frames being handed over to their masks being there. Throughput is what
    overlapping is for; a latency includes the wait for the frames before.
    """
    _warm_up_ahead(backend, asked, rule.warm_up_ms, clock_ns)
    under_way: deque[tuple[int, Job]] = deque()
    latencies_ms: list[float] = []
    cpu_ns, start_ns = time.process_time_ns(), clock_ns()
    submitted = 0
    stopped_by: str | None = None
    while stopped_by is None or under_way:
        while stopped_by is None and len(under_way) < AHEAD:
            (frames,) = asked[submitted % len(asked)]
            under_way.append((clock_ns(), backend.submit(frames)))
            submitted += 1
        handed_over_ns, job = under_way.popleft()
        job.result()
        after_ns = clock_ns()
        latencies_ms.append(_ms(after_ns - handed_over_ns))
        stopped_by = stopped_by or _stop(rule, len(latencies_ms), (after_ns - start_ns) / 1e9)
    return Round(tuple(latencies_ms), _ms(after_ns - start_ns), stopped_by, _cpu_ms(cpu_ns))


def poisson_arrivals(
    backend: Backend,
    asked: Sequence[Query],
    per_second: float,
    rule: StopRule,
    generator: np.random.Generator,
    latency_bound_ms: float = math.inf,
    clock_ns: Clock = time.perf_counter_ns,
    sleep: Callable[[float], object] = time.sleep,
) -> Round:
    """Queries that arrive at random, answered in their order by one backend.

    per_second: the mean rate of arrivals. The round has as many as arrive in rule.seconds, or the
    minimum count; where the backend falls behind, it ends at the cap. So it does once more than one
    query in a hundred was later than the bound, which no p99 can then hold.

    Latency runs from a query's arrival, so the time it waits for the ones before it counts.
    """
    _warm_up(backend, asked, rule.warm_up_ms, clock_ns)
    count = max(rule.minimum_count, math.ceil(per_second * rule.seconds))
    arrivals_ns = np.cumsum(generator.exponential(1e9 / per_second, count)).round().astype(int)
    latencies_ms: list[float] = []
    cpu_ns, start_ns = time.process_time_ns(), clock_ns()
    late, stopped_by = 0, "enough"
    for number, arrival_ns in enumerate(arrivals_ns.tolist()):
        _wait_until(start_ns + arrival_ns, clock_ns, sleep)
        for frames in asked[number % len(asked)]:
            backend(frames)
        latencies_ms.append(_ms(clock_ns() - start_ns - arrival_ns))
        late += latencies_ms[-1] > latency_bound_ms
        if clock_ns() - start_ns >= rule.cap_seconds * 1e9 or late > count / 100:
            stopped_by = "enough" if number + 1 == count else "cap"
            break
    return Round(
        tuple(latencies_ms),
        _ms(clock_ns() - start_ns),
        stopped_by,
        _cpu_ms(cpu_ns),
        arrivals_per_second=per_second,
    )


@dataclass
class RateSearch:
    """The highest rate of arrivals that holds p99 under a bound, by halving.

    slowest, fastest: per second; the rate is sought between them.
    """

    slowest: float
    fastest: float

    @property
    def next_rate(self) -> float:
        return round((self.slowest + self.fastest) / 2, 4)

    def learn(self, measured: Round, latency_bound_ms: float) -> None:
        """Take in a round at next_rate."""
        if holds(measured, latency_bound_ms):
            self.slowest = self.next_rate
        else:
            self.fastest = self.next_rate


def rate_search(alone: Round, latency_bound_ms: float, limit_seconds: float) -> RateSearch:
    """The rates of a backend that did so much by itself, without a queue.

    limit_seconds: of a round, in which the arrivals of the slowest rate come.

    Raises GivenUp where no rate can hold the bound, or none has its arrivals within the limit.
    """
    latency_ms = float(np.median(alone.latencies_ms))
    if latency_ms > latency_bound_ms:
        raise GivenUp(
            f"a frame that waits for no other takes {latency_ms:.1f} ms, more than the bound of "
            f"{latency_bound_ms:g} ms"
        )
    # Not even without a pause between the frames does it do more than this.
    fastest = 1e3 * len(alone.latencies_ms) / alone.wall_ms
    slowest = SPARE * SERVER_QUERIES / limit_seconds
    if slowest >= fastest:
        times = math.ceil(2 * slowest / fastest)
        raise GivenUp(
            f"it does {fastest:.1f} frames a second at most, and in the {limit_seconds:.3g} s of "
            f"a rate {SERVER_QUERIES} arrive only above {slowest:.1f} a second; give it "
            f"{times} times --limit-seconds, and --total-seconds where that is given"
        )
    return RateSearch(slowest, fastest)


def holds(measured: Round, latency_bound_ms: float) -> bool:
    """Whether a round of arrivals ended by itself, with its p99 within the bound."""
    p99_ms = float(np.percentile(measured.latencies_ms, 99))
    return measured.stopped_by == "enough" and p99_ms <= latency_bound_ms


def _stop(rule: StopRule, count: int, elapsed_s: float) -> str | None:
    """Why a round ends now; None if it goes on."""
    if elapsed_s >= rule.seconds and count >= rule.minimum_count:
        return "enough"
    return "cap" if elapsed_s >= rule.cap_seconds else None


def _warm_up(backend: Backend, asked: Sequence[Query], warm_up_ms: float, clock_ns: Clock) -> None:
    start_ns = clock_ns()
    count = 0
    while count == 0 or (clock_ns() - start_ns) / 1e6 < warm_up_ms:
        for frames in asked[count % len(asked)]:
            backend(frames)
        count += 1


def _warm_up_ahead(
    backend: Streamed, asked: Sequence[Query], warm_up_ms: float, clock_ns: Clock
) -> None:
    """With AHEAD calls under way, so that all that these need is there before it is timed."""
    start_ns = clock_ns()
    under_way: deque[Job] = deque()
    count = 0
    while count < WARM_CALLS * AHEAD or (clock_ns() - start_ns) / 1e6 < warm_up_ms:
        if len(under_way) == AHEAD:
            under_way.popleft().result()
        (frames,) = asked[count % len(asked)]
        under_way.append(backend.submit(frames))
        count += 1
    for job in under_way:
        job.result()


def _ms(nanoseconds: int) -> float:
    return round(nanoseconds / 1e6, 3)


def _cpu_ms(since_ns: int) -> float:
    return _ms(time.process_time_ns() - since_ns)


def _wait_until(moment_ns: int, clock_ns: Clock, sleep: Callable[[float], object]) -> None:
    while (left_ns := moment_ns - clock_ns()) > 0:
        if left_ns > SPIN_NS:
            sleep((left_ns - SPIN_NS) / 1e9)
