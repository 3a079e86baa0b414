"""Published checkpoints of the networks compared with RefineNet: keys, levels, containers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from golden_outputs import COMPARED, Golden
from torch import Tensor

from refinenet import create_model
from refinenet.__main__ import main
from refinenet.checkpoints.load import checkpoint_card, load_model, read_weights
from refinenet.checkpoints.published_keys.deeplab import KAZUTO1011_LEVELS
from refinenet.checkpoints.published_keys.fcn import SADEEPJ_LEVELS, WKENTARO_LEVELS
from refinenet.checkpoints.published_keys.unet import MILESIAL_LEVELS
from refinenet.checkpoints.recognition import Recognized, recognize
from runtime.card import read_card
from runtime.errors import CheckpointError
from runtime.normalization import IMAGENET

FILE = Path("weights.pth")
LEVELS = {
    "fcn8s": WKENTARO_LEVELS,
    "crfrnn_fcn": SADEEPJ_LEVELS,
    "tv_fcn50": IMAGENET,
    "unet": MILESIAL_LEVELS,
    "deeplabv2_msc": KAZUTO1011_LEVELS,
}
ASKED = {"fcn8s": "fcn-8s"}


def shapes(golden: Golden, name: str) -> dict[str, Tensor]:
    return {key: torch.empty(s, device="meta") for key, s in golden.shapes(name).items()}


def check_fits(found: Recognized) -> None:
    with torch.device("meta"):
        expected = create_model(found.variant, found.num_classes).state_dict()
    counters = "num_batches_tracked"
    assert {k: v.shape for k, v in found.weights.items() if not k.endswith(counters)} == {
        k: v.shape for k, v in expected.items() if not k.endswith(counters)
    }


@pytest.mark.parametrize("name", COMPARED)
def test_every_published_key_has_its_own_place(name: str, golden: Golden) -> None:
    found = recognize(shapes(golden, name), FILE, ASKED.get(name))
    assert found.variant == COMPARED[name]
    assert found.num_classes == (2 if name == "unet" else 21)
    assert found.normalization == LEVELS[name]
    check_fits(found)


def fcn_keys(golden: Golden, stride: int) -> dict[str, Tensor]:
    """pytorch-fcn's FCN-32s or FCN-16s, whose upsamplings have other names than FCN-8s's."""
    kept = {k: v for k, v in shapes(golden, "fcn8s").items() if not k.startswith(("up", "score_p"))}
    side = 2 * stride
    if stride == 32:
        return kept | {"upscore.weight": torch.empty(21, 21, side, side)}
    return kept | {
        "score_pool4.weight": torch.empty(21, 512, 1, 1),
        "score_pool4.bias": torch.empty(21),
        "upscore2.weight": torch.empty(21, 21, 4, 4),
        "upscore16.weight": torch.empty(21, 21, side, side),
    }


@pytest.mark.parametrize("stride", [32, 16])
def test_fcns_of_coarser_strides_are_told_apart(stride: int, golden: Golden) -> None:
    found = recognize(fcn_keys(golden, stride), FILE)
    assert (found.variant, found.num_classes) == (f"fcn-{stride}s", 21)
    check_fits(found)


def older(key: str) -> str:
    """A key as the first version of deeplab-pytorch wrote it."""
    key = re.sub(r"^base\.", "scale.", key).replace(".shortcut.", ".proj.")
    return key.replace("aspp.c", "aspp.stages.c")


@pytest.mark.parametrize(
    ("rename", "variant"),
    [
        (lambda key: key, "deeplab-v2-101-msc"),
        (older, "deeplab-v2-101-msc"),
        (lambda key: key.removeprefix("base."), "deeplab-v2-101"),
        (lambda key: older(key).removeprefix("scale."), "deeplab-v2-101"),
    ],
)
def test_deeplab_s_prefix_tells_the_scales(rename: object, variant: str, golden: Golden) -> None:
    assert callable(rename)
    weights = {rename(key): value for key, value in shapes(golden, "deeplabv2_msc").items()}
    found = recognize(weights, FILE)
    assert found.variant == variant
    check_fits(found)


def test_weights_for_three_scales_serve_one_where_asked(golden: Golden) -> None:
    found = recognize(shapes(golden, "deeplabv2_msc"), FILE, "deeplab-v2-101")
    assert found.variant == "deeplab-v2-101"
    assert found.normalization == KAZUTO1011_LEVELS
    check_fits(found)


def test_torchvision_s_auxiliary_head_may_be_missing(golden: Golden) -> None:
    weights = shapes(golden, "tv_fcn50")
    alone = {key: value for key, value in weights.items() if not key.startswith("aux")}
    assert len(alone) < len(weights)
    assert recognize(alone, FILE).weights.keys() == recognize(weights, FILE).weights.keys()


def test_the_bilinear_u_net_is_told_by_what_it_lacks(golden: Golden) -> None:
    with torch.device("meta"):
        expected = create_model("unet-bilinear", 2).state_dict()
    ours = {
        re.sub(r"^up(\d)\.conv\.double_conv", lambda m: f"decoder.{int(m[1]) - 1}.convs", key): key
        for key in golden.shapes("unet")
        if ".up." not in key
    }
    published = {}
    for key, name in ours.items():
        key = key.replace("inc.double_conv", "encoder.0").replace("outc.conv", "classifier")
        key = re.sub(r"^down(\d)\.maxpool_conv\.1\.double_conv", r"encoder.\1", key)
        published[name] = expected[key]
    found = recognize(published, FILE)
    assert found.variant == "unet-bilinear"
    check_fits(found)


def test_torchvision_s_deeplab_v3_is_refused(golden: Golden, tmp_path: Path) -> None:
    weights = {
        key.replace("classifier.0.", "classifier.0.convs.0.0."): torch.zeros(shape)
        for key, shape in golden.shapes("tv_fcn50").items()
    }
    torch.save(weights, tmp_path / "deeplabv3.pth")
    with pytest.raises(CheckpointError, match=r"classifier\.0\.convs\.0\.0\.weight"):
        load_model(tmp_path / "deeplabv3.pth")


def test_a_checkpoint_of_u_net_s_training_is_read(golden: Golden, tmp_path: Path) -> None:
    """It holds a list beside the weights, and DataParallel's prefix where several GPUs made it."""
    weights = golden.weights("unet")
    torch.save(weights | {"mask_values": [0, 255]}, tmp_path / "unet.pth")
    assert read_weights(tmp_path / "unet.pth").keys() == weights.keys()
    card = checkpoint_card(tmp_path / "unet.pth")
    assert (card.variant, len(card.classes), card.mean) == ("unet", 2, (0.0, 0.0, 0.0))
    torch.save(weights | {"other_values": [0, 255]}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="other_values"):
        load_model(tmp_path / "other.pth")


def test_the_container_of_pytorch_fcn_is_opened(tmp_path: Path) -> None:
    inside = {"conv1_1.weight": torch.zeros(64, 3, 3, 3)}
    content = {"epoch": 3, "arch": "FCN8s", "model_state_dict": inside, "best_mean_iu": 0.5}
    torch.save(content, tmp_path / "fcn.pth.tar")
    assert read_weights(tmp_path / "fcn.pth.tar").keys() == inside.keys()


def test_convert_takes_the_variant_that_the_keys_do_not_tell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given, output = tmp_path / "deeplab.pth", tmp_path / "deeplab.safetensors"
    torch.save(create_model("deeplab-mobilenetv2-os16", 3).state_dict(), given)
    assert main(["convert", str(given), str(output)]) == 2
    assert "--variant deeplab-mobilenetv2-os32" in capsys.readouterr().err
    assert not output.exists()
    command = ["convert", str(given), str(output), "--variant", "deeplab-mobilenetv2-os16"]
    assert main(command) == 0
    assert read_card(output).variant == "deeplab-mobilenetv2-os16"
