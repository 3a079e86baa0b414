"""How long a folder takes in one process, in shards side by side, and on Ray; with equal masks.

python -m tools.folder_cost street.fp32.onnx photos --processes 2 \
    --ray-python .venv-ray/bin/python --json benchmarks/results/folder.json

Wall time from the start of the command to its end: interpreters, loading and Ray's start included.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.host.environment import environment, machine_state
from runtime.arguments import DONE, Parser, positive, run_command
from runtime.errors import CheckFailed
from runtime.files import sha256_of, written_whole
from runtime.frames import list_images

PROGRAM = "python -m tools.folder_cost"
ROOT = Path(__file__).resolve().parents[1]
ONE, SHARDS, RAY = "one process", "shards", "Ray Data"


@dataclass(frozen=True)
class FolderCost:
    """seconds: wall time of each round. processes: how many compute; threads: of each."""

    case: str
    processes: int
    threads: int
    seconds: list[float]


def folder_cost(
    model: Path, folder: Path, processes: int, rounds: int, ray_python: Path | None
) -> list[FolderCost]:
    """Each case in turn, `rounds` times: one process with as many threads as there are processes,
    and that many processes of one thread.

    Raises CheckFailed if a command fails, or if the masks are not equal.
    """
    cases = {ONE: (1, processes), SHARDS: (processes, 1)}
    if ray_python is not None:
        cases[RAY] = (processes, 1)
    seconds: dict[str, list[float]] = {case: [] for case in cases}
    expected: dict[str, bytes] = {}
    for _ in range(rounds):
        for case in cases:
            with tempfile.TemporaryDirectory() as output:
                commands = _commands(case, model, folder, Path(output), processes, ray_python)
                start = time.perf_counter()
                _run_together(commands)
                seconds[case].append(round(time.perf_counter() - start, 2))
                found = {p.name: p.read_bytes() for p in Path(output).glob("[!.]*.png")}
            expected = expected or found
            if found != expected:
                raise CheckFailed(f"{case}: the masks are not those of {ONE}")
    return [FolderCost(case, *cases[case], seconds[case]) for case in cases]


def _commands(
    case: str, model: Path, folder: Path, output: Path, processes: int, ray_python: Path | None
) -> list[list[str]]:
    of = [str(folder.absolute()), "--model", str(model.absolute()), "--output", str(output)]
    segment = [sys.executable, "-m", "runtime", *of, "--quiet"]
    if case == ONE:
        return [[*segment, "--threads", str(processes)]]
    if case == SHARDS:
        shards = [f"{index}/{processes}" for index in range(processes)]
        return [[*segment, "--threads", "1", "--shard", shard] for shard in shards]
    program = str(ROOT / "deploy/ray/segment_folder.py")
    actors = ["--actors", str(processes), "--threads", "1", "--quiet"]
    return [[str(ray_python), program, *of, *actors]]


def _run_together(commands: Sequence[Sequence[str]]) -> None:
    started = [
        subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for command in commands
    ]
    for process in started:
        said, _ = process.communicate()
        if process.returncode:
            raise CheckFailed(f"{process.args} ended with {process.returncode}: {said[-500:]}")


def main(arguments: Sequence[str]) -> int:
    parser = Parser("folder-cost", "How long a folder takes, in three ways.", PROGRAM)
    parser.prog = PROGRAM
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--processes", type=positive, default=2, help="(default: 2)")
    parser.add_argument("--rounds", type=positive, default=2, help="(default: 2)")
    parser.add_argument("--ray-python", type=Path, help="an interpreter that has Ray")
    parser.add_argument("--json", type=Path, required=True)
    given = parser.parse_args(arguments)
    before = machine_state()
    costs = folder_cost(given.model, given.folder, given.processes, given.rounds, given.ray_python)
    record = {
        "command": " ".join([PROGRAM, *arguments]),
        "environment": asdict(environment()),
        "before": asdict(before),
        "after": asdict(machine_state()),
        "images": len(list_images(given.folder)),
        "model_sha256": sha256_of(given.model),
        "costs": [asdict(cost) for cost in costs],
    }
    with written_whole(given.json) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    for cost in costs:
        print(f"{cost.case:<12} {cost.processes} x {cost.threads} thread(s): {cost.seconds} s")
    return DONE


if __name__ == "__main__":
    sys.exit(run_command(main, PROGRAM, sys.argv[1:]))
