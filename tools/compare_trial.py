"""How often `refinenet compare` is right on this machine, with its default thresholds.

    python -m tools.compare_trial MODEL --images IMAGES --json RECORD.json

Every repeat measures the same model three times, each in a process of its own and by the same code:
a first time, a second time, and once slowed down by a planted share. First and second should
compare as the same, first and slowed as slower.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.backends.backend import Backend, Candidate
from benchmarks.comparison.compare import SAME, SLOWER, TOLERANCE, compare
from benchmarks.host.environment import environment, machine_state
from benchmarks.measure import BenchmarkOptions, candidates_of, measure_candidates
from benchmarks.records.record import read_record, write_record
from benchmarks.scenarios.rounds import Patience
from benchmarks.scenarios.scenarios import StopRule
from runtime.arguments import positive, size
from runtime.files import written_whole

PLANTED = 0.15
THREADS, LIMIT, ROUNDS = 1, 4, 50
RULE = StopRule(seconds=0.1, minimum_count=4, cap_seconds=5.0, warm_up_ms=1.0)


class Slowed:
    """A backend, and after every call as much more computing as a share of the call's own.

    The share is of processor time, so that it is the same work on a busy machine.
    """

    def __init__(self, backend: Backend, share: float) -> None:
        self._backend, self._share = backend, share
        self.description = f"{backend.description}, slowed by {share:.0%}"

    def __call__(self, frames: NDArray[np.uint8], /) -> NDArray[np.uint8]:
        start_ns = time.process_time_ns()
        masks = self._backend(frames)
        end_ns = time.process_time_ns()
        until_ns = end_ns + self._share * (end_ns - start_ns)
        while time.process_time_ns() < until_ns:
            pass
        return masks

    def close(self) -> None:
        self._backend.close()


@dataclass(frozen=True)
class Repeat:
    """The verdicts of one repeat, and the ratios behind them: second over first."""

    identical: str
    identical_ratio: float
    slowed: str
    slowed_ratio: float
    by: str
    load_average: float | None


def measure_once(
    model: Path, images: Path, frame_size: tuple[int, int] | None, share: float, output: Path
) -> None:
    """One benchmark of the model, slowed by a share of its time; 0 slows nothing."""
    options = BenchmarkOptions(
        models=(model,),
        images=images,
        limit=LIMIT,
        sizes=() if frame_size is None else (frame_size,),
        threads=THREADS,
        rule=RULE,
        patience=Patience(ROUNDS, None),
    )
    candidates, _ = candidates_of(options)
    slowed = [replace(entry, opener=_slowed(entry, share)) for entry in candidates]
    write_record(output, measure_candidates(slowed, None, options, shlex.join(sys.argv), True))


def _slowed(candidate: Candidate, share: float) -> Callable[[], Callable[[], Backend]]:
    def opener() -> Callable[[], Backend]:
        open_backend = candidate.opener()
        return lambda: Slowed(open_backend(), share)

    return opener


def repeat(command: Sequence[str], folder: Path) -> Repeat:
    """Three processes and two comparisons."""
    load_average = machine_state().load_average
    records = []
    for name, share in (("first", 0.0), ("second", 0.0), ("slowed", PLANTED)):
        output = folder / f"{name}.json"
        worker = ("--measure", str(output), "--slowed-by", str(share))
        subprocess.run(
            [sys.executable, "-m", "tools.compare_trial", *command, *worker],
            check=True,
        )
        records.append(read_record(output))
    first, second, slowed = records
    (same,) = compare(first, second).comparisons
    (slower,) = compare(first, slowed).comparisons
    return Repeat(
        same.verdict,
        round(same.ratio.estimate, 4),
        slower.verdict,
        round(slower.ratio.estimate, 4),
        same.by,
        load_average,
    )


def main() -> None:
    """Measure once where told so; else run the trial, print it, and write it."""
    given = _parser().parse_args()
    if given.measure is not None:
        measure_once(given.model, given.images, given.size, given.slowed_by, given.measure)
        return
    command = [str(given.model), "--images", str(given.images)]
    if given.size is not None:
        command += ["--size", "{}x{}".format(*given.size)]
    repeats = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(given.repeats):
            repeats.append(repeat(command, Path(folder)))
            print(number + 1, repeats[-1], flush=True)
    trial = {
        "command": shlex.join(["python", "-m", "tools.compare_trial", *sys.argv[1:]]),
        "tolerance": TOLERANCE,
        "planted": PLANTED,
        "rounds": ROUNDS,
        "threads": THREADS,
        "rule": asdict(RULE),
        "environment": asdict(environment()),
        "identical_found_same": sum(entry.identical == SAME for entry in repeats),
        "slowed_found_slower": sum(entry.slowed == SLOWER for entry in repeats),
        "repeats": [asdict(entry) for entry in repeats],
    }
    print(f"same: {trial['identical_found_same']}, slower: {trial['slowed_found_slower']}")
    if given.json is not None:
        with written_whole(given.json) as temporary:
            temporary.write_text(json.dumps(trial, indent=1) + "\n", encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.compare_trial", description=__doc__)
    add = parser.add_argument
    add("model", type=Path)
    add("--images", type=Path, required=True)
    add("--size", type=size)
    add("--repeats", type=positive, default=10)
    add("--json", type=Path)
    add("--measure", type=Path, help=argparse.SUPPRESS)
    add("--slowed-by", type=float, default=0.0, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main()
