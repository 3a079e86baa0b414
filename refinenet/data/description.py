"""A dataset described by a small JSON or YAML file; docs/datasets.md says what goes into it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from refinenet.data.classes import Colour, Palette
from refinenet.data.layout import NAME, Dataset, Names, splits_of
from runtime.card_format import voc_palette
from runtime.errors import InputError
from runtime.files import small_text

REQUIRED = ("images", "labels", "splits", "classes")
OPTIONAL = ("palette", "ignore_id", "ignore_colour", "id_map", "exif", "license_note")
KEYS = (*REQUIRED, *OPTIONAL)
ALL_IMAGES = "*"
DEFAULT_IGNORE_ID = 255


def read_description(path: Path) -> Dataset:
    """A dataset from its description; InputError that names the file and the key if it is wrong."""
    text = small_text(path)
    try:
        return _dataset(_content(text, path))
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error


def _content(text: str, path: Path) -> dict[str, Any]:
    try:
        is_json = path.suffix.lower() == ".json"
        content = json.loads(text) if is_json else yaml.load(text, _PlainLoader)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        what = " ".join(str(error).split())
        raise ValueError(f"is not {path.suffix[1:].upper()}: {what[:300]}") from error
    if not isinstance(content, dict):
        raise ValueError(f"holds a {type(content).__name__}; expected the keys {', '.join(KEYS)}")
    return content


class _PlainLoader(yaml.SafeLoader):  # type: ignore[misc]  # it has no stubs
    """Without aliases: nine of them in nine others are a billion."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it repeats a part by an alias (*name); write the part out")
        return super().compose_node(parent, index)


def _dataset(content: dict[str, Any]) -> Dataset:
    unknown = [str(key) for key in content if key not in KEYS]
    missing = [key for key in REQUIRED if key not in content]
    if unknown:
        raise ValueError(f"unknown key {', '.join(unknown)}; expected {', '.join(KEYS)}")
    if missing:
        raise ValueError(f"the key {', '.join(missing)} is missing")
    classes = _classes(content["classes"])
    ignore_id = _whole("ignore_id", content.get("ignore_id", DEFAULT_IGNORE_ID))
    if ignore_id < len(classes):
        raise ValueError(f"ignore_id is {ignore_id}, which is the class {classes[ignore_id]}")
    return Dataset(
        classes=classes,
        palette=_palette(content.get("palette"), len(classes)),
        ignore_id=ignore_id,
        splits=splits_of(
            _splits(content["splits"]),
            _pattern("images", content["images"]),
            _pattern("labels", content["labels"]),
        ),
        license_note=_text("license_note", content.get("license_note", "")),
        id_map=_id_map(content.get("id_map"), len(classes), ignore_id),
        by_colour=content.get("palette") is not None,
        ignore_colour=_ignore_colour(content),
        turned=_turned(content.get("exif", "apply")),
    )


def _turned(value: Any) -> bool:
    if value not in ("apply", "ignore"):
        raise ValueError(f"exif is {value!r:.80}; expected apply or ignore")
    return bool(value == "apply")


def _classes(value: Any) -> tuple[str, ...]:
    names = tuple(_text("classes", name) for name in _list("classes", value))
    if not 1 <= len(names) <= 255:
        raise ValueError(f"classes has {len(names)} names; expected 1 to 255")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"classes names {twice} twice")
    return names


def _palette(value: Any, num_classes: int) -> Palette:
    if value is None:
        return voc_palette(num_classes)
    colours = tuple(_colour("palette", colour) for colour in _list("palette", value))
    if len(colours) != num_classes:
        raise ValueError(f"palette has {len(colours)} colours; expected {num_classes}")
    return colours


def _ignore_colour(content: Mapping[str, Any]) -> Colour | None:
    value = content.get("ignore_colour")
    if value is None:
        return None
    colour = _colour("ignore_colour", value)
    if content.get("palette") is None:
        raise ValueError("ignore_colour is for masks in colours; give the classes' as palette")
    if list(colour) in content["palette"]:
        raise ValueError(f"ignore_colour is {value}, which is the colour of a class")
    return colour


def _colour(key: str, value: Any) -> Colour:
    levels = tuple(_whole(key, level) for level in _list(key, value))
    if len(levels) != 3:
        raise ValueError(f"{key} holds a colour that is not [red, green, blue]")
    red, green, blue = levels
    return red, green, blue


def _splits(value: Any) -> Mapping[str, Names]:
    if not isinstance(value, dict) or not value:
        raise ValueError(f"splits is {value!r:.80}; expected names of splits, each with its images")
    return {_text("splits", split): _names(split, names) for split, names in value.items()}


def _names(split: str, value: Any) -> Names:
    if value == ALL_IMAGES:
        return None
    if isinstance(value, str) and value:
        return value
    return tuple(_text(f"splits: {split}", name) for name in _list(f"splits: {split}", value))


def _pattern(key: str, value: Any) -> str:
    pattern = _text(key, value)
    rest = pattern.replace(NAME, "").replace("{split}", "")
    if NAME not in pattern or "{" in rest or "}" in rest:
        raise ValueError(
            f"{key} is {pattern!r:.80}; expected a path with {NAME}, and {{split}} at most"
        )
    return pattern


def _id_map(value: Any, num_classes: int, ignore_id: int) -> dict[int, int]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not value:
        raise ValueError(f"id_map is {value!r:.80}; expected ids of the labels, each with a class")
    # JSON has no keys but strings.
    id_map = {
        _whole("id_map", int(i) if isinstance(i, str) and i.isdecimal() else i): _whole(
            "id_map", mapped
        )
        for i, mapped in value.items()
    }
    for i, mapped in id_map.items():
        if mapped >= num_classes and mapped != ignore_id:
            raise ValueError(
                f"id_map turns {i} into {mapped}; expected 0 to {num_classes - 1}, or {ignore_id}"
            )
    return id_map


def _list(key: str, value: Any) -> Sequence[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{key} is {value!r:.80}; expected a list")
    return value


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{key} holds {value!r:.80}; expected text")
    return value


def _whole(key: str, value: Any) -> int:
    if type(value) is not int or not 0 <= value <= 255:
        raise ValueError(f"{key} holds {value!r:.80}; expected a whole number from 0 to 255")
    return value
