"""PyTorch in its variants gives the masks of the exported graph, and tells its steps apart."""

from contextlib import ExitStack

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.backends.backend import CPU
from benchmarks.backends.origin import Origin
from benchmarks.backends.torch_backends import (
    REFERENCE,
    VARIANTS,
    TorchBackend,
    Variant,
    torch_candidates,
)
from benchmarks.scenarios.budget import Stepwise
from export.frame_model import FrameModel
from runtime.card import Card
from runtime.errors import DeviceError

CARD = Card(variant="tiny", classes=("a", "b"), palette=((0, 0, 0), (1, 1, 1)))
FRAMES = np.random.default_rng(0).integers(0, 256, (2, 8, 12, 3), np.uint8)


def frame_model() -> FrameModel:
    torch.manual_seed(0)
    return FrameModel(nn.Conv2d(3, 2, 3, stride=4, padding=1), CARD).eval()


def backend(variant: Variant) -> TorchBackend:
    return TorchBackend(frame_model(), CPU, variant, ExitStack())


@pytest.mark.parametrize("variant", [*VARIANTS["torch"], *VARIANTS["torch-autocast"]])
def test_every_variant_gives_nearly_the_same_masks(variant: Variant) -> None:
    with torch.inference_mode():
        expected = frame_model()(torch.from_numpy(FRAMES)).numpy()
    masks = backend(variant)(FRAMES)
    assert masks.dtype == np.uint8
    assert np.mean(masks == expected) > (0.999 if variant.autocast is None else 0.9)


def test_the_reference_is_float32_in_the_layout_it_was_trained_in() -> None:
    reference = VARIANTS["torch"][0]
    assert (reference.name, reference.precision) == (REFERENCE, "fp32")
    assert (reference.layout, reference.compiler) == (torch.contiguous_format, None)


def test_on_a_cpu_there_are_no_copies_to_tell_apart() -> None:
    eager = backend(VARIANTS["torch"][0])
    assert isinstance(eager, Stepwise)
    steps = eager.steps_ms(FRAMES)
    assert steps.keys() == {"compute", "upsample_argmax"}
    assert min(steps.values()) > 0


def test_what_pytorch_refuses_is_an_error_of_the_device() -> None:
    def failing(_: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("out of memory\nand a long story")

    broken = TorchBackend(failing, CPU, VARIANTS["torch"][0], ExitStack())
    with pytest.raises(DeviceError, match=r"^PyTorch failed: out of memory$"):
        broken(FRAMES)


def test_steps_that_fail_are_an_error_of_the_device_and_leave_no_hook() -> None:
    class Failing(nn.Module):
        def forward(self, _: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("out of memory\nand a long story")

    inner = Failing()
    model = FrameModel(inner, CARD).eval()
    broken = TorchBackend(model, CPU, VARIANTS["torch"][0], ExitStack())
    with pytest.raises(DeviceError, match=r"^PyTorch failed: out of memory$"):
        broken.steps_ms(FRAMES)
    assert not inner._forward_hooks


def test_a_network_that_cannot_be_opened_is_an_error_of_the_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object, **__: object) -> None:
        raise RuntimeError("out of memory\nand a long story")

    origin = Origin("lw-mobilenetv2-camvid", None, CARD)
    (reference,) = torch_candidates(origin, None, (), None)
    monkeypatch.setattr(nn.Module, "to", full)
    with pytest.raises(DeviceError, match=r"^PyTorch eager cannot be opened: out of memory$"):
        reference.opener()()
