"""The strict GPU in the place of cuda.bindings, for as long as a test takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from strict_cuda import Driver, strict_bindings
from strict_gpu import Gpu

from runtime.cuda import gpu


@contextmanager
def simulated_gpu(
    device: Gpu, monkeypatch: pytest.MonkeyPatch, driver_api: type[Driver] = Driver
) -> Iterator[Gpu]:
    """Let runtime.cuda.cuda_python use it. At the end nothing is left on it, and the thread's
    context is what it was."""
    from runtime.cuda import cuda_python as cuda

    runtime, driver = strict_bindings(device, driver_api)
    monkeypatch.setattr(cuda, "cudart", runtime)
    monkeypatch.setattr(cuda, "driver", driver)
    monkeypatch.setattr(gpu, "_CHOSEN", [])
    yield device
    assert device.current == []
    assert not any(device.alive().values()), device.alive()
