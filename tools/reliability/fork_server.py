"""Runs `refinenet` many times, each in a process of its own, and imports PyTorch only once.

Reads one request per line from stdin, and answers each with one line on stdout. For each it forks,
sets the limits, and calls the command's own main(). Nothing but imports happens before the fork.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn, TextIO

NOBODY = 65534  # permissions do not bind root


def serve(requests: TextIO, replies: TextIO) -> dict[str, Any] | None:
    """Answer requests until there are no more; in a child, return the request it has to run."""
    for line in requests:
        request = json.loads(line)
        started = time.monotonic()
        child = os.fork()
        if child == 0:
            return dict(request)
        status, timed_out, peak_bytes = wait(child, started + request["timeout_s"])
        reply = {
            "exit_code": os.waitstatus_to_exitcode(status),
            "timed_out": timed_out,
            "peak_bytes": peak_bytes,
            "seconds": time.monotonic() - started,
        }
        print(json.dumps(reply), file=replies, flush=True)
    return None


def wait(child: int, deadline: float) -> tuple[int, bool, int]:
    """The child's status, whether it had to be killed, and the most memory that it held."""
    timed_out = False
    pause_s = 0.002
    while True:
        done, status, usage = os.wait4(child, os.WNOHANG)
        if done:
            return status, timed_out, usage.ru_maxrss * 1024
        if time.monotonic() > deadline and not timed_out:
            timed_out = True
            os.killpg(child, signal.SIGKILL)
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, 0.05)


def confine(request: dict[str, Any]) -> None:
    """Give this process its folder, its streams and its limits."""
    os.setsid()
    os.chdir(request["folder"])
    for number, (name, flags) in enumerate(
        (("/dev/null", os.O_RDONLY), (request["stdout"], WRITE), (request["stderr"], WRITE))
    ):
        stream = os.open(name, flags, 0o666)
        os.dup2(stream, number)
        os.close(stream)
    cut_off(request["streams"])
    memory = request["address_space_bytes"]
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if request["file_bytes"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_bytes"],) * 2)
    if request["failing_write"] is not None:
        error, nth = request["failing_write"]  # see failing_writes.c, which is preloaded
        ctypes.CDLL(None).arm(request["folder"].encode(), error, nth)
    if request["unprivileged"] and os.getuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def cut_off(streams: str) -> None:
    """Leave the process without some of its streams, as a shell or a supervisor can."""
    if streams == "reader gone":
        reader, writer = os.pipe()
        os.dup2(writer, 1)
        os.close(reader)
        os.close(writer)
    elif streams == "disk full":
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, 1)
        os.close(full)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if name in streams:
            os.close(number)
            setattr(sys, name, None)  # what the interpreter makes of it at its start


def run(command: Callable[[], int]) -> NoReturn:
    """Run the command and end the process with its exit code.

    Without the libraries' own farewells: some wait for threads that a fork does not have.
    """
    code = 1
    try:
        code = command()
    except SystemExit as end:  # of argparse, after --help
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)


WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC

if __name__ == "__main__":
    for module in sys.argv[1:]:
        __import__(module)
    from refinenet.__main__ import main

    task = serve(sys.stdin, sys.stdout)
    if task is None:
        sys.exit(0)
    confine(task)
    run(lambda: main(task["arguments"]))
