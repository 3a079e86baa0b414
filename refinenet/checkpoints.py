"""Weights on disk: ours (safetensors with a card) and the published ones, told apart by their keys.

Loading is strict always: a checkpoint that merely resembles a network would predict noise.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from refinenet.datasets import VOC, voc_palette
from refinenet.variants import VARIANTS, create_model
from runtime.card import CARD_KEY, Card, read_card
from runtime.errors import CardError, CheckpointError
from runtime.files import existing_file, written_whole

SHIPPED_FOLDER = Path(__file__).parent / "weights"

Weights = Mapping[str, Tensor]
Rename = tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]

# Published key → ours. The publications count stages from the coarsest (1), as `blocks` does (0).
RESNET_BACKBONE: Rename = ((r"(?:conv1|bn1|layer[1-4])\..*", r"backbone.\g<0>"),)

RESNET_DECODER: Rename = (
    (r"p_ims1d2_outl(\d)_dimred\.(.*)", lambda m: f"reductions.{int(m[1]) - 1}.1.{m[2]}"),
    (
        r"adapt_stage(\d)_b2_joint_varout_dimred\.(.*)",
        lambda m: f"blocks.{int(m[1]) - 1}.fuse.convs.0.{m[2]}",
    ),
    (
        r"mflow_conv_g(\d)_b3_joint_varout_dimred\.(.*)",
        lambda m: f"blocks.{m[1]}.fuse.convs.1.{m[2]}",
    ),
    (
        r"mflow_conv_g(\d)_pool\.0\.(\d)_outvar_dimred\.(.*)",
        lambda m: f"blocks.{int(m[1]) - 1}.pool.convs.{int(m[2]) - 1}.{m[3]}",
    ),
)


def _adaptive_unit(match: re.Match[str]) -> str:
    stage, unit, first_or_second, leaf = match.groups()
    return f"blocks.{int(stage) - 1}.adapt.0.{int(unit) - 1}.{_CONV[first_or_second]}.{leaf}"


def _output_unit(match: re.Match[str]) -> str:
    """Of three published output units, two are the adaptive ones of the next block's path."""
    stage, unit, first_or_second, leaf = match.groups()
    if unit == "1":
        place = f"blocks.{int(stage) - 1}.output"
    elif stage == "4":
        place = f"classifier.{int(unit) - 2}"
    else:
        place = f"blocks.{stage}.adapt.1.{int(unit) - 2}"
    return f"{place}.{_CONV[first_or_second]}.{leaf}"


_CONV = {"conv": "conv1", "conv_relu_varout_dimred": "conv2"}

REFINENET: Rename = (
    *RESNET_BACKBONE,
    *RESNET_DECODER,
    (r"adapt_stage(\d)_b\.0\.(\d)_(conv|conv_relu_varout_dimred)\.(.*)", _adaptive_unit),
    (r"mflow_conv_g(\d)_b\.0\.(\d)_(conv|conv_relu_varout_dimred)\.(.*)", _output_unit),
    (r"clf_conv\.(.*)", r"classifier.3.\1"),
)
LIGHT_WEIGHT: Rename = (
    *RESNET_BACKBONE,
    *RESNET_DECODER,
    (r"clf_conv\.(.*)", r"classifier.0.\1"),
)

_MOBILE_PARTS = ("expand", "depthwise", "project")
_MOBILE_TAPS = {8: "0.fuse.convs.0", 7: "0.fuse.convs.1", 6: "1.fuse.convs.0"} | {
    5: "1.fuse.convs.1",
    4: "2.fuse.convs.0",
    3: "3.fuse.convs.0",
}
LIGHT_WEIGHT_MOBILE: Rename = (
    (r"layer1\.(\d)\.(.*)", r"backbone.stem.\1.\2"),
    (
        r"layer([2-8])\.(\d)\.output\.(\d)\.(\d)\.(.*)",
        lambda m: f"backbone.stages.{int(m[1]) - 2}.{m[2]}.{_MOBILE_PARTS[int(m[3])]}.{m[4]}.{m[5]}",
    ),
    (r"conv([3-8])\.(.*)", lambda m: f"blocks.{_MOBILE_TAPS[int(m[1])]}.{m[2]}"),
    (
        r"conv_adapt([2-4])\.(.*)",  # the last convolution of the fusion: its coarser path
        lambda m: f"blocks.{5 - int(m[1])}.fuse.convs.{'2' if m[1] == '4' else '1'}.{m[2]}",
    ),
    (
        r"crp(\d)\.0\.(\d)_outvar_dimred\.(.*)",
        lambda m: f"blocks.{4 - int(m[1])}.pool.convs.{int(m[2]) - 1}.{m[3]}",
    ),
    (r"segm\.(.*)", r"classifier.0.\1"),
)


def load_model(path: str | Path) -> nn.Module:
    """Load a network with its weights, in evaluation mode.

    path: a .safetensors file of this project, a published checkpoint (.pth, .pth.tar, .ckpt), or
    the name of weights that ship with the package, such as lw-mobilenetv2-camvid.

    Returns a module: (N, 3, H, W) float32, normalized RGB, to class scores
    (N, num_classes, ceil(H/4), ceil(W/4)).

    Raises InputError if the file cannot be read, CheckpointError if it fits no known network.
    """
    return load_checkpoint(path)[0]


def load_checkpoint(path: str | Path) -> tuple[nn.Module, Card]:
    """Load a network, in evaluation mode, and its card. See load_model."""
    path = weights_path(path)
    if path.suffix == ".safetensors":
        card = read_card(path)
        weights = read_weights(path)
        variant, num_classes = card.variant, len(card.classes)
    else:
        weights = read_weights(path)
        variant, num_classes, rename = recognize(weights, path)
        weights = renamed(weights, rename)
        card = published_card(variant, num_classes)
    model = create_model(variant, num_classes)
    fill(model, weights, f"{path} ({variant}, {num_classes} classes)")
    return model.eval(), card


def weights_path(path: str | Path) -> Path:
    """The file itself, or the file of the shipped weights of that name."""
    shipped = SHIPPED_FOLDER / f"{path}.safetensors"
    if not Path(path).exists() and shipped.parent == SHIPPED_FOLDER and shipped.is_file():
        return shipped
    return existing_file(path)


def save_checkpoint(
    path: Path, model: nn.Module, card: Card, dtype: torch.dtype = torch.float32
) -> None:
    """Write a network's weights, floating-point values as `dtype`, with the card in the header."""
    weights = {
        key: (value.to(dtype) if value.is_floating_point() else value).contiguous()
        for key, value in model.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    with written_whole(path) as temporary:
        save_file(weights, temporary, metadata={CARD_KEY: card.to_json()})


def read_weights(path: Path) -> Weights:
    """The tensors of a checkpoint file by key, without running code that lies in it.

    Unpacks the containers met in the wild (`segmenter`, `model`, `state_dict`) and drops the
    `module.` prefix of DataParallel.
    """
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(
                f"{path} is not a whole safetensors file ({error}); copy or write it again"
            ) from error
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is not a plain PyTorch checkpoint: it holds something other than tensors, "
            "which may be code and was not run, or is no checkpoint at all. Save the state_dict alone"
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise CheckpointError(
            f"{path} is not a whole PyTorch checkpoint (wrong type, or cut short); copy it again"
        ) from error
    for container in ("segmenter", "state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(container), dict):
            content = content[container]
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}; expected a state_dict")
    weights = {str(k).removeprefix("module."): v for k, v in content.items()}
    strangers = [key for key, value in weights.items() if not isinstance(value, Tensor)]
    if strangers or not weights:
        raise CheckpointError(
            f"{path} is not a state_dict: {strangers[0] if strangers else 'nothing'} in it is no "
            "tensor. Save the model's state_dict alone"
        )
    return weights


def recognize(weights: Weights, path: Path) -> tuple[str, int, Rename]:
    """Variant, class count and rename table of a published checkpoint, from its keys alone."""
    if "segm.weight" in weights:
        return "lw-mobilenetv2", len(weights["segm.weight"]), LIGHT_WEIGHT_MOBILE
    depth = _resnet_depth(weights)
    if "clf_conv.weight" in weights and depth:
        num_classes = len(weights["clf_conv.weight"])
        if any(key.startswith("adapt_stage1_b.") for key in weights):
            return f"refinenet-{depth}", num_classes, REFINENET
        return f"lw-{depth}", num_classes, LIGHT_WEIGHT
    raise CheckpointError(
        f"{path} fits no known network: its first keys are {', '.join(list(weights)[:3])}. Expected "
        "RefineNet (clf_conv, adapt_stage1_b), Light-Weight RefineNet (clf_conv) or its MobileNetV2 "
        "form (segm)"
    )


def _resnet_depth(weights: Weights) -> int | None:
    blocks = {key.split(".")[1] for key in weights if key.startswith("layer3.")}
    return {6: 50, 23: 101, 36: 152}.get(len(blocks))


def renamed(weights: Weights, table: Rename) -> Weights:
    """The weights under this project's keys; a key that no row matches keeps its name."""
    result = {}
    for key, value in weights.items():
        new_key = key
        for pattern, replacement in table:
            if match := re.fullmatch(pattern, key):
                new_key = match.expand(replacement) if isinstance(replacement, str) else replacement(match)
                break
        result[new_key] = value
    return result


def fill(model: nn.Module, weights: Weights, source: str) -> None:
    """Load every parameter and statistic; CheckpointError unless keys and shapes all agree."""
    expected = model.state_dict()
    given = {key: value for key, value in weights.items() if not key.endswith("num_batches_tracked")}
    missing = [k for k in expected if k not in given and not k.endswith("num_batches_tracked")]
    unexpected = [key for key in given if key not in expected]
    reshaped = [
        f"{key} {tuple(value.shape)} (expected {tuple(expected[key].shape)})"
        for key, value in given.items()
        if key in expected and value.shape != expected[key].shape
    ]
    if problems := [
        f"{len(keys)} {what}, such as {keys[0]}"
        for what, keys in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of another shape", reshaped),
        )
        if keys
    ]:
        raise CheckpointError(f"{source} does not fit the network: keys {'; '.join(problems)}")
    model.load_state_dict(dict(given), strict=False)  # counters aside, checked above


def published_card(variant: str, num_classes: int) -> Card:
    """What is known of a published checkpoint: VOC's classes if there are 21, numbers otherwise."""
    if num_classes == len(VOC.classes):
        classes, palette, ignore_id = VOC.classes, VOC.palette, VOC.ignore_id
    else:
        classes = tuple(f"class_{index}" for index in range(num_classes))
        palette, ignore_id = voc_palette(num_classes), None
    return Card(variant=variant, classes=classes, palette=palette, ignore_id=ignore_id)


def load_imagenet_backbone(model: nn.Module, path: Path) -> None:
    """Start a network's backbone from ImageNet weights with torchvision's keys.

    MobileNetV2's first expansion convolution, which torchvision's lacks, becomes the identity:
    exact, since its input already passed a ReLU6.
    """
    weights = read_weights(existing_file(path))
    backbone = model.get_submodule("backbone")
    if "features.0.0.weight" in weights:
        weights = _identity_expansion() | renamed(weights, TORCHVISION_MOBILENET)
    weights = {k: v for k, v in weights.items() if not re.match(r"fc\.|classifier\.|features", k)}
    fill(backbone, weights, f"{path} (ImageNet backbone)")


def _torchvision_block(match: re.Match[str]) -> str:
    """features.I.conv.J: torchvision nests the convolutions before the last and not the last."""
    index, rest = int(match[1]) - 1, match[2]
    stage, block = _MOBILE_BLOCKS[index]
    parts = _MOBILE_PARTS[1:] if index == 0 else _MOBILE_PARTS
    position, leaf = rest.split(".", 1)
    last = len(parts) - 1
    if int(position) < last:
        part = f"{parts[int(position)]}.{leaf}"
    else:
        part = f"{parts[-1]}.{int(position) - last}.{leaf}"
    return f"stages.{stage}.{block}.{part}"


_MOBILE_BLOCKS = [(s, b) for s, n in enumerate((1, 2, 3, 4, 3, 3, 1)) for b in range(n)]

TORCHVISION_MOBILENET: Rename = (
    (r"features\.0\.(.*)", r"stem.\1"),
    (r"features\.(1[0-7]|[1-9])\.conv\.(.*)", _torchvision_block),
)


def _identity_expansion() -> dict[str, Tensor]:
    key, channels = "stages.0.0.expand", 32
    eps = nn.BatchNorm2d(channels).eps
    return {
        f"{key}.0.weight": torch.eye(channels).reshape(channels, channels, 1, 1),
        f"{key}.1.weight": torch.full((channels,), (1 + eps) ** 0.5),
        f"{key}.1.bias": torch.zeros(channels),
        f"{key}.1.running_mean": torch.zeros(channels),
        f"{key}.1.running_var": torch.ones(channels),
    }
