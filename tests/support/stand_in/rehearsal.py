"""The stand-in network on the strict GPU: what runs on hardware later runs here first, in numpy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from simulated_gpu import simulated_gpu
from stand_in import kernels, network
from strict_gpu import Gpu
from strict_kernels import KernelDriver


@contextmanager
def rehearsed(device: Gpu, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gpu]:
    """cuda.bindings of runtime/ and of the stand-in are the strict ones until the block ends."""
    from runtime.cuda import cuda_python as cuda

    with simulated_gpu(device, monkeypatch, KernelDriver):
        monkeypatch.setattr(kernels, "driver", cuda.driver)
        monkeypatch.setattr(network, "driver", cuda.driver)
        yield device
