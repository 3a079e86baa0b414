"""Faults of the machine while a command works: a disk that fails at a write, and kill -9."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import MappingProxyType

from tools.reliability.confined import HERE, ROOT, Limits, Outcome, Server
from tools.reliability.trials import BENCHMARK, DATA, SEGMENT, TRAIN, link_all, names_in
from tools.reliability.whole import is_whole

# Commands that write, and the files that each leaves; the first of them replaces an old file.
WRITERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "convert toy.pth out.safetensors": ("out.safetensors",),
        f"{TRAIN} --output out --half": ("out/state.pt", "out/best.safetensors", "out/log.csv"),
        SEGMENT: ("out.png",),
        "segment clip.mp4 --model toy.fp32.onnx --output out.mp4": ("out.mp4",),
        "segment clip.mp4 --model toy.fp32.onnx --output out.avi": ("out.avi",),
        f"evaluate toy.fp32.onnx {DATA} --json out.json --save-masks out": ("out.json",),
        f"{BENCHMARK} --json out.json": ("out.json",),
        "report record.json --markdown page.md": ("page.md",),
        "export toy.safetensors --output . --name out --precision fp32 --size 64x64": (
            "out.fp32.onnx",
        ),
        "build toy.fp32.onnx --runtime rtx": ("toy.fp32.rtx.engine",),
    }
)
ERRORS = (errno.ENOSPC, errno.EIO, errno.EINTR)
EVERY_UP_TO = 12  # further writes of one command are sampled ever more sparsely


@dataclass(frozen=True)
class Fault:
    """fault: what the command did wrong, or None."""

    command: str
    injected: str
    fault: str | None


def compiled(folder: Path) -> Path | None:
    """failing_writes.c as a library; None where there is no compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        return None
    library = folder / "failing_writes.so"
    source = HERE / "failing_writes.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


def writes_that_fail(
    command: str, error: int, shelf: Path, room: Path, server: Server, most: int = 60
) -> Iterator[Fault]:
    """Run a command again and again, while its first, second, third … write fails."""
    for nth in _sparser(most):
        shutil.rmtree(room, ignore_errors=True)
        link_all(shelf, room)
        before = names_in(room)
        old = _own_copy(room / WRITERS[command][0])
        outcome = server.run(command.split(), room, Limits(failing_write=(error, nth)))
        fault = _fault_after(outcome, room, before, old, command)
        yield Fault(command, f"{errno.errorcode[error]} at write {nth}", fault)
        if outcome.exit_code == 0 and error != errno.EINTR:
            return  # it has fewer writes
        if error == errno.EINTR and nth > EVERY_UP_TO:
            return


def _sparser(most: int) -> Iterator[int]:
    nth = 1
    while nth <= most:
        yield nth
        nth += 1 if nth < EVERY_UP_TO else nth // 3


def _own_copy(path: Path) -> bytes | None:
    """The file itself in place of a link to it; its content."""
    if not path.exists():
        return None
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)
    return content


def _fault_after(
    outcome: Outcome, room: Path, before: set[str], old: bytes | None, command: str
) -> str | None:
    if outcome.fault:
        return outcome.fault
    new = names_in(room) - before
    if half := [name for name in new if ".part" in name]:
        return f"left {', '.join(half)}"
    target = room / WRITERS[command][0]
    if outcome.exit_code == 0:
        return None if target.exists() else f"exit code 0 without {target.name}"
    if old is not None and target.read_bytes() != old:
        return None if is_whole(target) else f"{target.name} is neither the old file nor a new one"
    broken = [name for name in new if not is_whole(room / name)]
    return f"left {', '.join(broken)}, not whole" if broken else None


# Commands that take long enough to be killed in their middle, each with what runs it again.
KILLED: Mapping[str, str] = MappingProxyType(
    {
        f"{TRAIN} --output out --epochs 3": " --resume",
        "export toy.safetensors --output out --name out --precision fp32,fp16 --size 64x64": "",
        "build toy.fp32.onnx --runtime rtx": "",
        "segment clip.mp4 --model toy.fp32.onnx --output out.mp4": "",
        f"{BENCHMARK} --json out.json": "",
    }
)


def kills(
    command: str, times: int, shelf: Path, room: Path, server: Server, rng: Random
) -> Iterator[Fault]:
    """Kill a command at random moments; what it left must be whole, and a rerun must work."""
    shutil.rmtree(room, ignore_errors=True)
    link_all(shelf, room)
    undisturbed = server.run(command.split(), room)
    if undisturbed.exit_code != 0:
        yield Fault(command, "nothing", f"fails by itself: {undisturbed.stderr[-300:]}")
        return
    for _ in range(times):
        shutil.rmtree(room)
        link_all(shelf, room)
        before = names_in(room)
        moment_s = rng.uniform(0.02, undisturbed.seconds)
        killed = server.run(command.split(), room, Limits(timeout_s=moment_s))
        left = {name for name in names_in(room) - before if ".part" not in name}
        broken = [name for name in sorted(left) if not is_whole(room / name)]
        fault = f"left {', '.join(broken)}, not whole" if broken else None
        rerun = server.run(f"{command}{KILLED[command]}".split(), room)
        if rerun.exit_code != 0:
            fault = f"does not run again: {rerun.stderr[-300:]}"
        parts = [name for name in names_in(room) if ".part" in name]
        if parts:
            fault = f"{', '.join(parts)} stay after the rerun"
        when = "kill -9" if killed.timed_out else "nothing: it was faster"
        yield Fault(command, f"{when} after {moment_s:.2f} s", fault)


def twice_at_once(
    command: str, shelf: Path, room: Path, servers: Sequence[Server]
) -> Iterator[Fault]:
    """The same command in two processes at once, in one folder: both must end well, and what they
    wrote must be whole."""
    shutil.rmtree(room, ignore_errors=True)
    link_all(shelf, room)
    before = names_in(room)
    with ThreadPoolExecutor(2) as pool:
        running = [
            pool.submit(server.run, command.split(), room, Limits(log_name=str(index)))
            for index, server in enumerate(servers[:2])
        ]
        outcomes = [run.result() for run in running]
    ends = [outcome.stderr[-300:] for outcome in outcomes if outcome.exit_code != 0]
    broken = [name for name in sorted(names_in(room) - before) if not is_whole(room / name)]
    fault = f"one fails: {ends[0]}" if ends else None
    yield Fault(command, "twice at once", f"{', '.join(broken)} not whole" if broken else fault)


EPOCHS = 16
LOADER = f"{TRAIN} --workers 1 --epochs {EPOCHS} --output out"


def dead_loader(moment_s: float, shelf: Path, room: Path, server: Server) -> Fault:
    """Kill the process that loads the images, so long after the first epoch; the training must say
    so in one line, and go on where it was when it is run again."""
    shutil.rmtree(room, ignore_errors=True)
    link_all(shelf, room)
    out = room / "out"
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(server.run, LOADER.split(), room)
        while not running.done() and not (out / "state.pt").exists():
            time.sleep(0.01)
        time.sleep(moment_s)
        loaders = server.processes()[1:]
        for loader in loaders:
            with suppress(ProcessLookupError):  # it has just ended by itself
                os.kill(loader, signal.SIGKILL)
        killed = running.result()
    if killed.exit_code == 0:
        return Fault(LOADER, f"nothing: it was faster after {moment_s:.2f} s", None)
    fault = killed.fault or _fault_of_resume(out, room, server)
    if not killed.refused or "a loader process died" not in killed.stderr:
        fault = f"exit code {killed.exit_code}: {killed.stderr[-300:]}"
    return Fault(LOADER, f"kill -9 of a loader process after {moment_s:.2f} s", fault)


def _fault_of_resume(out: Path, room: Path, server: Server) -> str | None:
    broken = [path.name for path in sorted(out.iterdir()) if not is_whole(path)]
    if broken:
        return f"left {', '.join(broken)}, not whole"
    resumed = server.run(f"{LOADER} --resume".split(), room)
    if resumed.exit_code != 0:
        return f"does not go on: {resumed.stderr[-300:]}"
    epochs = len((out / "log.csv").read_text().splitlines()) - 1
    return None if epochs == EPOCHS else f"{epochs} epochs in the log of {EPOCHS}"


KERNELS = tuple(f"kernel{number}" for number in range(100))
# What is real in it, and what is not: no GPU, so that TensorRT measures nothing.
TIMING = "one timing cache: real lock and file, TensorRT's part simulated"
BUILDS = ROOT / "tools/reliability/simulated_timing.py"


def one_timing_cache(folder: Path, kill_s: float | None = None) -> Fault:
    """Two processes that add to one timing cache; nothing that either measured may be lost.

    kill_s: when one of them is killed, after the first time was kept. The other, and the next, must
    not wait for its lock.
    """
    shutil.rmtree(folder, ignore_errors=True)
    shares = KERNELS[::2], KERNELS[1::2]
    processes = [_builds(folder, share) for share in shares]
    if kill_s is not None:
        while processes[0].poll() is None and not list(folder.glob("*.timing")):
            time.sleep(0.005)
        time.sleep(kill_s)
    killed = kill_s is not None and processes[0].poll() is None
    if killed:
        processes[0].kill()
    expected = {"kernel of the next", *shares[1], *(() if killed else shares[0])}
    injected = f"{TIMING}; one killed after {kill_s:.2f} s" if killed else TIMING
    ends = [_end_of(process) for process in processes]
    ends.append(_end_of(_builds(folder, ["kernel of the next"])))
    right = 0, ""
    if ends[1:] != [right, right] or (not killed and ends[0] != right):
        return Fault("build", injected, f"ended with {ends}")
    return Fault("build", injected, fault_of_times(folder, expected))


def _end_of(process: subprocess.Popen[str]) -> tuple[int, str]:
    """The exit code, and what was said last; a process that waits for ever is killed."""
    try:
        stderr = process.communicate(timeout=60)[1]
    except subprocess.TimeoutExpired:
        process.kill()
        stderr = process.communicate()[1]
    return process.returncode, stderr[-300:]


def _builds(folder: Path, kernels: Sequence[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, BUILDS, folder, *kernels],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def fault_of_times(folder: Path, expected: set[str]) -> str | None:
    names = sorted(path.suffix for path in folder.iterdir())
    if names != [".lock", ".timing"]:
        return f"left {', '.join(path.name for path in folder.iterdir())}"
    known = set(json.loads(next(folder.glob("*.timing")).read_bytes()))
    return f"lost {', '.join(sorted(expected - known))}" if expected - known else None
