"""Two records against each other: same, faster, slower or ambiguous, and what accuracy was lost.

Every round of a record stands between timings of the reference workload. What is compared is the
ratio of a round to the workload beside it: a machine that is slower for a while, or another day,
slows both. Of a record's rounds the median counts; the interval is a bootstrap over the rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from benchmarks.records.measurements import SERVER, Accuracy, Measurement, Round
from benchmarks.records.record import Record, Result
from benchmarks.records.statistics import FEWEST_VALUES, Interval, ratio_interval
from runtime.errors import InputError

SAME, FASTER, SLOWER, AMBIGUOUS = "same", "faster", "slower", "ambiguous"
WALL, PROCESSOR, RAW = "wall time", "processor time", "wall time, no reference workload"

# tools.compare_trial shows how often verdicts with these are right on the machine it
# runs on; docs/benchmarking.md says what it showed.
TOLERANCE = 0.05
ACCURACY_TOLERANCE = 0.001

# Of the processors that the workload's threads could have had, below which others had them.
UNDISTURBED_SHARE = 0.8


@dataclass(frozen=True)
class Comparison:
    """One measurement that both records hold.

    ratio: of the time per query, second record over first; above 1 is slower.
    by: which time; see time_compared.
    """

    name: str
    precision: str
    scenario: str
    batch: int
    size: tuple[int, int]
    ratio: Interval
    by: str
    verdict: str


@dataclass(frozen=True)
class Outcome:
    """Everything that two records say of each other.

    lost: backends, scenarios, batches, sizes and accuracy that the first has and the second lacks,
    and accuracy that went down.
    notes: what a reader must know before believing it.
    """

    comparisons: tuple[Comparison, ...]
    lost: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def regressions(self) -> list[str]:
        slower = [
            f"{c.name} {c.precision}, {c.scenario}: {c.ratio.estimate - 1:+.1%}"
            for c in self.comparisons
            if c.verdict == SLOWER
        ]
        return [*slower, *self.lost]


def compare(
    first: Record,
    second: Record,
    tolerance: float = TOLERANCE,
    accuracy_tolerance: float = ACCURACY_TOLERANCE,
) -> Outcome:
    """Compare what both records hold.

    tolerance: the change of time that does not matter, as a share; see verdict.
    accuracy_tolerance: the loss of agreement or of mIoU that does not matter, 0 to 1.

    Raises InputError if they have no measurement in common, or if their reference workloads are
    different work.
    """
    _check_workloads(first, second)
    pairs = list(_pairs(first, second))
    by = time_compared(first, second)
    comparisons = [
        _compared(a, one, two, by if a.device == "cpu" else WALL, tolerance)
        for a, b in pairs
        for one, two in _common_measurements(a, b)
    ]
    if not comparisons:
        raise InputError(
            "the records have no backend, scenario, batch and size in common; compare two runs of "
            "one `refinenet benchmark` command"
        )
    judged_alike = first.conditions.images == second.conditions.images
    lost = [*_lost_results(first, pairs), *(line for a, b in pairs for line in _lost_rounds(a, b))]
    if judged_alike:
        lost += [line for a, b in pairs for line in _lost_accuracy(a, b, accuracy_tolerance)]
    return Outcome(tuple(comparisons), tuple(lost), tuple(_notes(first, second, pairs)))


def verdict(ratio: Interval, tolerance: float) -> str:
    """What an interval of ratios says.

    slower, faster: the estimate lies beyond the tolerance, and the interval does not hold 1.
    same: the estimate lies within the tolerance, and the interval excludes twice the tolerance.
    ambiguous: neither; more rounds, or a quieter machine, would tell.
    """
    near, far = 1 + tolerance, 1 + 2 * tolerance
    if ratio.estimate > near and ratio.low > 1:
        return SLOWER
    if ratio.estimate < 1 / near and ratio.high < 1:
        return FASTER
    if 1 / near <= ratio.estimate <= near and 1 / far < ratio.low and ratio.high < far:
        return SAME
    return AMBIGUOUS


def time_compared(first: Record, second: Record) -> str:
    """Wall time; processor time where other programs had the processor in one of the records.

    Wall time is what a user waits. Where other programs take turns on the same cores it is also
    theirs, and for CPU backends the time that this process itself computed says more. Whether they
    did is seen from the reference workload: an undisturbed one keeps all its threads busy.
    """
    disturbed = any(_undisturbed_share(record) < UNDISTURBED_SHARE for record in (first, second))
    return PROCESSOR if disturbed else WALL


def _undisturbed_share(record: Record) -> float:
    threads = record.conditions.threads or record.environment.cores
    shares = [
        sum(played.workload_cpu_ms) / sum(played.workload_ms) / threads
        for result in record.results
        for entry in result.measurements
        for played in entry.rounds
        if result.device == "cpu" and played.workload_cpu_ms
    ]
    return median(shares) if shares else 1.0


def _check_workloads(first: Record, second: Record) -> None:
    for device, work in first.conditions.workloads.items():
        other = second.conditions.workloads.get(device, work)
        if other != work:
            raise InputError(
                f"the records' reference workloads differ ({work}; {other}), so that their times "
                "cannot be compared. Measure both with the same version"
            )


def _pairs(first: Record, second: Record) -> Iterator[tuple[Result, Result]]:
    """The results of the same backend with the same precision; of several, of the same file."""
    for a in first.results:
        alike = [b for b in second.results if (a.name, a.precision) == (b.name, b.precision)]
        same_file = [b for b in alike if b.file == a.file]
        if len(alike) == 1 or same_file:
            yield a, (same_file or alike)[0]


def _common_measurements(a: Result, b: Result) -> Iterator[tuple[Measurement, Measurement]]:
    others = {_key(entry): entry for entry in b.measurements if entry.rounds}
    for entry in a.measurements:
        if entry.rounds and _key(entry) in others and entry.scenario != SERVER:
            yield entry, others[_key(entry)]


def _key(entry: Measurement) -> tuple[str, int, int, int, int]:
    return entry.scenario, entry.batch, entry.frames_per_query, entry.height, entry.width


def _compared(
    result: Result, one: Measurement, two: Measurement, by: str, tolerance: float
) -> Comparison:
    rounds = (*one.rounds, *two.rounds)
    if not all(played.workload_ms for played in rounds):
        by = RAW
    elif by == PROCESSOR and not all(p.cpu_ms and p.workload_cpu_ms for p in rounds):
        by = WALL
    enough = min(len(one.rounds), len(two.rounds)) >= FEWEST_VALUES
    of_round = _TIMES[by]
    ratio = ratio_interval([of_round(r) for r in two.rounds], [of_round(r) for r in one.rounds])
    return Comparison(
        result.name,
        result.precision,
        one.scenario,
        one.batch,
        (one.height, one.width),
        ratio,
        by,
        verdict(ratio, tolerance) if enough else AMBIGUOUS,
    )


def _wall_per_workload(played: Round) -> float:
    return median(played.latencies_ms) / median(played.workload_ms)


def _processor_per_workload(played: Round) -> float:
    # Means: the processor's clock has no outliers of others' making, and counts coarsely.
    return (played.cpu_ms or 0) / len(played.latencies_ms) / fmean(played.workload_cpu_ms)


def _wall(played: Round) -> float:
    return median(played.latencies_ms)


_TIMES: dict[str, Callable[[Round], float]] = {
    WALL: _wall_per_workload,
    PROCESSOR: _processor_per_workload,
    RAW: _wall,
}


def _lost_results(first: Record, pairs: Sequence[tuple[Result, Result]]) -> Iterator[str]:
    paired = {id(a) for a, _ in pairs}
    for result in first.results:
        if _ran(result) and id(result) not in paired:
            yield f"{result.name} {result.precision}: not in the second record"


def _lost_rounds(a: Result, b: Result) -> Iterator[str]:
    problem = b.not_run or b.error
    if _ran(a) and problem and a.error is None:
        yield f"{a.name} {a.precision}: lost: {problem}"
    elif not problem:
        there = {_key(entry) for entry in b.measurements if entry.rounds}
        for entry in a.measurements:
            if entry.rounds and _key(entry) not in there:
                asked = f"{entry.scenario}, batch {entry.batch}, {entry.height}x{entry.width}"
                yield f"{a.name} {a.precision}: {asked}: not measured in the second record"


def _ran(result: Result) -> bool:
    return any(entry.rounds for entry in result.measurements)


def _lost_accuracy(a: Result, b: Result, tolerance: float) -> Iterator[str]:
    others = {(entry.height, entry.width): entry for entry in b.accuracies}
    for before in a.accuracies:
        after = others.get((before.height, before.width))
        for what, measure in _MEASURES.items():
            was, now = measure(before), measure(after) if after else None
            if was is not None and now is None and not (b.not_run or b.error):
                yield f"{a.name} {a.precision}: {what} was {was:.2%}, not in the second record"
            elif was is not None and now is not None and now < was - tolerance:
                yield f"{a.name} {a.precision}: {what} fell from {was:.2%} to {now:.2%}"


_MEASURES: dict[str, Callable[[Accuracy], float | None]] = {
    "agreement": lambda accuracy: accuracy.agreement.share if accuracy.agreement else None,
    "mIoU": lambda accuracy: accuracy.mean_iou,
}


def _notes(first: Record, second: Record, pairs: Sequence[tuple[Result, Result]]) -> Iterator[str]:
    if first.environment.cpu != second.environment.cpu:
        yield "different CPUs: the reference workload makes up for it only in part"
    if [g.name for g in first.environment.gpus] != [g.name for g in second.environment.gpus]:
        yield "different GPUs: the reference workload makes up for it only in part"
    for what in ("threads", "labels"):
        was, now = getattr(first.conditions, what), getattr(second.conditions, what)
        if was != now:
            yield f"different {what}: {was} and {now}"
    if first.conditions.images != second.conditions.images:
        yield "different images: accuracy is not compared"
    paired = {id(b) for _, b in pairs}
    for result in second.results:
        if id(result) not in paired:
            yield f"only in the second record: {result.name} {result.precision}"
    if any(e.scenario == SERVER for r in first.results for e in r.measurements):
        yield "the server scenario is not compared: the rates it found have no interval"
