"""The networks that RefineNet is compared with are the published ones: in size and in output."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from golden_outputs import COMPARED, TOLERANCE, Golden
from torch import nn

from refinenet import create_model, load_model
from refinenet.checkpoints.load import load_checkpoint
from runtime.errors import CheckpointError

# reference/baselines.md, section 1: millions, with 21 classes.
MILLIONS = {
    "fcn-32s": 136.2,
    "fcn-16s": 134.8,
    "fcn-8s": 134.5,
    "fcn-8s-at-once": 134.5,
    "fcn-50": 33.0,
    "fcn-101": 51.9,  # 51949141, which the page rounds twice, to 52.0
    "unet": 31.0,
    "unet-bilinear": 17.3,
    "deeplab-v2-101": 44.0,  # 44048532, which the page rounds twice, to 44.1
    "deeplab-v2-101-msc": 44.0,
}
ASKED = {"fcn8s": "fcn-8s"}  # whose keys alone do not tell


@pytest.mark.parametrize("variant", MILLIONS)
def test_parameters_are_the_published_ones(variant: str) -> None:
    with torch.device("meta"):
        network = create_model(variant, 21)
    count = sum(parameter.numel() for parameter in network.parameters())
    assert round(count / 1e6, 1) == MILLIONS[variant]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name in ("fcn8s", "crfrnn_fcn") else name
        for name in COMPARED
    ],
)
def test_a_published_checkpoint_gives_the_golden_outputs(
    name: str, golden: Golden, tmp_path: Path
) -> None:
    path = tmp_path / "weights.pth"  # a name that tells nothing
    torch.save(golden.weights(name), path)
    model, card = load_checkpoint(path, ASKED.get(name))
    assert card.variant == COMPARED[name]
    assert not model.training
    for case, expected in golden.logits(name).items():
        assert golden.error(model, case, expected) <= TOLERANCE, case


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("tv_fcn50", "backbone.layer4.1.conv2.weight"),
        ("unet", "up4.up.weight"),
        ("deeplabv2_msc", "base.aspp.c3.weight"),
    ],
)
def test_one_changed_weight_misses_the_golden_outputs(
    name: str, key: str, golden: Golden, tmp_path: Path
) -> None:
    weights = golden.weights(name)
    weights[key].view(-1)[4] += 0.3  # the middle of a 3x3 kernel
    torch.save(weights, tmp_path / "changed.pth")
    model = load_model(tmp_path / "changed.pth")
    case, expected = next(iter(golden.logits(name).items()))
    assert golden.error(model, case, expected) > TOLERANCE


@pytest.mark.slow
def test_fcn_8s_asks_whether_it_was_trained_at_once(golden: Golden, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(golden.weights("fcn8s"), path)
    with pytest.raises(CheckpointError, match="fcn-8s and of fcn-8s-at-once"):
        load_model(path)
    at_once = load_model(path, variant="fcn-8s-at-once")
    case, expected = next(iter(golden.logits("fcn8s").items()))
    assert golden.error(at_once, case, expected) > 0.1


@pytest.mark.parametrize("variant", MILLIONS)
def test_batch_norm_of_the_backbone_alone_stays_frozen(variant: str) -> None:
    with torch.device("meta"):
        network = create_model(variant, 2).train()
    frozen = {
        id(module)
        for backbone in network.pretrained_backbones
        for module in backbone.modules()
        if isinstance(module, nn.BatchNorm2d)
    }
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert all(norm.training == (id(norm) not in frozen) for norm in norms)
