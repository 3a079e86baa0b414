"""Weights on disk: ours (safetensors with a card) and the published ones, told apart by their keys.

Loading is strict always: a checkpoint that merely resembles a network would predict noise.
"""

from __future__ import annotations

import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.serialization import safe_globals

from refinenet.checkpoints.recognition import nearest_variant, recognize
from refinenet.data.datasets import VOC, voc_palette
from refinenet.network import SegmentationNetwork
from refinenet.renaming import Weights
from refinenet.variants import create_model, split_variant
from runtime.card import CARD_KEY, Card, read_card
from runtime.errors import CheckpointError, InputError
from runtime.files import existing_file, written_whole
from runtime.normalization import IMAGENET, Normalization

# DrSleep's training keeps its best mIoU, a NumPy scalar, beside the weights. NumPy 1 pickles it
# under the first name, NumPy 2 under the second.
_scalar = np.float64(0).__reduce__()[0]
NUMPY_SCALARS: list[Any] = [
    (_scalar, "numpy.core.multiarray.scalar"),
    (_scalar, "numpy._core.multiarray.scalar"),
    *(np.dtype, *(type(np.dtype(name)) for name in ("f2", "f4", "f8", "i4", "i8"))),
]
BESIDE_WEIGHTS = ("mask_values",)  # U-Net's, which says the grey levels of its training's masks
SHIPPED_FOLDER = Path(__file__).parents[1] / "weights"


def load_model(path: str | Path, variant: str | None = None) -> SegmentationNetwork:
    """Load a network with its weights, in evaluation mode.

    path: a .safetensors file of this project, a published checkpoint (.pth, .pth.tar, .ckpt), or
    the name of weights that ship with the package, such as lw-mobilenetv2-camvid.
    variant: for checkpoints whose keys are those of several networks; without it they are refused.

    Returns a module: (N, 3, H, W) float32, normalized as its card says, to class scores
    (N, num_classes, h, w); of RefineNets, h is ceil(H/4) and w is ceil(W/4).

    Raises InputError if the file cannot be read, CheckpointError if it fits no known network, or
    several.
    """
    return load_checkpoint(path, variant)[0]


def load_checkpoint(
    path: str | Path, variant: str | None = None
) -> tuple[SegmentationNetwork, Card]:
    """Load a network, in evaluation mode, and its card. See load_model."""
    path = weights_path(path)
    weights, card = _read(path, variant)
    model = create_model(card.variant, len(card.classes))
    fill(model, weights, f"{path} ({card.variant}, {len(card.classes)} classes)")
    return model.eval(), card


def checkpoint_card(path: str | Path, variant: str | None = None) -> Card:
    """The card of weights, without building their network. See load_model."""
    return _read(weights_path(path), variant)[1]


def _read(path: Path, variant: str | None) -> tuple[Weights, Card]:
    """The weights under this project's keys, and what they are."""
    if variant is not None:
        split_variant(variant)  # an unknown one is the first thing to say
    weights = read_weights(path)
    if path.suffix == ".safetensors":
        card = read_card(path)
        if variant not in (None, card.variant):
            raise InputError(
                f"{path} is a {card.variant}, by its card; give --variant {card.variant}"
            )
        return weights, card
    found = recognize(weights, path, variant)
    return found.weights, published_card(found.variant, found.num_classes, found.normalization)


def weights_path(path: str | Path) -> Path:
    """The file itself, or the file of the shipped weights of that name."""
    shipped = SHIPPED_FOLDER / f"{path}.safetensors"
    if not Path(path).is_file() and shipped.parent == SHIPPED_FOLDER and shipped.is_file():
        return shipped
    return existing_file(path)


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


def read_weights(path: Path) -> Weights:
    """The tensors of a checkpoint file by key, without running code that lies in it.

    Unpacks the containers met in the wild (`segmenter`, `model`, `state_dict`,
    `model_state_dict`), drops the `module.` prefix of DataParallel and what is no weight.
    """
    if path.suffix == ".safetensors":
        try:
            weights: Weights = load_file(path)
            return weights
        except (SafetensorError, OSError) as error:
            raise CheckpointError(
                f"{path} is not a whole safetensors file ({error}); copy or write it again"
            ) from error
    content = load_plain(path)
    for container in ("segmenter", "state_dict", "model", "model_state_dict"):
        if isinstance(content, dict) and isinstance(content.get(container), dict):
            content = content[container]
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}; expected a state_dict")
    weights = {
        str(key).removeprefix("module."): value
        for key, value in content.items()
        if key not in BESIDE_WEIGHTS
    }
    strangers = [key for key, value in weights.items() if not _is_plain(value)]
    if strangers or not weights:
        raise CheckpointError(
            f"{path} is not a state_dict: {strangers[0] if strangers else 'nothing'} in it is no "
            "tensor of plain numbers. Save the model's state_dict alone"
        )
    return weights


def _is_plain(value: Any) -> bool:
    """Whether it is a tensor with a real number in every place."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and not (value.is_complex() or value.is_quantized or value.is_meta)
    )


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
        raise CheckpointError(
            f"{path} is not a plain PyTorch checkpoint: it holds something other than tensors, "
            "which may be code and was not run, or is no checkpoint. Save the state_dict alone"
        ) from error
    except Exception as error:  # PyTorch's reader raises whatever the bytes lead it to
        raise CheckpointError(
            f"{path} is not a whole PyTorch checkpoint (wrong type, or cut short); copy it again"
        ) from error


def _check_stored_plainly(path: Path) -> None:
    """CheckpointError for a compressed archive: what it unpacks to has no bound, and PyTorch never
    writes one."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise CheckpointError(
                f"{path} is a compressed archive, and PyTorch's checkpoints are not compressed; "
                "unpack it, or save the state_dict again"
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
    if not model.pretrained_backbones:
        raise InputError(
            f"{path}: this network has no backbone that starts from ImageNet weights; "
            "train it without --backbone-weights"
        )
    for backbone in model.pretrained_backbones:
        fill(backbone, backbone.imagenet_weights(weights), f"{path} (ImageNet backbone)")
