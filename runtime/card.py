"""The card: what an artifact is and how it must be used, as data that travels with it.

What never changes stands inside the file, under the key `card`: in a safetensors header and in
an ONNX file's metadata_props. What is known later (the file's hash, how it was built, how it was
verified) stands in the sidecar FILE.card.json, which repeats the card. An engine has the sidecar
alone: nothing is ever written into an engine file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from runtime.errors import CardError, EngineMismatch, InputError
from runtime.files import existing_file, sha256_of, small_file, written_whole
from runtime.metadata import embedded_metadata
from runtime.normalization import IMAGENET, Normalization

CARD_KEY = "card"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Card:
    """What an artifact is, whatever file it lies in.

    variant: the network's name in refinenet.variants.
    classes: the name of every class, by id.
    palette: the (red, green, blue) colour of every class, 0 to 255.
    ignore_id: the label that counts neither in training nor in evaluation, or None.
    precision: fp32, fp16, bf16 or int8.
    channel_order: of the file's own input, RGB for weights and BGR for frames.
    mean, std: of the normalization (x / 255 - mean) / std, always in RGB order.
    resize_policy: what becomes of a frame of another size, stretch or letterbox.
    input_shape: (N, H, W, 3) of the frames, None for a free dimension; None for weights.
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


@dataclass(frozen=True)
class Sidecar:
    """FILE.card.json: the card, and what is known only once the file exists.

    build: how an engine was built and for what (package, version, compute capabilities, warnings).
    verification: what `refinenet verify` found.
    """

    card: Card
    sha256: str
    size_bytes: int
    build: Mapping[str, Any] = field(default_factory=dict)
    verification: Mapping[str, Any] = field(default_factory=dict)


def sidecar_path(path: Path) -> Path:
    return path.with_name(path.name + ".card.json")


def write_sidecar(
    path: Path, card: Card, build: Mapping[str, Any] | None = None, content: Path | None = None
) -> Sidecar:
    """Describe the finished file `path` in the sidecar beside it.

    content: where the finished file lies, if it has not taken its name yet.
    """
    content = content or path
    sidecar = Sidecar(card, sha256_of(content), content.stat().st_size, build or {})
    _save_sidecar(path, sidecar)
    return sidecar


def write_verification(path: Path, verification: Mapping[str, Any]) -> None:
    """Add a verification result to the sidecar of `path`."""
    sidecar = read_sidecar(path) or write_sidecar(path, read_card(path))
    _save_sidecar(path, replace(sidecar, verification=verification))


def _save_sidecar(path: Path, sidecar: Sidecar) -> None:
    content = asdict(sidecar) | {"card": json.loads(sidecar.card.to_json())}
    with written_whole(sidecar_path(path)) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_sidecar(path: Path, card_file: str | Path | None = None) -> Sidecar | None:
    """The sidecar beside `path`, or None if there is none; CardError if it is malformed.

    card_file: takes its place where there is none, if it is a whole sidecar and no bare card.
    """
    file = sidecar_path(path)
    if file.exists():
        return _parse_sidecar(file)
    if card_file is None:
        return None
    given = Path(card_file)
    return _parse_sidecar(given) if "sha256" in _json_object(small_file(given), given) else None


def _parse_sidecar(file: Path) -> Sidecar:
    content = _json_object(small_file(file), file)
    try:
        sidecar = Sidecar(
            card=parse_card(json.dumps(content["card"]), file),
            sha256=_typed(content["sha256"], str),
            size_bytes=_typed(content["size_bytes"], int),
            build=_typed(content.get("build", {}), dict),
            verification=_typed(content.get("verification", {}), dict),
        )
    except (KeyError, TypeError) as error:
        raise CardError(f"{file} is not a sidecar: {error}; write its artifact anew") from error
    return sidecar


def read_card(path: str | Path, card_file: str | Path | None = None) -> Card:
    """The card of a .safetensors, .onnx or .engine file.

    card_file: a card for a file that carries none of its own.

    Raises CardError if there is no card, if it is malformed, or if the file's own card and its
    sidecar disagree.
    """
    path = existing_file(path)
    if card_file is not None:
        return read_card_file(card_file)
    text = embedded_metadata(path).get(CARD_KEY)
    embedded = parse_card(text, path) if text is not None else None
    sidecar = read_sidecar(path)
    if embedded and sidecar and embedded != sidecar.card:
        raise CardError(
            f"{sidecar_path(path).name} contradicts the card inside {path}; "
            "delete the sidecar if the file is the newer one"
        )
    card = embedded or (sidecar.card if sidecar else None)
    if card is None:
        raise CardError(f"{path} has no card; say what it is with --card FILE")
    return card


def read_card_file(file: str | Path) -> Card:
    """The card in a JSON file, bare or as a whole sidecar; CardError if it is malformed."""
    given = _json_object(small_file(file), Path(file))
    return parse_card(json.dumps(given.get("card", given)), Path(file))


def check_hash(path: Path, card_file: str | Path | None = None) -> Sidecar:
    """Compare the file with the hash in its sidecar; an integrity check, not a signature.

    card_file: as in read_sidecar.

    Raises CardError without a sidecar, EngineMismatch if the file is not the one described.
    """
    sidecar = read_sidecar(path, card_file)
    if sidecar is None:
        raise CardError(f"{path} has no sidecar {sidecar_path(path).name}; build the engine anew")
    if path.stat().st_size != sidecar.size_bytes or sha256_of(path) != sidecar.sha256:
        beside = sidecar_path(path)
        name = beside.name if beside.exists() or card_file is None else Path(card_file).name
        raise EngineMismatch(
            f"{path} is not the file that {name} describes (its SHA-256 "
            "differs): it was changed or copied incompletely. Build or copy it again"
        )
    return sidecar


def check_external_data(path: Path, card: Card) -> None:
    """Compare the weights that an ONNX file keeps in a file beside it with their hash in the card.

    Raises InputError if that file is missing or is another one.
    """
    told = card.details.get("external_data")
    if path.suffix != ".onnx" or not isinstance(told, dict):
        return
    data = existing_file(path.with_name(str(told.get("file"))))
    if sha256_of(data) != told.get("sha256"):
        raise InputError(
            f"{data} does not hold the weights of {path.name} (its SHA-256 differs); copy both "
            "files together, or export again"
        )


def parse_card(text: str, source: Path) -> Card:
    """A card from its JSON text; CardError naming `source` if it is malformed."""
    content = _json_object(text.encode(), source)
    version = content.pop("schema_version", None)
    if version != SCHEMA_VERSION:
        raise CardError(
            f"{source}: card schema {version!r}; this version reads schema {SCHEMA_VERSION}"
        )
    unknown = content.keys() - {entry.name for entry in fields(Card)}
    if unknown:
        raise CardError(f"{source}: unknown card entries {', '.join(sorted(unknown))}")
    try:
        return _checked(content)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise CardError(f"{source}: malformed card: {error}") from error


def _checked(content: dict[str, Any]) -> Card:
    classes = tuple(_typed(name, str) for name in content["classes"])
    palette = tuple(_triple(colour, int) for colour in content["palette"])
    if not 1 <= len(classes) <= 256 or len(palette) != len(classes):
        raise ValueError(f"{len(classes)} classes and {len(palette)} colours")
    if any(not 0 <= level <= 255 for colour in palette for level in colour):
        raise ValueError("a colour outside 0 to 255")
    card = Card(
        **content
        | {"classes": classes, "palette": palette}
        | {name: _triple(content[name], (int, float)) for name in ("mean", "std")}
        | {"input_shape": _shape(content.get("input_shape"))}
    )
    if not all(math.isfinite(value) for value in (*card.mean, *card.std)) or min(card.std) <= 0:
        raise ValueError(f"mean {card.mean} and std {card.std}; expected numbers, std above zero")
    for name, allowed in _ALLOWED.items():
        if getattr(card, name) not in allowed:
            raise ValueError(f"{name} is {getattr(card, name)!r}; expected one of {allowed}")
    for name in ("variant", "license_note"):
        _typed(getattr(card, name), str)
    for name in ("parents", "tools", "details"):
        _typed(getattr(card, name), dict)
    for text in (*card.parents.values(), *card.tools.values()):
        _typed(text, str)
    if card.ignore_id is not None:
        _typed(card.ignore_id, int)
    return card


_ALLOWED = {
    "precision": ("fp32", "fp16", "bf16", "int8"),
    "channel_order": ("RGB", "BGR"),
    "resize_policy": ("stretch", "letterbox"),
    "output_kind": (None, "mask", "logits"),
}


def _typed(value: Any, kind: type) -> Any:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{value!r:.60} is not of type {kind.__name__}")
    return value


def _triple(value: Any, kind: type | tuple[type, ...]) -> tuple[Any, Any, Any]:
    if len(value) != 3 or not all(isinstance(entry, kind) for entry in value):
        raise ValueError(f"{value!r:.60} is not a triple of numbers")
    first, second, third = value
    return first, second, third


def _shape(value: Any) -> tuple[int | None, int | None, int | None, int] | None:
    if value is None:
        return None
    if len(value) != 4 or value[3] != 3:
        raise ValueError(f"input_shape {value!r:.60}; expected [N, H, W, 3]")
    if any(size is not None and (type(size) is not int or size < 1) for size in value):
        raise ValueError(f"input_shape {value!r:.60}; expected positive sizes or null")
    batch, height, width, channels = value
    return batch, height, width, channels


def _json_object(data: bytes, source: Path) -> dict[str, Any]:
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CardError(f"{source} does not hold JSON: {error}") from error
    if not isinstance(content, dict):
        raise CardError(f"{source} holds a JSON {type(content).__name__}; expected an object")
    return content
