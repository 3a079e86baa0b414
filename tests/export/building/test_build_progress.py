"""A build shows how far it is, and stops when asked to."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import SimpleNamespace

import pytest

from export.building.build_progress import BuildProgress
from runtime.tensorrt_api import TensorRT


@pytest.fixture
def progress() -> BuildProgress:
    module = SimpleNamespace(IProgressMonitor=object)
    return BuildProgress(TensorRT("rtx", "0", module), "street.fp16.onnx", quiet=True)


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.01)  # Python calls the handler between two of its instructions


def test_a_build_goes_on_by_itself(progress: BuildProgress) -> None:
    with progress:
        progress.monitor.phase_start("Building", None, 3)
        assert progress.monitor.step_complete("Building", 0)
        progress.monitor.phase_finish("Building")


def test_ctrl_c_stops_the_builder_first_and_python_afterwards(progress: BuildProgress) -> None:
    goes_on = []

    def build() -> None:
        with progress:
            progress.monitor.phase_start("Building", None, 3)
            interrupt()
            goes_on.append(progress.monitor.step_complete("Building", 0))

    with pytest.raises(KeyboardInterrupt):
        build()
    assert goes_on == [False]


def test_ctrl_c_is_pythons_own_again_after_the_build(progress: BuildProgress) -> None:
    before = signal.getsignal(signal.SIGINT)
    with progress:
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before


def test_an_error_in_a_build_stays_that_error(progress: BuildProgress) -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ZeroDivisionError), progress:
        _ = 1 / 0
    assert signal.getsignal(signal.SIGINT) == before


def test_the_bar_follows_the_outermost_phase(
    monkeypatch: pytest.MonkeyPatch, progress: BuildProgress
) -> None:
    seen: list[int] = []
    monkeypatch.setattr(progress._bar, "update", seen.append)
    with progress:
        progress.monitor.phase_start("Building", None, 2)
        progress.monitor.phase_start("Tactics", "Building", 7)
        assert progress.monitor.step_complete("Tactics", 5)
        progress.monitor.phase_finish("Tactics")
        assert progress.monitor.step_complete("Building", 1)
    assert seen == [1]


def test_a_build_in_a_thread_leaves_signals_alone(progress: BuildProgress) -> None:
    handlers = []

    def build() -> None:
        with progress:
            handlers.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=build)
    thread.start()
    thread.join()
    assert handlers == [before]
