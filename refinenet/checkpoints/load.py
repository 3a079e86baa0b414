"""Weights on disk: ours (safetensors with a card) and the published ones, told apart by their keys.

Loading is strict always: a checkpoint that merely resembles a network would predict noise.
"""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn
from torch.serialization import safe_globals

from refinenet.checkpoints.containers import fitting as fitting
from refinenet.checkpoints.containers import readings, weights_in
from refinenet.checkpoints.recognition import (
    TORCHVISION,
    nearest_variant,
    recognizable,
    recognize,
)
from refinenet.data.datasets import VOC, voc_palette
from refinenet.network import SegmentationNetwork
from refinenet.renaming import Weights
from refinenet.variants import create_model, split_variant
from runtime.card import CARD_KEY, Card, read_card
from runtime.errors import CheckpointError, InputError
from runtime.files import existing_file, written_whole
from runtime.normalization import IMAGENET, Normalization
from runtime.shipped import shipped_file

# DrSleep's training keeps its best mIoU, a NumPy scalar, beside the weights. NumPy 1 pickles it
# under the first name, NumPy 2 under the second.
_scalar = np.float64(0).__reduce__()[0]
NUMPY_SCALARS: list[Any] = [
    (_scalar, "numpy.core.multiarray.scalar"),
    (_scalar, "numpy._core.multiarray.scalar"),
    *(np.dtype, *(type(np.dtype(name)) for name in ("f2", "f4", "f8", "i4", "i8"))),
]


def load_model(path: str | Path, variant: str | None = None) -> SegmentationNetwork:
    """Load a network with its weights, in evaluation mode.

    path: a .safetensors file of this project, a published checkpoint (.pth, .pth.tar, .ckpt), or
    the name of weights that ship with the package, such as lw-mobilenetv2-camvid.
    variant: for checkpoints whose keys are those of several networks; without it they are refused.

    Returns a module: (N, 3, H, W) float32, normalized as its card says, to class scores
    (N, num_classes, h, w); of RefineNets, h is ceil(H/4) and w is ceil(W/4).

    Raises InputError if the file cannot be read, CheckpointError if it fits no known network, or
    not that variant, or several networks.
    """
    return load_checkpoint(path, variant)[0]


def load_checkpoint(
    path: str | Path, variant: str | None = None, weights_key: str | None = None
) -> tuple[SegmentationNetwork, Card]:
    """Load a network, in evaluation mode, and its card. See load_model.

    weights_key: which of several sets of weights in the file, such as averaged ones; see
    refinenet.checkpoints.containers.
    """
    path = weights_path(path)
    weights, card = _read(path, variant, weights_key)
    model = create_model(card.variant, len(card.classes))
    fill(model, weights, f"{path} ({card.variant}, {len(card.classes)} classes)")
    return model.eval(), card


def checkpoint_card(
    path: str | Path, variant: str | None = None, weights_key: str | None = None
) -> Card:
    """The card of weights, without building their network. See load_checkpoint."""
    return _read(weights_path(path), variant, weights_key)[1]


def _read(path: Path, variant: str | None, weights_key: str | None) -> tuple[Weights, Card]:
    """The weights under this project's keys, and what they are."""
    if variant is not None:
        split_variant(variant)  # an unknown one is the first thing to say
    weights = read_weights(path, weights_key)
    if path.suffix == ".safetensors":
        card = read_card(path)
        if variant not in (None, card.variant):
            raise InputError(
                f"{path} is a {card.variant}, by its card; give --variant {card.variant}"
            )
        return weights, card
    found = recognize(recognizable(weights, path, quiet=weights_key is not None), path, variant)
    return found.weights, published_card(found.variant, found.num_classes, found.normalization)


def weights_path(path: str | Path) -> Path:
    """The file itself, or the file of the shipped weights of that name."""
    shipped = None if Path(path).is_file() else shipped_file(path)
    return shipped or existing_file(path)


def save_checkpoint(
    path: Path, model: nn.Module, card: Card, dtype: torch.dtype = torch.float32
) -> None:
    """Write a network's weights, floating-point values as `dtype`, with the card in the header.

    Raises InputError if a value is too large for the dtype.
    """
    state = model.state_dict()
    weights = {
        key: (value.to(dtype) if value.is_floating_point() else value).contiguous()
        for key, value in state.items()
        if not key.endswith("num_batches_tracked")
    }
    for key, value in weights.items():
        if value.isinf().any() and state[key].isfinite().all():
            raise InputError(f"{key} holds values too large for {dtype}; keep them as float32")
    with written_whole(path) as temporary:
        # As bytes: save_file makes a temporary file of its own, which a kill would leave behind.
        temporary.write_bytes(save(weights, metadata={CARD_KEY: card.to_json()}))


def read_weights(path: Path, weights_key: str | None = None) -> Weights:
    """The tensors of a checkpoint file by key, without running code that lies in it.

    weights_key: see load_checkpoint. Of keys that wrappers prefixed nothing is cut here; see
    containers.fitting.
    """
    if path.suffix != ".safetensors":
        return weights_in(load_plain(path), path, weights_key)
    try:
        weights: Weights = load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is not a whole safetensors file ({error}); copy or write it again"
        ) from error
    return weights if weights_key is None else weights_in(weights, path, weights_key)


def load_plain(path: Path) -> Any:
    """What torch.save wrote, on the CPU; CheckpointError if it is more than plain data.

    Code that lies in the file is not run. Raises InputError if it cannot be read.
    """
    path = existing_file(path)
    try:
        _check_stored_plainly(path)
        with safe_globals(NUMPY_SCALARS), warnings.catch_warnings(action="ignore"):
            return torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        held = found[1] if found else "something other than tensors"
        raise CheckpointError(
            f"{path} is not a plain PyTorch checkpoint: it holds {held}, "
            "which may be code and was not run, or is no checkpoint. Save the state_dict alone: "
            "torch.save(model.state_dict(), 'weights.pth')"
        ) from error
    except Exception as error:  # PyTorch's reader raises whatever the bytes lead it to
        raise CheckpointError(
            f"{path} is not a whole PyTorch checkpoint (wrong type, or cut short); copy it again"
        ) from error


def _check_stored_plainly(path: Path) -> None:
    """CheckpointError for an archive of a program instead of weights, and for a compressed one,
    since what it unpacks to has no bound, and PyTorch never writes one."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    _check_no_program(path, {entry.filename.partition("/")[2] for entry in entries})
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise CheckpointError(
            f"{path} is a compressed archive, and PyTorch's checkpoints are not compressed; "
            "unpack it, or save the state_dict again"
        )


def _check_no_program(path: Path, names: set[str]) -> None:
    """names: of the archive's entries."""
    if "constants.pkl" in names or any(name.startswith("code/") for name in names):
        raise CheckpointError(
            f"{path} is a TorchScript archive, which is a program and was not run. If you trust "
            "it, save its weights alone: "
            f"torch.save(torch.jit.load('{path.name}', 'cpu').state_dict(), 'weights.pth')"
        )
    if any(name.startswith(("models/", "archive_format")) for name in names):
        raise CheckpointError(
            f"{path} is a program of torch.export; expected weights. Save the state_dict of its "
            f"network: torch.save(torch.export.load('{path.name}').state_dict, 'weights.pth')"
        )


def fill(model: nn.Module, weights: Weights, source: str) -> None:
    """Load every parameter and statistic; CheckpointError unless keys and shapes all agree.

    source: for the message, which names some keys of each kind and the variant nearest to them.
    """
    expected = model.state_dict()
    given = {
        key: value for key, value in weights.items() if not key.endswith("num_batches_tracked")
    }
    missing = [k for k in expected if k not in given and not k.endswith("num_batches_tracked")]
    unexpected = [key for key in given if key not in expected]
    reshaped = [
        f"{key} {tuple(value.shape)} (expected {tuple(expected[key].shape)})"
        for key, value in given.items()
        if key in expected and value.shape != expected[key].shape
    ]
    if problems := [
        f"{len(keys)} {what}, such as {', '.join(keys[:3])}"
        for what, keys in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of another shape", reshaped),
        )
        if keys
    ]:
        if nearest := nearest_variant(given):
            problems.append(f"the nearest variant is {nearest}")
        raise CheckpointError(f"{source} does not fit the network: keys {'; '.join(problems)}")
    model.load_state_dict(dict(given), strict=False)  # counters aside, checked above


def published_card(variant: str, num_classes: int, normalization: Normalization = IMAGENET) -> Card:
    """What is known of a published checkpoint: VOC's classes if there are 21, numbers otherwise."""
    if num_classes == len(VOC.classes):
        classes, palette, ignore_id = VOC.classes, VOC.palette, VOC.ignore_id
    else:
        classes = tuple(f"class_{index}" for index in range(num_classes))
        palette, ignore_id = voc_palette(num_classes), None
    return Card(
        variant=variant,
        classes=classes,
        palette=palette,
        ignore_id=ignore_id,
        **normalization._asdict(),
    )


def load_imagenet_backbone(model: SegmentationNetwork, path: Path) -> None:
    """Start a network's backbones from ImageNet weights with torchvision's keys.

    Raises InputError for a network without such a backbone, CheckpointError if the weights are not
    those of its backbone, InputError if the file cannot be read.
    """
    weights = read_weights(existing_file(path))
    bare = (part for _, part in readings(weights) if all(map(TORCHVISION.match, part)))
    weights = next(bare, weights)
    if not model.pretrained_backbones:
        raise InputError(
            f"{path}: this network has no backbone that starts from ImageNet weights; "
            "train it without --backbone-weights"
        )
    for backbone in model.pretrained_backbones:
        fill(backbone, backbone.imagenet_weights(weights), f"{path} (ImageNet backbone)")
