"""The whole table of hostile files, surroundings and faults, and its record.

    python -m tools.reliability --json benchmarks/results/reliability.json

About a quarter of an hour on two cores. Exit code 1 if a command did wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from threading import Lock
from typing import Any

from tools.reliability import cameras, faults, readers, surroundings, trials
from tools.reliability.confined import GIB, HEAVY, ROOT, Limits, Server
from tools.reliability.met import MET
from tools.reliability.shelf import fill

STAGES = ("files", "surroundings", "met", "fuzzing", "writes", "kills", "together", "cameras")
SURROUNDED = {"surroundings": surroundings.SURROUNDINGS, "met": MET}
COMMANDS = ",".join(dict.fromkeys(trial.name for trial in trials.TRIALS))
PREPARE = (
    f"{trials.TRAIN} --output run",
    "export toy.safetensors --output street --name street --size 64x64 --calibration photo.png "
    "--save-ranges ranges.json",
    "build street/street.fp32.onnx --runtime rtx",
)


@dataclass(frozen=True)
class Tried:
    """One row of the record: what was tried how often, and what went wrong.

    ends: how often each ending was met: exit codes, or that a process was killed.
    """

    stage: str
    command: str
    what: str
    tried: int
    ends: dict[str, int]
    faults: tuple[str, ...]


class Rows:
    """Counts tries by stage, command and kind, from several threads, and shows how far it is."""

    def __init__(self) -> None:
        self._ends: dict[tuple[str, str, str], Counter[str]] = {}
        self._faults: dict[tuple[str, str, str], list[str]] = {}
        self._lock, self._started, self.count = Lock(), time.monotonic(), 0

    def add(self, stage: str, command: str, what: str, end: str, fault: str | None) -> None:
        key = stage, command, what
        with self._lock:
            self.count += 1
            self._ends.setdefault(key, Counter())[end] += 1
            if fault:
                self._faults.setdefault(key, []).append(fault)
                print(f"\r{' '.join(key)}: {fault}", file=sys.stderr)
            seconds = time.monotonic() - self._started
            print(f"\r{stage}: {self.count} tries, {seconds:.0f} s ", end="", file=sys.stderr)

    def rows(self) -> list[Tried]:
        return [
            Tried(*key, ends.total(), dict(sorted(ends.items())), tuple(self._faults.get(key, ())))
            for key, ends in sorted(self._ends.items())
        ]


@dataclass(frozen=True)
class Workshop:
    """Where it happens. servers: one for each thread, of which each has a room of its own."""

    folder: Path
    servers: tuple[Server, ...]
    rows: Rows

    @property
    def shelf(self) -> Path:
        return self.folder / "shelf"

    def share(self, work: Sequence[Any], do: Callable[[Any, Path, Server], None]) -> None:
        """Do the work with every server at once."""
        rest, lock = iter(work), Lock()

        def serve(index: int) -> None:
            while True:
                with lock:
                    task = next(rest, None)
                if task is None:
                    return
                do(task, self.folder / f"room{index}", self.servers[index])

        with ThreadPoolExecutor(len(self.servers)) as pool:
            list(pool.map(serve, range(len(self.servers))))


def try_files(shop: Workshop, commands: Sequence[str], every: int) -> None:
    """Every case of the table, or every so many-th of some commands."""

    def do(case: trials.Case, room: Path, server: Server) -> None:
        result = trials.run(case, shop.shelf, room, server)
        fault = f"{case.mutation}: {result.fault}" if result.fault else None
        end = f"exit {result.outcome.exit_code}"
        shop.rows.add("files", case.trial.name, case.trial.kind, end, fault)

    chosen = [case for case in trials.cases() if case.trial.name in commands]
    shop.share(chosen[::every], do)


def try_surroundings(shop: Workshop, stage: str) -> None:
    def do(task: tuple[str, str, surroundings.Surrounding], room: Path, server: Server) -> None:
        group, name, surrounding = task
        fault = surroundings.run(surrounding, shop.shelf, room, server)
        command = surrounding.arguments[0]
        end = "as expected" if fault is None else "otherwise"
        shop.rows.add(stage, command, group, end, fault and f"{name}: {fault}")

    tables = SURROUNDED[stage].items()
    shop.share([(group, name, s) for group, table in tables for name, s in table.items()], do)


def try_readers(shop: Workshop, seconds: float) -> None:
    """Damage every reader's file at random, for so long each."""
    place = shop.folder / "fuzz"
    place.mkdir()
    (place / "bare.onnx").write_bytes((shop.shelf / "bare.onnx").read_bytes())
    os.chdir(place)
    with silent():
        for name, reader in readers.READERS.items():
            whole = (shop.shelf / reader.file).read_bytes() if reader.file else bytes(range(40))
            path = place / Path(reader.file or "words").name
            end = time.monotonic() + seconds
            seed = 0
            while time.monotonic() < end:
                path.write_bytes(readers.damaged(whole, random.Random(seed)))
                fault = readers.fault_of(reader, path)
                shop.rows.add("fuzzing", "", name, "read", fault and f"seed {seed}: {fault}")
                seed += 1


def silent() -> Any:
    """What the command lines print goes nowhere."""
    from contextlib import redirect_stdout
    from io import StringIO

    return redirect_stdout(StringIO())


def try_writes(shop: Workshop, library: Path) -> None:
    with Server(HEAVY, library) as first, Server(HEAVY, library) as second:
        failing = Workshop(shop.folder, (first, second), shop.rows)

        def do(task: tuple[str, int], room: Path, server: Server) -> None:
            for fault in faults.writes_that_fail(*task, failing.shelf, room, server, most=40):
                record(shop.rows, "writes", fault)

        failing.share([(c, e) for c in faults.WRITERS for e in faults.ERRORS], do)


def try_kills(shop: Workshop, times: int) -> None:
    def do(command: str, room: Path, server: Server) -> None:
        rng = random.Random(command)
        for fault in faults.kills(command, times, shop.shelf, room, server, rng):
            record(shop.rows, "kills", fault)

    def do_loader(seed: int, room: Path, server: Server) -> None:
        moment_s = random.Random(seed).uniform(0, 1)
        record(shop.rows, "kills", faults.dead_loader(moment_s, shop.shelf, room, server))

    shop.share(list(faults.KILLED), do)
    shop.share(range(times), do_loader)


def try_together(shop: Workshop, times: int) -> None:
    """The same command twice at once, in one folder; and two that build, with one timing cache."""
    for command in ("build toy.fp32.onnx --runtime rtx", "convert toy.pth out.safetensors"):
        for _ in range(times):
            for fault in faults.twice_at_once(
                command, shop.shelf, shop.folder / "room", shop.servers
            ):
                record(shop.rows, "together", fault)
    chance = random.Random("timing cache")
    for _ in range(times):
        for kill_s in (None, chance.uniform(0, 0.4)):
            record(shop.rows, "together", faults.one_timing_cache(shop.folder / "timing", kill_s))


def try_cameras(shop: Workshop) -> None:
    """Every failure of a camera, over every protocol."""

    def do(task: tuple[str, str], room: Path, server: Server) -> None:
        record(shop.rows, "cameras", cameras.watch(*task, shop.shelf, room, server))

    shop.share([(p, name) for name in cameras.FAILURES for p in cameras.CAMERAS], do)


def record(rows: Rows, stage: str, fault: faults.Fault) -> None:
    what = fault.injected.split(" at ")[0].split(" after ")[0]
    found = fault.fault and f"{fault.injected}: {fault.fault}"
    rows.add(stage, fault.command.split()[0], what, "as expected" if not found else "not", found)


def prepare(folder: Path, server: Server) -> None:
    """The shelf, with what only the commands themselves can make."""
    shelf = fill(folder / "shelf")
    for command in PREPARE:
        outcome = server.run(command.split(), shelf, Limits(timeout_s=600))
        if outcome.exit_code != 0:
            raise SystemExit(f"{command}: {outcome.stderr}")


def commit() -> str | None:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.strip() or None


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the record there")
    parser.add_argument("--stages", default=",".join(STAGES), help="(default: %(default)s)")
    parser.add_argument("--commands", default=COMMANDS, help="of the broken files (default: all)")
    parser.add_argument("--every", type=int, default=1, help="try every Nth broken file alone")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--fuzz-seconds", type=float, default=8, help="for each reader")
    parser.add_argument("--kills", type=int, default=8, help="of each command")
    return parser.parse_args()


def main() -> int:
    given = options()
    stages, rows, started = given.stages.split(","), Rows(), time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="reliability-"))
    folder.chmod(0o755)
    os.umask(0)  # one surrounding is another user's
    json_file = given.json and given.json.absolute()
    servers = tuple(Server() for _ in range(given.threads))
    shop = Workshop(folder, servers, rows)
    try:
        prepare(folder, servers[0])
        for stage in stages:
            run_stage(stage, shop, given)
    finally:
        for server in servers:
            server.close()
        os.chdir(ROOT)
        shutil.rmtree(folder, ignore_errors=True)
    content = {
        "command": shlex.join(["python", "-m", "tools.reliability", *sys.argv[1:]]),
        "utc": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - started),
        "commit": commit(),
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, no GPU used",
        "python": platform.python_version(),
        "memory_bound_gib": trials.MEMORY_BOUND / GIB,
        "not_run": [stage for stage in STAGES if stage not in stages],
        "rows": [asdict(row) for row in rows.rows()],
    }
    found = sum(len(row.faults) for row in rows.rows())
    print(f"\n{rows.count} tries, {found} faults", file=sys.stderr)
    if json_file is not None:
        json_file.write_text(json.dumps(content, indent=1) + "\n")
    return 1 if found else 0


def run_stage(stage: str, shop: Workshop, given: argparse.Namespace) -> None:
    if stage == "files":
        try_files(shop, given.commands.split(","), given.every)
    elif stage in SURROUNDED:
        try_surroundings(shop, stage)
    elif stage == "fuzzing":
        try_readers(shop, given.fuzz_seconds)
    elif stage == "writes":
        library = faults.compiled(shop.folder)
        if library is None:
            raise SystemExit("no C compiler: leave out the stage writes")
        try_writes(shop, library)
    elif stage == "kills":
        try_kills(shop, given.kills)
    elif stage == "together":
        try_together(shop, 3)
    elif stage == "cameras":
        try_cameras(shop)
    else:
        raise SystemExit(f"unknown stage {stage}; expected some of {', '.join(STAGES)}")


if __name__ == "__main__":
    sys.exit(main())
