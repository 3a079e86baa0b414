"""A real Triton server on the loopback address, from the environment of `make serving`."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = ROOT / ".venv-serving"
START_SECONDS, STOP_SECONDS = 60, 40


@dataclass(frozen=True)
class TritonServer:
    """http, grpc: ports on 127.0.0.1. log: what the server wrote."""

    process: subprocess.Popen[bytes]
    http: int
    grpc: int
    metrics: int
    log: Path

    def address(self, name: str) -> str:
        return f"triton://127.0.0.1:{self.grpc}/{name}"

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of a GET of the HTTP endpoint; 0 while there is none."""
        return _get(f"http://127.0.0.1:{self.http}/{path}")

    def scraped(self) -> str:
        """What Prometheus reads."""
        return _get(f"http://127.0.0.1:{self.metrics}/metrics")[1]

    def stubs(self) -> list[int]:
        """The processes of the python backend, one a model."""
        children = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        pids = [int(pid) for file in children for pid in file.read_text().split()]
        return [pid for pid in pids if b"stub" in Path(f"/proc/{pid}/cmdline").read_bytes()]


@contextmanager
def triton_server(
    repository: Path, log: Path, packages: Path = ENVIRONMENT
) -> Iterator[TritonServer]:
    """Serve a repository until the end of the block.

    packages: the virtual environment that the python backend takes its packages from.
    """
    http, grpc, metrics = _free_ports(3)
    package = next(ENVIRONMENT.glob("lib/python3*/site-packages/pytriton/tritonserver"))
    python = ENVIRONMENT / "bin/python"
    prefix = subprocess.run(
        [python, "-c", "import sys; print(sys.base_prefix)"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    environment = {
        **os.environ,
        "PATH": f"{packages / 'bin'}:{os.environ['PATH']}",
        "LD_LIBRARY_PATH": f"{prefix}/lib",
    }
    command = [
        str(package / "bin/tritonserver"),
        f"--model-repository={repository}",
        f"--backend-directory={package / 'backends'}",
        "--disable-auto-complete-config",
        "--exit-timeout-secs=5",  # a model that was killed does not end by itself
        *(f"--{kind}-address=127.0.0.1" for kind in ("http", "grpc", "metrics")),
        f"--http-port={http}",
        f"--grpc-port={grpc}",
        f"--metrics-port={metrics}",
    ]
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
    server = TritonServer(process, http, grpc, metrics, log)
    try:
        _wait_until_ready(server)
        yield server
    finally:
        stop(server)


def stop(server: TritonServer) -> int:
    """End the server as `docker stop` does, and return its exit code; again, it only returns."""
    if server.process.poll() is None:
        server.process.send_signal(signal.SIGTERM)
    try:
        return server.process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.process.kill()
        return server.process.wait()


def _wait_until_ready(server: TritonServer) -> None:
    deadline = time.monotonic() + START_SECONDS
    while server.get("v2/health/ready")[0] != 200:
        if server.process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"Triton did not start:\n{server.log.read_text()}")
        time.sleep(0.1)


def _get(url: str) -> tuple[int, str]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=10) as answer:
            return int(answer.status), answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError:
        return 0, ""


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()
