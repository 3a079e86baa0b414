"""The networks are the published ones: in size, in output, in what stays frozen."""

from __future__ import annotations

import copy
from functools import cache
from math import ceil
from pathlib import Path

import pytest
import torch
from golden_outputs import TOLERANCE, VARIANTS, Golden
from torch import nn

from refinenet import create_model, load_model
from refinenet.checkpoints.load import load_checkpoint
from refinenet.networks.blocks import ResidualConvUnit
from refinenet.variants import VARIANTS as ALL_NETWORKS
from runtime.errors import InputError

NETWORKS = [name for name, row in ALL_NETWORKS.items() if row.chained_pooling]  # the RefineNets

# reference/refinenet.md, "Architecture": with 21 classes.
PARAMETERS = {
    "refinenet-50": 99_060_309,
    "refinenet-101": 118_052_437,
    "refinenet-152": 133_696_085,
    "lw-50": 27_357_525,
    "lw-101": 46_349_653,
    "lw-152": 61_993_301,
    "lw-mobilenetv2": 3_284_565,
}


@cache
def shapes_only(variant: str, num_classes: int = 21) -> nn.Module:
    """A network without values: its outputs have shapes alone."""
    with torch.device("meta"):
        return create_model(variant, num_classes)


def test_every_published_variant_has_its_name() -> None:
    assert set(PARAMETERS) <= set(NETWORKS)


@pytest.mark.parametrize("variant", PARAMETERS)
def test_parameter_count_is_the_published_one(variant: str) -> None:
    assert parameters(shapes_only(variant)) == PARAMETERS[variant]


def test_a_class_less_is_fewer_parameters() -> None:
    fewer = shapes_only("lw-mobilenetv2", num_classes=20)
    assert parameters(fewer) == PARAMETERS["lw-mobilenetv2"] - (256 * 9 + 1)


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("variant", NETWORKS)
def test_scores_are_at_stride_4_rounded_up(variant: str) -> None:
    model = shapes_only(variant)
    for height, width in ((64, 96), (97, 130), (1, 7)):
        with torch.no_grad():
            scores = model(torch.empty(2, 3, height, width, device="meta"))
        assert scores.shape == (2, 21, ceil(height / 4), ceil(width / 4)), (height, width)


@pytest.mark.parametrize("variant", NETWORKS)
def test_batch_norm_stays_frozen_in_training_mode(variant: str) -> None:
    model = shapes_only(variant).eval().train()
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert not any(norm.training for norm in norms)
    assert all(module.training for module in model.classifier.modules())


def test_training_mode_leaves_the_statistics_alone(mobile: nn.Module) -> None:
    before = copy.deepcopy(mobile.state_dict())
    image = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        mobile.train()(image)
    assert all(torch.equal(value, before[key]) for key, value in mobile.state_dict().items())
    for module in mobile.modules():
        module.training = True  # what nn.Module.train alone would do
    with torch.no_grad():
        mobile(image)
    thawed = mobile.state_dict()["backbone.stem.1.running_mean"]
    assert not torch.equal(thawed, before["backbone.stem.1.running_mean"])


@pytest.mark.parametrize(
    "name",
    [pytest.param("rf101", marks=pytest.mark.slow), "rf_lw50", "mbv2"],
)
def test_a_published_checkpoint_gives_the_golden_outputs(
    name: str, golden: Golden, tmp_path: Path
) -> None:
    path = tmp_path / "weights.pth"  # a name that tells nothing
    torch.save(golden.weights(name), path)
    model, card = load_checkpoint(path)
    path.unlink()  # up to half a gigabyte
    assert card.variant == VARIANTS[name]
    assert not model.training
    logits = golden.logits(name)
    assert set(logits) == {"1x97x129", "1x224x320", "2x128x96"}
    for case, expected in logits.items():
        assert golden.error(model, case, expected) <= TOLERANCE, case


@pytest.mark.parametrize("key", ["layer1.0.weight", "crp3.0.4_outvar_dimred.weight", "segm.bias"])
def test_one_changed_weight_misses_the_golden_outputs(
    key: str, golden: Golden, tmp_path: Path
) -> None:
    weights = golden.weights("mbv2")
    weights[key].view(-1)[0] += 0.1
    torch.save(weights, tmp_path / "changed.pth")
    model = load_model(tmp_path / "changed.pth")
    case, expected = next(iter(golden.logits("mbv2").items()))
    assert golden.error(model, case, expected) > TOLERANCE


def test_the_shortcut_of_a_residual_unit_carries_x_and_not_its_relu() -> None:
    unit = ResidualConvUnit(3)
    nn.init.zeros_(unit.conv2.weight)
    x = torch.linspace(-1, 1, 75).reshape(1, 3, 5, 5)
    kept = x.clone()
    with torch.no_grad():
        assert torch.equal(unit(x), kept)
    assert torch.equal(x, kept)
    assert not torch.equal(torch.relu(x), kept)


def test_an_unknown_variant_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"unknown variant 'lw-51'.*lw-50, lw-101"):
        create_model("lw-51", 21)


@pytest.mark.parametrize("num_classes", [-1, 0, 257])
def test_classes_that_no_byte_can_count_are_refused(num_classes: int) -> None:
    with pytest.raises(InputError, match=f"{num_classes} classes; expected 1 to 256"):
        create_model("lw-mobilenetv2", num_classes)


@pytest.mark.parametrize("num_classes", [1, 256])
def test_one_and_256_classes_are_the_limits(num_classes: int) -> None:
    assert len(shapes_only("lw-mobilenetv2", num_classes).classifier[0].bias) == num_classes
