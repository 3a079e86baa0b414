"""A backend that fails, however it does, loses its own row and says why."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks import measure
from benchmarks.backends.backend import CPU, CUDA, Backend, Candidate
from benchmarks.backends.entrants import Entrant, opened
from runtime.card import Card
from runtime.errors import DeviceError, InputError

CARD = Card(variant="tiny", classes=("a",), palette=((0, 0, 0),))
FRAMES = np.zeros((1, 4, 5, 3), np.uint8)


class Working:
    description = "a backend"

    def __call__(self, frames: NDArray[np.uint8], /) -> NDArray[np.uint8]:
        return frames[..., 0]

    def close(self) -> None: ...


class Stuck(Working):
    def close(self) -> None:
        raise RuntimeError("the context is gone")


class Refusing(Working):
    def __call__(self, _: NDArray[np.uint8], /) -> NDArray[np.uint8]:
        raise TypeError("incompatible function arguments\nand a long story")


def candidate(open_backend: Callable[[], Backend], device: str = CPU) -> Candidate:
    return Candidate("a", device, Path("a"), CARD, lambda: open_backend)


def raising(error: BaseException) -> Callable[[], Backend]:
    def fail() -> Backend:
        raise error

    return fail


@pytest.mark.parametrize(
    ("open_backend", "reason"),
    [
        (raising(DeviceError("the driver is too old")), "the driver is too old"),
        (raising(ValueError("odd")), "ValueError: odd"),
        (Refusing, "TypeError: incompatible function arguments"),
    ],
)
def test_a_backend_that_cannot_be_opened_says_why(
    open_backend: Callable[[], Backend], reason: str
) -> None:
    with ExitStack() as stack:
        assert opened(candidate(open_backend), FRAMES, stack).not_run == reason


def test_a_file_that_the_cpu_refuses_is_bad_input_and_elsewhere_costs_its_row() -> None:
    refused = raising(InputError("a.onnx is no model"))
    with ExitStack() as stack:
        with pytest.raises(InputError, match="no model"):
            opened(candidate(refused), FRAMES, stack)
        assert opened(candidate(refused, CUDA), FRAMES, stack).not_run == "a.onnx is no model"


def test_the_user_can_still_interrupt_an_opening() -> None:
    with ExitStack() as stack, pytest.raises(KeyboardInterrupt):
        opened(candidate(raising(KeyboardInterrupt())), FRAMES, stack)


def test_a_backend_that_cannot_be_closed_says_so_and_the_others_are_closed() -> None:
    with ExitStack() as stack:
        stuck = opened(candidate(Stuck), FRAMES, stack)
        other = opened(candidate(Working), FRAMES, stack)
    assert stuck.error == "closing it failed: RuntimeError: the context is gone"
    assert other.error is None


def test_a_reference_workload_that_fails_takes_its_device_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(measure, "gpu_workload", raising(RuntimeError("no kernel image")))
    on_cpu, on_gpu = (Entrant(candidate(Working, d), Working()) for d in (CPU, CUDA))
    assert measure._workloads([on_cpu, on_gpu], threads=1).keys() == {CPU}
    assert on_cpu.error is None
    assert on_gpu.error == "the reference workload failed: RuntimeError: no kernel image"
