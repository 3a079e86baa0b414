"""The card: what an artifact is and how it must be used, as data that travels with it.

What never changes stands inside the file, under the key `card`: in a safetensors header and in
an ONNX file's metadata_props. What is known later (the file's hash, how it was built, how it was
verified) stands in the sidecar FILE.card.json, which repeats the card. An engine has the sidecar
alone: nothing is ever written into an engine file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from runtime.card_format import (
    CARD_KEY,
    IMAGENET_MEAN,
    IMAGENET_STD,
    Card,
    json_object,
    parse_card,
    typed,
)
from runtime.errors import CardError, EngineMismatch, InputError
from runtime.files import existing_file, sha256_of, small_file, written_whole
from runtime.metadata import embedded_metadata

__all__ = [
    "CARD_KEY",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "Card",
    "Sidecar",
    "check_external_data",
    "check_hash",
    "needed_card",
    "parse_card",
    "read_card",
    "read_card_file",
    "read_sidecar",
    "sidecar_path",
    "write_sidecar",
    "write_verification",
]


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
    return _parse_sidecar(given) if "sha256" in json_object(small_file(given), given) else None


def _parse_sidecar(file: Path) -> Sidecar:
    content = json_object(small_file(file), file)
    try:
        sidecar = Sidecar(
            card=parse_card(json.dumps(content["card"]), file),
            sha256=typed("sha256", content["sha256"], str),
            size_bytes=typed("size_bytes", content["size_bytes"], int),
            build=typed("build", content.get("build", {}), dict),
            verification=typed("verification", content.get("verification", {}), dict),
        )
    except CardError:
        raise  # which is a ValueError too
    except KeyError as error:
        raise CardError(f"{file} lacks {error}; write its artifact anew") from error
    except ValueError as error:
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


def needed_card(path: Path, card_file: str | Path | None) -> str | Path | None:
    """The card file, where `path` carries no card of its own; for several files and one --card."""
    own = CARD_KEY in embedded_metadata(path) or sidecar_path(path).exists()
    return None if own else card_file


def read_card_file(file: str | Path) -> Card:
    """The card in a JSON file, bare or as a whole sidecar; CardError if it is malformed."""
    given = json_object(small_file(file), Path(file))
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
