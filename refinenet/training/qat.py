"""Quantization-aware fine-tuning: the network computes as its INT8 export will, and learns to.

Fake quantization stands where export/to_int8.py puts Q/DQ pairs, by the same rule. Batch norm need
not be folded for that: it scales every output channel, and rounding per output channel commutes
with a scale.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from refinenet.activation_ranges import Ranges, save_ranges, shipped_ranges
from refinenet.backbones.backbone import ResidualBlock
from refinenet.batch_norm import convolutions_before_norms
from refinenet.checkpoints.load import save_checkpoint
from refinenet.int8_layers import reason_for_fp16
from refinenet.network import SegmentationNetwork
from refinenet.variants import create_model
from runtime.card import Card

INT8_MAX = 127
SMALLEST_SCALE = 2.0**-24
COVERED = 0.9999  # the share of values in the range, as export's default calibration has it
SAMPLES = 2**16
DECAY = 0.98  # of the moving average of ranges, per step
NETWORK = "network."  # what the export puts before the names of weights


class InputQuantizer(nn.Module):
    """Rounds and clips an activation as a Q/DQ pair does; gradients pass straight through where
    nothing is clipped.

    limit: the range is [-limit, limit], a moving average over the batches of training.
    """

    limit: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("limit", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        x = x.float()
        if self.training:
            self._observe(x.detach())
        scale = fp16_scale(self.limit)
        zero_point = torch.zeros((), dtype=torch.int32, device=x.device)
        return torch.fake_quantize_per_tensor_affine(x, scale, zero_point, -INT8_MAX - 1, INT8_MAX)

    def _observe(self, x: Tensor) -> None:
        flat = x.reshape(-1)
        # An odd stride, so that the sample walks through columns and channels alike.
        sample = flat[:: (flat.numel() - 1) // SAMPLES | 1].abs()
        seen = sample.quantile(COVERED)
        average = torch.where(self.limit > 0, DECAY * self.limit + (1 - DECAY) * seen, seen)
        self.limit.copy_(average)


class FakeQuantConv2d(nn.Conv2d):
    """A convolution with INT8 weights, one scale per output channel, and an INT8 input.

    input_quantizer: None where the input was quantized before, for a shortcut as well.
    norm: the batch norm that the export folds into the weights, or None.
    """

    def __init__(
        self,
        conv: nn.Conv2d,
        input_quantizer: InputQuantizer | None,
        norm: nn.BatchNorm2d | None,
    ) -> None:
        super().__init__(
            conv.in_channels,
            conv.out_channels,
            kernel_size=conv.kernel_size,  # type: ignore[arg-type]  # nn.Conv2d widened it
            stride=conv.stride,  # type: ignore[arg-type]
            padding=conv.padding,  # type: ignore[arg-type]
            dilation=conv.dilation,  # type: ignore[arg-type]
            groups=conv.groups,
            bias=conv.bias is not None,
            padding_mode=conv.padding_mode,
            device="meta",  # the parameters are the given ones
        )
        self.weight, self.bias = conv.weight, conv.bias
        self.input_quantizer = input_quantizer
        self._norm = (norm,)  # in a tuple: it is registered in its own place already

    def forward(self, x: Tensor) -> Tensor:
        if self.input_quantizer is not None:
            x = self.input_quantizer(x)
        (norm,) = self._norm
        factor = 1.0 if norm is None else _factor(norm)
        out: Tensor = self._conv_forward(x, fake_quantized_weight(self.weight, factor), self.bias)
        return out


def fake_quantized_weight(weight: Tensor, factor: Tensor | float = 1.0) -> Tensor:
    """A weight, (out, in / groups, height, width), as INT8 per output channel renders it.

    factor: what the export multiplies the output channels by, (out,). Only the rounding of the
    scale to FP16 knows of it.
    """
    largest = weight.detach().abs().amax(dim=(1, 2, 3))
    scale = fp16_scale(largest * factor) / factor
    zeros = torch.zeros_like(scale, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scale, zeros, 0, -INT8_MAX, INT8_MAX)


def _factor(norm: nn.BatchNorm2d) -> Tensor:
    """By what an evaluating batch norm multiplies its channels, without the sign."""
    assert norm.running_var is not None  # as the backbones make it
    return norm.weight.detach().abs().clamp(min=1e-6) * (norm.running_var + norm.eps).rsqrt()


def fp16_scale(limit: Tensor) -> Tensor:
    """The step size as the INT8 file stores it: in FP16, rounded up, so that nothing is clipped."""
    scale = (limit / INT8_MAX).clamp(min=SMALLEST_SCALE)
    nearest = scale.half()
    above = (nearest.view(torch.int16) + 1).view(torch.half)  # of positive numbers, the next bits
    return torch.where(nearest.float() < scale, above, nearest).float()


def insert_fake_quantization(model: SegmentationNetwork) -> None:
    """Make a network compute as its INT8 export will, in place; its parameters stay the same."""
    chosen = int8_convolutions(model)
    norms = convolutions_before_norms(model)
    shared: set[nn.Module] = set()
    for block in model.modules():
        if isinstance(block, ResidualBlock) and block.has_shortcut:
            shared |= _share_block_input(block, set(chosen.values()))
    for name, conv in chosen.items():
        quantizer = None if conv in shared else InputQuantizer()
        model.set_submodule(name, FakeQuantConv2d(conv, quantizer, norms.get(conv)))


def int8_convolutions(model: SegmentationNetwork) -> dict[str, nn.Conv2d]:
    """The convolutions that the export makes INT8, by name."""
    convs = {name: m for name, m in model.named_modules() if isinstance(m, nn.Conv2d)}
    return {
        name: conv
        for name, conv in convs.items()
        if not reason_for_fp16(
            conv.in_channels // conv.groups,
            grouped=conv.groups > 1,
            classifier=name in model.classifiers,
        )
    }


def _share_block_input(block: ResidualBlock, chosen: set[nn.Module]) -> set[nn.Module]:
    """Quantize the input of a residual block once, for its convolutions and its shortcut; returns
    those convolutions."""
    readers = set(block.readers)
    if not chosen.issuperset({*readers, block.last}):
        return set()
    block.input_quantizer = InputQuantizer()
    block.register_forward_pre_hook(_quantize_input)
    return readers


def _quantize_input(block: Any, inputs: tuple[Tensor]) -> Tensor:
    quantized: Tensor = block.input_quantizer(inputs[0])
    return quantized


def learned_ranges(model: nn.Module, images: str, image_count: int) -> Ranges:
    """The ranges of a network that insert_fake_quantization has prepared, for its export.

    images, image_count: what it was trained on.
    """
    limits: dict[str, float] = {}
    for name, module in model.named_modules():
        if isinstance(module, FakeQuantConv2d):
            quantizer = module.input_quantizer or _block_quantizer(model, name)
            limits[f"{NETWORK}{name}.weight"] = float(quantizer.limit)
    return Ranges("learned", images, image_count, "", limits)


def _block_quantizer(model: nn.Module, name: str) -> InputQuantizer:
    """Of the nearest module around the one of that name that has one."""
    while name:
        name = name.rpartition(".")[0]
        quantizer = getattr(model.get_submodule(name), "input_quantizer", None)
        if isinstance(quantizer, InputQuantizer):
            return quantizer
    raise AssertionError("a convolution without a quantizer is in a block that has one")


def is_quantization_aware(model: nn.Module) -> bool:
    return any(isinstance(module, FakeQuantConv2d) for module in model.modules())


def save_with_ranges(
    path: Path, model: nn.Module, card: Card, dtype: torch.dtype, images: str, image_count: int
) -> None:
    """Write the weights under their usual keys, and beside them the ranges, where export finds
    them."""
    plain = create_model(card.variant, len(card.classes))
    state = {k: v for k, v in model.state_dict().items() if "input_quantizer." not in k}
    plain.load_state_dict(state)
    save_checkpoint(path, plain, card, dtype)
    save_ranges(learned_ranges(model, images, image_count), shipped_ranges(path))
