"""The refinenet command, run with limits on memory, time and files, and what it did."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
# What the commands import at most; loaded once, since another user may not read Python's library.
HEAVY = (
    *("torch", "torch.utils.data", "torch.optim.swa_utils", "onnx", "onnxruntime"),
    *("torch.fx.experimental.symbolic_shapes", "torch._dynamo", "cProfile", "yaml"),
    *("tqdm", "numpy", "PIL.Image", "safetensors.torch", "encodings.utf_8_sig"),
)
LIGHT = ("onnxruntime", "yaml", "tqdm", "numpy", "PIL.Image", "encodings.utf_8_sig")
GIB = 2**30


@dataclass(frozen=True)
class Limits:
    """address_space_bytes: a hard end to what may be asked for, so that a fault found here does
    not end the machine; the memory used is measured apart. file_bytes: the largest file that can
    be written. unprivileged: permissions bind, though root runs the tests. failing_write: the errno
    with which writes into the folder fail, and the first that does; see failing_writes.c.
    streams: which of stdin, stdout and stderr are closed, or that stdout is a full disk ("disk
    full") or a pipe that nobody reads ("reader gone"). log_name: of the files of the output, for
    two processes in one folder."""

    timeout_s: float = 180
    address_space_bytes: int = 12 * GIB
    file_bytes: int | None = None
    unprivileged: bool = False
    failing_write: tuple[int, int] | None = None
    streams: str = ""
    log_name: str = ""


USUAL = Limits()


@dataclass(frozen=True)
class Outcome:
    """exit_code: negative for the signal that ended it. peak_bytes: the most memory it held."""

    exit_code: int
    stdout: str
    stderr: str
    timed_out: bool
    peak_bytes: int
    seconds: float

    @property
    def refused(self) -> bool:
        """Exit code 2 with one line."""
        return self.exit_code == 2 and len(self.stderr.splitlines()) == 1

    @property
    def fault(self) -> str | None:
        """What is wrong with how the command ended, or None."""
        if self.timed_out:
            return f"still running after {self.seconds:.0f} s"
        if self.exit_code not in (0, 1, 2):
            return f"ended by {self.exit_code}: {self.stderr[-300:]}"
        if "Traceback" in self.stderr + self.stdout:
            return f"a traceback: {self.stderr[-400:]}"
        if self.exit_code and len(self.stderr.splitlines()) != 1:
            return f"exit code {self.exit_code} with {self.stderr[:400]!r} on stderr"
        return None


class Server:
    """Runs the command in forks of one process that has everything imported."""

    def __init__(self, modules: Sequence[str] = HEAVY, preload: Path | None = None) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        if preload is not None:
            environment["LD_PRELOAD"] = str(preload)
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "fork_server.py"), *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def run(self, arguments: Sequence[str], folder: Path, limits: Limits = USUAL) -> Outcome:
        """Run `refinenet ARGUMENTS` in a folder; its output goes to files beside the folder."""
        log = f"{folder.name}{limits.log_name}"
        streams = [folder.with_name(f"{log}.{name}") for name in ("stdout", "stderr")]
        for stream in streams:  # by another user than the one who writes
            stream.write_bytes(b"")
            stream.chmod(0o666)
        request = {
            "arguments": list(arguments),
            "folder": str(folder),
            "stdout": str(streams[0]),
            "stderr": str(streams[1]),
            **vars(limits),
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        reply = json.loads(self._process.stdout.readline())
        texts = [stream.read_text(encoding="utf-8", errors="replace") for stream in streams]
        return Outcome(stdout=texts[0], stderr=texts[1], **reply)

    def processes(self) -> list[int]:
        """Those of the command that runs, its own first; none when there is none."""
        found: list[int] = []
        parent = self._process.pid
        while children := _children(parent):
            found += children
            parent = children[0]
        return found

    def close(self) -> None:
        self._process.communicate()

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _children(pid: int) -> list[int]:
    try:
        return [
            int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        ]
    except OSError:  # it has ended
        return []
