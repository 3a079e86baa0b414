"""A progress bar for TensorRT's builder, and a way to stop it."""

from __future__ import annotations

import signal
import threading
from types import TracebackType
from typing import Any

from tqdm import tqdm

from runtime.tensorrt_api import TensorRT


class BuildProgress:
    """Context manager around a build: shows the outermost phase and cancels on Ctrl-C.

    TensorRT calls the monitor from C++, where an exception would end the process; so Ctrl-C only
    raises a flag there, and KeyboardInterrupt follows when the builder has returned.
    """

    def __init__(self, trt: TensorRT, name: str, quiet: bool) -> None:
        self._bar = tqdm(desc=name, unit="step", leave=False, disable=quiet or None)
        self._cancelled = threading.Event()
        self._handler: Any = None
        self.monitor = _monitor(trt, self._bar, self._cancelled)

    def __enter__(self) -> BuildProgress:
        if threading.current_thread() is threading.main_thread():
            self._handler = signal.signal(signal.SIGINT, lambda *_: self._cancelled.set())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._handler is not None:
            signal.signal(signal.SIGINT, self._handler)
        self._bar.close()
        if self._cancelled.is_set():
            raise KeyboardInterrupt


def _monitor(trt: TensorRT, bar: tqdm[Any], cancelled: threading.Event) -> Any:
    class Monitor(trt.module.IProgressMonitor):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.module.IProgressMonitor.__init__(self)
            self.outermost = ""

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            if not parent and not self.outermost:
                self.outermost = phase
                bar.reset(total=steps)

        def step_complete(self, phase: str, step: int) -> bool:
            if phase == self.outermost:
                bar.update(step - bar.n)
            return not cancelled.is_set()

        def phase_finish(self, phase: str) -> None:
            if phase == self.outermost:
                self.outermost = ""

    return Monitor()
