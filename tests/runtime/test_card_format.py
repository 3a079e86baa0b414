"""A card that a person writes: what is filled in, and what is refused by the entry's name."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from runtime.card import IMAGENET_MEAN, IMAGENET_STD, Card, parse_card, read_card_file
from runtime.card_format import voc_palette
from runtime.errors import CardError

DOCUMENTATION = Path(__file__).resolve().parents[2] / "docs/engines.md"


def parsed(**entries: Any) -> Card:
    return parse_card(json.dumps(entries), Path("mine.json"))


def test_the_card_that_people_write_is_read(shared: Path) -> None:
    card = read_card_file(shared / "field/card_natural.json")
    assert card.classes == ("red", "green", "blue")
    assert card.palette == ((255, 0, 0), (0, 255, 0), (0, 0, 255))
    assert (card.mean, card.std) == ((0, 0, 0), (1, 1, 1))
    assert read_card_file(shared / "field/cardbgr.json").channel_order == "BGR"


def test_the_documented_examples_are_cards() -> None:
    text = DOCUMENTATION.read_text(encoding="utf-8")
    examples = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    cards = [parse_card(example, DOCUMENTATION) for example in examples]
    assert len(cards) == 2
    assert {card.classes for card in cards} == {("road", "car", "person")}


def test_every_entry_of_a_card_is_documented() -> None:
    text = DOCUMENTATION.read_text(encoding="utf-8")
    rows = {
        name
        for row in re.findall(r"^\| (`[^|]*) \|", text, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    }
    written = {"parents", "tools", "details", "license_note"}  # by us, into our own files
    assert {entry.name for entry in fields(Card)} - written <= rows


def test_classes_alone_make_a_card() -> None:
    card = parsed(classes=["road", "car"])
    assert card.palette == voc_palette(2)
    assert (card.mean, card.std, card.channel_order) == (IMAGENET_MEAN, IMAGENET_STD, "RGB")


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text('{"classes": ["a"]}', encoding="utf-8-sig")
    assert read_card_file(tmp_path / "card.json").classes == ("a",)


def test_what_a_card_says_is_read_back() -> None:
    card = parsed(classes=["a"], input_shape=[None, 4, 4, 3], output_kind="mask", ignore_id=255)
    assert parse_card(card.to_json(), Path("a")) == card


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({}, "classes"),
        ({"palette": [[0, 0, 0]]}, "classes"),
        ({"classes": 19}, "classes is 19"),
        ({"classes": "road"}, "classes is 'road'"),
        ({"classes": {"0": "road"}}, "classes is {'0': 'road'}"),
        ({"classes": []}, "classes holds 0 names"),
        ({"classes": ["a", 2]}, "classes is"),
        ({"classes": ["a"], "palette": [[0, 0, 0], [1, 1, 1]]}, "1 classes and 2 colours"),
        ({"classes": ["a"], "palette": "voc"}, "palette is 'voc'"),
        ({"classes": ["a"], "palette": [[0, 0]]}, "palette holds"),
        ({"classes": ["a"], "palette": [[0, 0, 256]]}, "palette holds"),
        ({"classes": ["a"], "palette": [[0.5, 0, 0]]}, "palette holds"),
        ({"classes": ["a"], "palette": [7]}, "palette holds 7"),
        ({"classes": ["a"], "mean": 0.5}, "mean holds 0.5"),
        ({"classes": ["a"], "mean": [0, 0, float("nan")]}, "mean holds"),
        ({"classes": ["a"], "std": [1, 1, 0]}, "std is"),
        ({"classes": ["a"], "std": [1, "1", 1]}, "std holds"),
        ({"classes": ["a"], "channel_order": "rgb"}, "channel_order is 'rgb'"),
        ({"classes": ["a"], "input_shape": [1, 3, 4, 4]}, "input_shape is"),
        ({"classes": ["a"], "input_shape": 4}, "input_shape is 4"),
        ({"classes": ["a"], "ignore_id": "255"}, "ignore_id is '255'"),
        ({"classes": ["a"], "output_kind": "masks"}, "output_kind is 'masks'"),
        ({"classes": ["a"], "variant": 3}, "variant is 3"),
        ({"classes": ["a"], "parents": {"x": 1}}, "parents is 1"),
        ({"classes": ["a"], "colour_order": "RGB"}, r"colour_order .channel_order is one"),
        ({"classes": ["a"], "schema_version": 2}, "schema 2"),
    ],
)
def test_a_fault_is_named_by_its_entry(entries: dict[str, Any], said: str) -> None:
    with pytest.raises(CardError, match=said) as error:
        parsed(**entries)
    assert str(error.value).startswith("mine.json: ")
