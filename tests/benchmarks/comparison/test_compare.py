"""Records that say the same, records that do not, and records that cannot tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.comparison.compare import (
    AMBIGUOUS,
    FASTER,
    PROCESSOR,
    RAW,
    SAME,
    SLOWER,
    WALL,
    Outcome,
    compare,
    verdict,
)
from benchmarks.records.measurements import Accuracy, Agreement, Measurement, Round
from benchmarks.records.record import Record, write_record
from benchmarks.records.statistics import Interval, median_interval, ratio_interval
from refinenet.__main__ import main
from runtime.errors import InputError

GENERATOR = np.random.default_rng(0)


def rounds(frame_ms: float, machine: Sequence[float], noise: float = 0.01) -> tuple[Round, ...]:
    """One round for each moment of a machine that is so many times slower than at its best."""
    made = []
    for slower in machine:
        latencies = frame_ms * slower * GENERATOR.normal(1, noise, 20)
        workload = tuple(5 * slower * GENERATOR.normal(1, noise, 10))
        latencies_ms = tuple(float(ms) for ms in latencies)
        wall_ms = sum(latencies_ms)
        # Two threads, both busy all the time.
        busy = tuple(2 * ms for ms in workload)
        made.append(Round(latencies_ms, wall_ms, "enough", 2 * wall_ms, workload, busy))
    return tuple(made)


QUIET, BUSY_LATER = [1.0] * 20, [1.0] * 10 + [2.5] * 10


def with_rounds(record: Record, measured: tuple[Round, ...]) -> Record:
    """The record with one result, measured so."""
    single = Measurement("single", 1, 1, 360, 480, measured, "rounds")
    return replace(record, results=(replace(record.results[1], measurements=(single,)),))


def verdict_of(outcome: Outcome) -> str:
    (comparison,) = outcome.comparisons
    return comparison.verdict


@pytest.mark.parametrize(
    ("factor", "expected"), [(1.0, SAME), (1.15, SLOWER), (0.8, FASTER), (1.02, SAME)]
)
def test_the_change_of_a_steady_backend_is_found(
    record: Record, factor: float, expected: str
) -> None:
    first = with_rounds(record, rounds(50, QUIET))
    second = with_rounds(record, rounds(50 * factor, QUIET))
    assert verdict_of(compare(first, second)) == expected


def test_a_machine_that_became_slower_is_no_regression(record: Record) -> None:
    first, later = (
        with_rounds(record, rounds(50, QUIET)),
        with_rounds(record, rounds(50, [3.0] * 20)),
    )
    assert verdict_of(compare(first, later)) == SAME
    drifting = with_rounds(record, rounds(50, BUSY_LATER))
    assert verdict_of(compare(first, drifting)) == SAME


def test_a_slowdown_is_found_on_a_machine_that_became_faster(record: Record) -> None:
    first = with_rounds(record, rounds(50, BUSY_LATER))
    second = with_rounds(record, rounds(50 * 1.15, QUIET))
    assert verdict_of(compare(first, second)) == SLOWER


def test_without_a_reference_workload_the_clock_alone_counts_and_it_is_said(record: Record) -> None:
    bare = [
        tuple(replace(r, workload_ms=(), workload_cpu_ms=()) for r in rounds(50, machine))
        for machine in (QUIET, [3.0] * 20)
    ]
    first, later = (with_rounds(record, measured) for measured in bare)
    (comparison,) = compare(first, later).comparisons
    assert (comparison.verdict, comparison.by) == (SLOWER, RAW)


def test_where_others_had_the_processor_its_own_clock_decides(record: Record) -> None:
    quiet = rounds(50, QUIET)
    # Others take every second slice, at times: by the clock all is slower, by the processor not.
    disturbed = tuple(
        replace(
            r,
            latencies_ms=tuple(ms * GENERATOR.uniform(1.5, 4) for ms in r.latencies_ms),
            workload_ms=tuple(ms * GENERATOR.uniform(1.5, 2) for ms in r.workload_ms),
        )
        for r in quiet
    )
    (undisturbed,) = compare(*[with_rounds(record, quiet)] * 2).comparisons
    assert undisturbed.by == WALL
    outcome = compare(with_rounds(record, quiet), with_rounds(record, disturbed))
    (comparison,) = outcome.comparisons
    assert (comparison.by, comparison.verdict) == (PROCESSOR, SAME)


@pytest.mark.parametrize(
    ("low", "estimate", "high", "expected"),
    [
        (0.97, 1.0, 1.03, SAME),
        (0.97, 1.03, 1.12, AMBIGUOUS),  # it may well be twice the tolerance
        (0.99, 1.08, 1.2, AMBIGUOUS),  # it may well be nothing
        (1.02, 1.08, 1.2, SLOWER),
        (1.01, 1.03, 1.04, SAME),  # slower for certain, and it does not matter
        (0.8, 0.9, 0.98, FASTER),
    ],
)
def test_what_an_interval_says(low: float, estimate: float, high: float, expected: str) -> None:
    assert verdict(Interval(estimate, low, high), tolerance=0.05) == expected


def test_accuracy_that_went_down_is_lost(record: Record) -> None:
    first = with_rounds(record, rounds(50, QUIET))
    worse = Accuracy(360, 480, Agreement(990_000, 1_000_000), None)
    result = replace(first.results[0], accuracies=(worse,))
    outcome = compare(first, replace(first, results=(result,)))
    assert outcome.lost == ("ONNX Runtime CPU int8: agreement fell from 100.00% to 99.00%",)
    assert outcome.regressions
    other_images = replace(first.conditions, images=("c.jpg",))
    outcome = compare(first, replace(first, conditions=other_images, results=(result,)))
    assert outcome.lost == ()
    assert "different images: accuracy is not compared" in outcome.notes


def test_a_backend_that_is_gone_is_lost(record: Record) -> None:
    torch, onnx, engine = record.results
    gone = replace(torch, measurements=(), accuracies=(), not_run="no such library")
    outcome = compare(record, replace(record, results=(gone, onnx, engine)))
    assert outcome.lost == ("PyTorch eager fp32: lost: no such library",)


def test_what_the_second_record_lacks_is_lost(record: Record) -> None:
    torch, onnx, engine = record.results
    outcome = compare(record, replace(record, results=(onnx, engine)))
    assert outcome.lost == ("PyTorch eager fp32: not in the second record",)
    offline = replace(onnx.measurements[0], scenario="offline")
    more = replace(onnx, measurements=(*onnx.measurements, offline))
    outcome = compare(replace(record, results=(torch, more)), record)
    (lost,) = outcome.lost
    assert lost == (
        "ONNX Runtime CPU int8: offline, batch 1, 360x480: not measured in the second record"
    )
    unjudged = replace(onnx, accuracies=())
    outcome = compare(record, replace(record, results=(torch, unjudged)))
    assert outcome.lost == (
        "ONNX Runtime CPU int8: agreement was 100.00%, not in the second record",
    )
    assert compare(replace(record, results=(torch,)), record).lost == ()


def test_of_too_few_rounds_no_verdict_is_certain(record: Record) -> None:
    for count, expected in ((4, AMBIGUOUS), (5, SLOWER)):
        first = with_rounds(record, rounds(50, QUIET[:count]))
        second = with_rounds(record, rounds(80, QUIET[:count]))
        assert verdict_of(compare(first, second)) == expected


def test_records_with_nothing_in_common_are_refused(record: Record) -> None:
    torch, onnx, _ = record.results
    with pytest.raises(InputError, match="in common"):
        compare(replace(record, results=(torch,)), replace(record, results=(onnx,)))
    other = replace(record.conditions, workloads={"cpu": "something else"})
    with pytest.raises(InputError, match="reference workloads differ"):
        compare(record, replace(record, conditions=other))


def test_the_command_prints_a_table_and_its_exit_code_is_the_verdict(
    record: Record, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = str(tmp_path / "a.json"), str(tmp_path / "b.json")
    write_record(first, with_rounds(record, rounds(50, QUIET)))
    write_record(second, with_rounds(record, rounds(60, QUIET)))
    assert main(["compare", first, first]) == 0
    assert "same" in capsys.readouterr().out
    assert main(["compare", first, second]) == 1
    printed = capsys.readouterr()
    assert "slower" in printed.out
    assert "CheckFailed" in printed.err
    assert main(["compare", first, second, "--tolerance", "0.3"]) == 0
    assert main(["compare", first, second, "--tolerance", "30"]) == 2
    assert main(["compare", first, str(tmp_path / "missing.json")]) == 2


def test_the_interval_of_a_median_holds_it_and_shrinks_with_more_values() -> None:
    values = GENERATOR.normal(100, 5, 400)
    few, many = median_interval(list(values[:20])), median_interval(list(values))
    assert few.low <= few.estimate <= few.high
    assert many.relative_width < few.relative_width / 2
    assert median_interval(list(values)) == many


def test_the_interval_of_a_ratio_covers_the_truth_about_as_often_as_it_says() -> None:
    held = 0
    for _ in range(100):
        above, below = GENERATOR.normal(115, 5, 25), GENERATOR.normal(100, 5, 25)
        ratio = ratio_interval(list(above), list(below))
        held += ratio.low <= 1.15 <= ratio.high
    assert held >= 85
