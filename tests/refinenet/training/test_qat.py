"""Quantization-aware fine-tuning: where the network rounds, what it learns, what it saves."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from refinenet.activation_ranges import Ranges, load_ranges, save_ranges, shipped_ranges
from refinenet.backbones.resnet import Bottleneck
from refinenet.checkpoints.load import load_checkpoint, weights_path
from refinenet.data.augmentation import Augmentation
from refinenet.training.qat import (
    FakeQuantConv2d,
    InputQuantizer,
    fake_quantized_weight,
    fp16_scale,
    insert_fake_quantization,
    int8_convolutions,
    learned_ranges,
    save_with_ranges,
)
from refinenet.training.recipes.recipe import Recipe
from refinenet.training.train import TrainOptions, train
from refinenet.variants import create_model
from runtime.errors import InputError

SHIPPED = "lw-mobilenetv2-camvid"


def observed(network: nn.Module, images: torch.Tensor) -> nn.Module:
    """The network with fake quantization that has seen these images."""
    insert_fake_quantization(network)
    network.train()
    with torch.no_grad():
        network(images)
    return network.eval()


def test_weights_take_at_most_255_values_per_output_channel() -> None:
    weight = torch.randn(3, 64, 3, 3, generator=torch.Generator().manual_seed(0))
    rounded = fake_quantized_weight(weight)
    scale = fp16_scale(weight.abs().amax((1, 2, 3)))[:, None, None, None]
    steps = rounded / scale
    assert torch.allclose(steps, steps.round(), atol=1e-3)
    assert steps.abs().max() <= 127.01
    assert (rounded - weight).abs().max() <= 0.501 * scale.max()


def test_a_scale_of_a_channel_commutes_with_its_rounding() -> None:
    """Why batch norm need not be folded: it scales the output channels."""
    weight = torch.randn(4, 64, 1, 1, generator=torch.Generator().manual_seed(0))
    factor = torch.tensor([0.25, 1, -2, 8]).reshape(4, 1, 1, 1)
    assert torch.allclose(
        fake_quantized_weight(weight * factor), fake_quantized_weight(weight) * factor, rtol=1e-5
    )


def test_the_range_follows_training_and_stands_still_in_evaluation() -> None:
    quantizer = InputQuantizer()
    quantizer(torch.linspace(-1, 2, 1000))
    assert float(quantizer.limit) == pytest.approx(2, abs=0.01)
    quantizer(torch.linspace(-4, 4, 1000))
    assert float(quantizer.limit) == pytest.approx(0.98 * 2 + 0.02 * 4, abs=0.01)
    before = float(quantizer.limit)
    quantizer.eval()(torch.full((10,), 50.0))
    assert float(quantizer.limit) == before


def test_gradients_pass_through_the_rounding_but_not_the_clipping() -> None:
    quantizer = InputQuantizer()
    quantizer.limit.fill_(1.0)
    x = torch.tensor([0.3, 5.0], requires_grad=True)
    quantizer.eval()(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1, 0]


def test_parameters_stay_the_same_objects_under_the_same_names() -> None:
    network = create_model("lw-mobilenetv2", 3)
    before = dict(network.named_parameters())
    insert_fake_quantization(network)
    after = dict(network.named_parameters())
    assert before.keys() == after.keys()
    assert all(after[name] is parameter for name, parameter in before.items())


def test_a_residual_block_quantizes_its_input_once_for_its_shortcut_too() -> None:
    network = create_model("lw-50", 3)
    insert_fake_quantization(network)
    blocks = [module for module in network.modules() if isinstance(module, Bottleneck)]
    assert all(isinstance(block.input_quantizer, InputQuantizer) for block in blocks)
    assert all(isinstance(block.conv1, FakeQuantConv2d) for block in blocks)
    assert all(block.conv1.input_quantizer is None for block in blocks)
    assert learned_ranges(network, "none", 0).limits.keys() == {
        f"network.{name}.weight" for name in int8_convolutions(create_model("lw-50", 3))
    }


def test_weights_are_saved_under_their_usual_keys(tmp_path: Path) -> None:
    network, card = load_checkpoint(SHIPPED)
    prepared = observed(network, torch.rand(1, 3, 64, 64))
    path = tmp_path / "own.safetensors"
    save_with_ranges(path, prepared, card, torch.float32, "camvid", 3)
    again, _ = load_checkpoint(path)
    original, _ = load_checkpoint(SHIPPED)
    for key, value in original.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key
    content = json.loads((tmp_path / "own.ranges.json").read_text())
    assert (content["method"], content["images"], content["image_count"]) == (
        "learned",
        "camvid",
        3,
    )


def test_a_run_fine_tunes_resumes_and_keeps_its_ranges(small_camvid: Path, tmp_path: Path) -> None:
    recipe = Recipe(epochs=1, batch=2, augmentation=Augmentation(crop=64))
    options = TrainOptions(
        "lw-mobilenetv2",
        small_camvid,
        tmp_path / "run",
        recipe=recipe,
        weights=weights_path(SHIPPED),
        workers=0,
        device="cpu",
        qat=True,
        quiet=True,
    )
    best = train(options)
    ranges = load_ranges(shipped_ranges(best))
    assert (ranges.method, ranges.images, ranges.image_count) == ("learned", "camvid", 4)
    assert all(limit > 0 for limit in ranges.limits.values())
    assert load_checkpoint(best)[1].details["quantization_aware"] is True
    written = best.read_bytes()
    assert train(replace(options, resume=True)).read_bytes() == written
    make_an_earlier_epoch_the_best(options.output)
    shipped_ranges(best).unlink()
    with pytest.raises(InputError, match=r"best\.ranges\.json, of epoch 1, is gone"):
        train(replace(options, resume=True))


def make_an_earlier_epoch_the_best(run: Path) -> None:
    """As after a second epoch that was worse."""
    state = torch.load(run / "state.pt", weights_only=True)
    (first,) = state["records"]
    state["records"] = [first, first | {"epoch": 2, "val_miou": first["val_miou"] - 0.01}]
    torch.save(state, run / "state.pt")


@pytest.mark.parametrize(
    "change",
    [
        {"limits": {"w": True}},
        {"limits": {"w": float("nan")}},
        {"peaks": {"w": [1.0, float("nan"), 1.0]}},
        {"peaks": {"w": [1.0, 1.0, -1.0]}},
        {"peaks": {"w": [True, 1.0, 1.0]}},
        {"image_count": -1},
        {"image_count": True},
    ],
    ids=str,
)
def test_a_number_that_is_no_range_is_refused(change: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "street.ranges.json"
    save_ranges(Ranges("max", "camvid", 1, "", {"w": 1.0}), path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=r"street\.ranges\.json holds no activation ranges"):
        load_ranges(path)


def test_fine_tuning_needs_weights_to_start_from(small_camvid: Path, tmp_path: Path) -> None:
    options = TrainOptions("lw-mobilenetv2", small_camvid, tmp_path / "run", workers=0, qat=True)
    with pytest.raises(InputError, match="--qat fine-tunes trained weights; give them with --weig"):
        train(options)
    half = replace(options, weights=weights_path(SHIPPED), recipe=Recipe(precision="bf16"))
    with pytest.raises(InputError, match="--qat with --precision bf16"):
        train(half)
