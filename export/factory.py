"""The network to export: weights of ours, or whatever a function of the user's returns.

The function's code runs because the user named it; nothing that a file says is ever run.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from refinenet.checkpoints.load import load_checkpoint, published_card, read_weights, weights_path
from runtime.card import Card, read_card_file
from runtime.errors import CheckpointError, DeployError, InputError
from runtime.files import existing_file, sha256_of

PROBE = (1, 3, 64, 64)  # what a network is shown to count its classes


@dataclass(frozen=True)
class Source:
    """network: (N, 3, H, W) float, normalized, to scores (N, C, h, w), in evaluation mode.
    sha256: of the weights file, or of the weights themselves where there is none."""

    network: nn.Module
    card: Card
    sha256: str
    name: str


def open_source(
    weights: str | Path | None,
    factory: str | None = None,
    card_file: Path | None = None,
    variant: str | None = None,
) -> Source:
    """The network to export, or to compare an export with.

    weights: whatever refinenet.load_model takes. With a factory: the state_dict for its network,
    or None where the function loads its weights itself.
    factory: package.module:function of the user's. It takes nothing and returns a network whose
    result is scores, or a dict with the scores under "out", or a tuple that begins with them.
    card_file: class names, colours, mean and std of such a network; numbered classes and
    ImageNet's mean and std otherwise.
    variant: of weights whose keys are those of several networks; see refinenet.load_model.

    Raises InputError for a factory that cannot be imported or gives something else,
    CheckpointError for weights that do not fit.
    """
    if factory is None:
        if weights is None:
            raise InputError("no weights given, and no --factory; give one of them")
        path = weights_path(weights)
        network, card = load_checkpoint(path, variant)
        return Source(network, card, sha256_of(path), str(path))
    own = _made(factory)
    sha256 = _fill(own, existing_file(weights), factory) if weights else _hash_of(own)
    scores = Scores(own).eval()
    card = _card(factory, scores, card_file)
    return Source(scores, card, sha256, factory)


class Scores(nn.Module):
    """The scores alone of a network that returns more, as torchvision's do."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        result = self.network(image)
        if isinstance(result, Mapping) and "out" in result:
            result = result["out"]
        elif isinstance(result, Sequence) and result:
            result = result[0]
        if not isinstance(result, Tensor) or result.dim() != 4:
            found = f"shape {tuple(result.shape)}" if isinstance(result, Tensor) else type(result)
            raise InputError(
                f"the network gives {found}; expected scores (N, C, h, w), a dict with them under "
                "'out', or a tuple that begins with them"
            )
        return result


def _made(factory: str) -> nn.Module:
    function = _function(factory)
    with _users_code(f"factory {factory} fails"):
        network = function()
    if not isinstance(network, nn.Module):
        raise InputError(f"{factory} gives {type(network).__name__}; expected a torch.nn.Module")
    return network


@contextmanager
def _users_code(failing: str) -> Iterator[None]:
    """Turn whatever the user's own code raises into one line that begins with `failing`."""
    try:
        yield
    except DeployError:
        raise
    except ModuleNotFoundError as error:
        raise InputError(
            f"{failing}: no module named {error.name}; call refinenet where it lies, or install it"
        ) from error
    except (Exception, SystemExit) as error:
        problem = " ".join(str(error).split())[:300]
        raise InputError(
            f"{failing}: {type(error).__name__}: {problem}; call it in Python to see where"
        ) from error


def _function(factory: str) -> Callable[[], Any]:
    module_name, _, name = factory.partition(":")
    if not module_name or not name:
        raise InputError(f"factory '{factory}'; expected package.module:function")
    # The installed command does not look where it is called, as `python -m` does.
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    with _users_code(f"factory {factory} fails"):
        module = import_module(module_name)
    if not hasattr(module, name):
        raise InputError(f"factory {factory}: {module_name} has no attribute '{name}'")
    function = getattr(module, name)
    if not callable(function):
        raise InputError(f"factory {factory}: {name} is no function")
    result: Callable[[], Any] = function
    return result


def _fill(network: nn.Module, weights: Path, factory: str) -> str:
    try:
        network.load_state_dict(dict(read_weights(weights)))
    except RuntimeError as error:
        problem = " ".join(str(error).split())[:300]
        raise CheckpointError(
            f"{weights} does not fit the network of {factory}: {problem}"
        ) from error
    return sha256_of(weights)


def _hash_of(network: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, values in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(values.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _card(factory: str, scores: Scores, card_file: Path | None) -> Card:
    failing = f"the network of {factory} fails on an image {PROBE}"
    with _users_code(failing), torch.inference_mode():
        num_classes = int(scores(torch.zeros(PROBE)).shape[1])
    if not 1 <= num_classes <= 256:
        raise InputError(f"{factory} gives {num_classes} classes; a uint8 mask holds 1 to 256")
    if card_file is None:
        card = published_card(factory, num_classes)
    else:
        card = replace(read_card_file(card_file), variant=factory)
    if len(card.classes) != num_classes:
        raise InputError(
            f"{card_file} names {len(card.classes)} classes; {factory} gives {num_classes}"
        )
    return replace(card, details={**card.details, "factory": factory})
