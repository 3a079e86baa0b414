"""The stand-in network on the strict GPU: what runs on hardware later runs here first, in numpy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from simulated_gpu import simulated_gpu
from strict_gpu import Gpu

from stand_in import kernels, network
from stand_in.strict_kernels import KernelDriver


@contextmanager
def rehearsed(device: Gpu, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gpu]:
    """cuda.bindings of runtime/ and of the stand-in are the strict ones until the block ends."""
    from runtime.cuda import cuda_python as cuda

    with simulated_gpu(device, monkeypatch, KernelDriver):
        use_driver(cuda.driver, monkeypatch)
        yield device


def use_driver(driver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the stand-in launch its kernels with this cuda.bindings.driver."""
    monkeypatch.setattr(kernels, "driver", driver)
    monkeypatch.setattr(network, "driver", driver)
