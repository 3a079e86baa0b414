"""The card as JSON: what a person may write, what is filled in, and what is refused by name."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from runtime.errors import CardError
from runtime.normalization import IMAGENET, Normalization

CARD_KEY = "card"
SCHEMA_VERSION = 1
UNKNOWN_VARIANT = "unknown"  # of a file of another tool, whose card names none


@dataclass(frozen=True)
class Card:
    """What an artifact is, whatever file it lies in.

    variant: the network's name in refinenet.variants; a word for it where it is another's.
    classes: the name of every class, by id.
    palette: the (red, green, blue) colour of every class, 0 to 255.
    ignore_id: the label that counts neither in training nor in evaluation, or None.
    precision: fp32, fp16, bf16 or int8.
    channel_order: of the file's own input, RGB for weights and BGR for frames. Frames are BGR; a
    file of another tool that takes RGB frames is given them so.
    mean, std: of the normalization (x / 255 - mean) / std, always in RGB order.
    resize_policy: what becomes of a frame of another size, stretch or letterbox.
    input_shape: (N, H, W, 3) of the frames, None for a free dimension; None for weights.
    size_multiple: of which both sides of a frame must be, where the file takes any size.
    output_kind: mask, (N, H, W) uint8, or logits, (N, C, H, W) float; None for weights.
    parents: the SHA-256 of the files this one was made from, by role.
    tools: the versions of the programs that made it.
    license_note: what the weights and the data behind them allow.
    details: facts of one stage: the training recipe and its results, the calibration.
    """

    variant: str
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    ignore_id: int | None = None
    precision: str = "fp32"
    channel_order: str = "RGB"
    mean: tuple[float, float, float] = IMAGENET.mean
    std: tuple[float, float, float] = IMAGENET.std
    resize_policy: str = "stretch"
    input_shape: tuple[int | None, int | None, int | None, int] | None = None
    size_multiple: int = 1
    output_kind: str | None = None
    parents: Mapping[str, str] = field(default_factory=dict)
    tools: Mapping[str, str] = field(default_factory=dict)
    license_note: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps({"schema_version": SCHEMA_VERSION, **asdict(self)}, sort_keys=True)

    @property
    def normalization(self) -> Normalization:
        """What the network is fed; of weights, since the input of an exported file is frames."""
        return Normalization(self.mean, self.std, self.channel_order)

    @property
    def frame_size(self) -> tuple[int, int] | None:
        """(height, width) of the frames, or None where any size goes in."""
        if self.input_shape is None or None in self.input_shape[1:3]:
            return None
        _, height, width, _ = self.input_shape
        return (height, width) if height and width else None


def parse_card(text: str, source: Path) -> Card:
    """A card from its JSON text; CardError naming `source` and the entry if it is malformed.

    Every entry but `classes` may be missing: see the defaults of Card. Without `palette` the
    classes get VOC's colours; without `schema_version` the card is read as of this version.
    """
    content = json_object(text.encode(), source)
    version = content.pop("schema_version", SCHEMA_VERSION)
    if version != SCHEMA_VERSION:
        raise CardError(
            f"{source}: card schema {version!r}; this version reads schema {SCHEMA_VERSION}"
        )
    known = [entry.name for entry in fields(Card)]
    if unknown := sorted(content.keys() - set(known)):
        near = difflib.get_close_matches(unknown[0], known, 1)
        meant = f" ({near[0]} is one)" if near else ""
        raise CardError(
            f"{source}: unknown card entries {', '.join(unknown)}{meant}; expected some of "
            f"{', '.join(known)}; see docs/engines.md"
        )
    if "classes" not in content:
        raise CardError(
            f"{source}: malformed card: the entry classes is missing; give the names of the "
            'classes by id, such as "classes": ["road", "car"]; see docs/engines.md'
        )
    try:
        return _card(content)
    except (ValueError, OverflowError) as error:
        raise CardError(f"{source}: malformed card: {error}; see docs/engines.md") from error


def _card(content: Mapping[str, Any]) -> Card:
    given: dict[str, Any] = {
        name: read(name, content[name]) for name, read in _READERS.items() if name in content
    }
    count = len(given["classes"])
    given.setdefault("variant", UNKNOWN_VARIANT)
    given.setdefault("palette", voc_palette(count))
    if len(given["palette"]) != count:
        raise ValueError(f"{count} classes and {len(given['palette'])} colours in the palette")
    return Card(**given)


def voc_palette(num_classes: int) -> tuple[tuple[int, int, int], ...]:
    """VOC's colours for any number of classes: the bits of the id, spread over red, green, blue."""

    def level(index: int, channel: int) -> int:
        return sum((index >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(3))

    return tuple((level(i, 0), level(i, 1), level(i, 2)) for i in range(num_classes))


def _classes(name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise ValueError(f"{name} is {value!r:.60}; expected a list of names")
    if not 1 <= len(value) <= 256:
        raise ValueError(f"{name} holds {len(value)} names; expected 1 to 256")
    return tuple(value)


def _palette(name: str, value: Any) -> tuple[tuple[int, int, int], ...]:
    if not isinstance(value, list):
        raise ValueError(f"{name} is {value!r:.60}; expected a list of [red, green, blue]")
    return tuple(_colour(name, colour) for colour in value)


def _colour(name: str, value: Any) -> tuple[int, int, int]:
    red, green, blue = _triple(name, value)
    if any(type(level) is not int or not 0 <= level <= 255 for level in value):
        raise ValueError(f"{name} holds {value!r:.60}; expected levels from 0 to 255")
    return int(red), int(green), int(blue)


def _triple(name: str, value: Any) -> tuple[float, float, float]:
    numbers = isinstance(value, list) and all(
        isinstance(entry, (int, float)) and not isinstance(entry, bool) for entry in value
    )
    if not numbers or len(value) != 3 or not all(math.isfinite(entry) for entry in value):
        raise ValueError(f"{name} holds {value!r:.60}; expected three numbers")
    red, green, blue = value
    return red, green, blue


def _std(name: str, value: Any) -> tuple[float, float, float]:
    numbers = _triple(name, value)
    if min(numbers) <= 0:
        raise ValueError(f"{name} is {value!r:.60}; expected numbers above zero")
    return numbers


def _shape(name: str, value: Any) -> tuple[int | None, int | None, int | None, int] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 4 or value[3] != 3:
        raise ValueError(f"{name} is {value!r:.60}; expected [N, H, W, 3]")
    if any(size is not None and (type(size) is not int or size < 1) for size in value):
        raise ValueError(f"{name} is {value!r:.60}; expected positive sizes or null")
    batch, height, width, channels = value
    return batch, height, width, channels


def _ignore_id(name: str, value: Any) -> int | None:
    return None if value is None else int(typed(name, value, int))


def _multiple(name: str, value: Any) -> int:
    if typed(name, value, int) < 1:
        raise ValueError(f"{name} is {value}; expected 1 or more")
    return int(value)


def _text(name: str, value: Any) -> str:
    return str(typed(name, value, str))


def _texts(name: str, value: Any) -> dict[str, str]:
    for text in typed(name, value, dict).values():
        typed(name, text, str)
    return dict(value)


def _one_of(*allowed: str | None) -> Callable[[str, Any], str | None]:
    def read(name: str, value: Any) -> str | None:
        if value not in allowed:
            expected = " or ".join("null" if word is None else word for word in allowed)
            raise ValueError(f"{name} is {value!r:.60}; expected {expected}")
        return str(value) if value is not None else None

    return read


_READERS: Mapping[str, Callable[[str, Any], Any]] = {
    "variant": _text,
    "classes": _classes,
    "palette": _palette,
    "ignore_id": _ignore_id,
    "precision": _one_of("fp32", "fp16", "bf16", "int8"),
    "channel_order": _one_of("RGB", "BGR"),
    "mean": _triple,
    "std": _std,
    "resize_policy": _one_of("stretch", "letterbox"),
    "input_shape": _shape,
    "size_multiple": _multiple,
    "output_kind": _one_of(None, "mask", "logits"),
    "parents": _texts,
    "tools": _texts,
    "license_note": _text,
    "details": lambda name, value: typed(name, value, dict),
}


def typed(name: str, value: Any, kind: type) -> Any:
    """The value, if it is of that type; ValueError otherwise."""
    if not isinstance(value, kind) or isinstance(value, bool):
        words = {str: "text", int: "a whole number", dict: "an object"}
        raise ValueError(f"{name} is {value!r:.60}; expected {words[kind]}")
    return value


def json_object(data: bytes, source: Path) -> dict[str, Any]:
    """A JSON object; CardError naming `source` for anything else."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CardError(f"{source} does not hold JSON: {error}") from error
    if not isinstance(content, dict):
        raise CardError(f"{source} holds a JSON {type(content).__name__}; expected an object")
    return content
