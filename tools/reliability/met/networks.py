"""Networks of one's own that are exported, and the checkpoints of their weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
import torch

from runtime.card import CARD_KEY, parse_card
from tools.reliability.met.rows import BGR_IDS, RGB_IDS, model_gives, refused, right, written
from tools.reliability.own_networks import named_module, ordered, plain
from tools.reliability.shelf import CLASSES, frame
from tools.reliability.surroundings import Faults, Prepare, Surrounding

OWN = "tools.reliability.own_networks"
AS_IT_IS = {"mean": [0, 0, 0], "std": [1, 1, 1]}  # x / 255
ONES = {"classes": CLASSES, **AS_IT_IS}
TWO = {"classes": ["background", "red"], **AS_IT_IS}


def _export(name: str, options: str = "--size 48x64", file: str = "") -> str:
    return (
        f"export {file} --factory {OWN}:{name} --card own.json --output out --name x "
        f"--precision fp32 {options}"
    )


def _is_red() -> Any:
    """Where red outweighs the mean of green and blue; no pixel of the photo lies at the edge."""
    blue, green, red = np.moveaxis(frame().astype(float), 2, 0)
    return (2 * red > blue + green).astype(np.uint8)


def _multiple_is_8(room: Path) -> Faults:
    model = onnx.load(room / EXPORTED)
    cards = {entry.key: entry.value for entry in model.metadata_props}
    found = parse_card(cards[CARD_KEY], room / EXPORTED).size_multiple
    return None if found == 8 else f"a multiple of {found}"


EXPORTED = "out/x.fp32.onnx"
CARD_IN_RGB, CARD_OF_TWO = written(own__json=ONES), written(own__json=TWO)
CARD_IN_BGR = written(own__json={**ONES, "channel_order": "BGR"})
RGB, BGR = model_gives(RGB_IDS, EXPORTED), model_gives(BGR_IDS, EXPORTED)
RED = model_gives(_is_red(), EXPORTED)

NETWORKS: Mapping[str, Surrounding] = MappingProxyType(
    {
        "scores": right(_export("by_colour"), CARD_IN_RGB, RGB),
        "scores of BGR": right(_export("by_colour"), CARD_IN_BGR, BGR),
        "a logit": right(_export("one_channel"), CARD_OF_TWO, RED),
        "a probability": right(_export("probability"), CARD_OF_TWO, RED),
        "within 0 and 1, of no sigmoid": refused(_export("clamped"), CARD_OF_TWO, "threshold"),
        "class ids": right(_export("class_ids"), CARD_IN_RGB, RGB),
        "under logits": right(_export("under_logits"), CARD_IN_RGB, RGB),
        "in an object": right(_export("in_an_object"), CARD_IN_RGB, RGB),
        "two unnamed results": refused(_export("two_unnamed"), CARD_IN_RGB),
        "positions for this size": right(_export("positions"), CARD_IN_RGB, RGB),
        "positions for another size": refused(
            _export("positions", "--size 64x64"), CARD_IN_RGB, "64"
        ),
        "positions, --dynamic": refused(
            _export("positions", "--size 48x64 --dynamic"), CARD_IN_RGB
        ),
        "bins": right(_export("bins"), CARD_IN_RGB),
        "bins, --dynamic": refused(_export("bins", "--size 48x64 --dynamic"), CARD_IN_RGB),
        "a size in Python, --dynamic": refused(
            _export("own_size", "--size 48x64 --dynamic"), CARD_IN_RGB
        ),
        "multiples of 8, --dynamic": right(
            _export("strided", "--size 64x96 --dynamic"), CARD_IN_RGB, _multiple_is_8
        ),
        "multiples of 8, at another size": refused(
            _export("strided", "--size 50x70"), CARD_IN_RGB, "56x72"
        ),
        "a card of too few classes": refused(_export("by_colour"), CARD_OF_TWO),
        "a function that fails": refused(_export("failing"), CARD_IN_RGB, "it has no weights"),
        "a function of no network": refused(_export("no_network"), CARD_IN_RGB, "list"),
        "a function that is not there": refused(_export("by_color"), CARD_IN_RGB, "by_color"),
        "a module that is not there": refused(
            "export --factory nowhere:network --output out --precision fp32", says="nowhere"
        ),
    }
)


def _saved(content: Callable[[], Any]) -> Prepare:
    def save(room: Path) -> None:
        CARD_IN_RGB(room)
        torch.save(content(), room / "run.pth")

    return save


def _loaded(content: Callable[[], Any], options: str = "", network: str = "plain") -> Surrounding:
    """The weights with which the network tells the colours, and nothing else."""
    return right(_export(network, f"--size 48x64 {options}", "run.pth"), _saved(content), RGB)


def _not_loaded(content: Callable[[], Any], says: str = "", options: str = "") -> Surrounding:
    return refused(
        _export("plain", f"--size 48x64 {options}", "run.pth"), _saved(content), says=says
    )


RIGHT, AVERAGED = (0, 1, 2), (2, 1, 0)


def _raw_and_averaged() -> dict[str, Any]:
    return {"model": ordered(AVERAGED), "ema": ordered(RIGHT)}


def _program(room: Path) -> None:
    CARD_IN_RGB(room)
    torch.jit.save(torch.jit.script(plain()), room / "run.pth")


CHECKPOINTS: Mapping[str, Surrounding] = MappingProxyType(
    {
        "bare": _loaded(lambda: ordered(RIGHT)),
        "an attribute called module": _loaded(
            lambda: ordered(RIGHT, "module."), network="named_module"
        ),
        "DataParallel": _loaded(lambda: ordered(RIGHT, "module.")),
        "DataParallel of an attribute called module": _loaded(
            lambda: ordered(RIGHT, "module.module."), network="named_module"
        ),
        "torch.compile": _loaded(lambda: ordered(RIGHT, "_orig_mod.")),
        "Lightning": _loaded(
            lambda: {"state_dict": ordered(RIGHT, "model."), "pytorch-lightning_version": "2.4.0"}
        ),
        "model_state_dict": _loaded(lambda: {"model_state_dict": ordered(RIGHT), "epoch": 3}),
        "halves": _loaded(lambda: {key: value.half() for key, value in ordered(RIGHT).items()}),
        "--weights-key": _loaded(_raw_and_averaged, "--weights-key ema"),
        "two sets, without a choice": right(
            _export("plain", "--size 48x64", "run.pth"),
            _saved(_raw_and_averaged),
            BGR,
            says="--weights-key",
        ),
        "--weights-key of none": _not_loaded(_raw_and_averaged, "ema", "--weights-key swa"),
        "TorchScript": refused(
            _export("plain", "--size 48x64", "run.pth"), _program, says="TorchScript"
        ),
        "a pickled network": _not_loaded(named_module, "state_dict"),
        "of another network": _not_loaded(lambda: {"0.weight": torch.zeros(8, 3, 1, 1)}),
    }
)
