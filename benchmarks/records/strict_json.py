"""Frozen dataclasses from JSON: every key known, every type right, or an InputError of one line."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, NoReturn, TypeVar, get_args, get_origin, get_type_hints

from runtime.errors import InputError
from runtime.files import small_file

T = TypeVar("T")


def read_object(path: str | Path) -> dict[str, Any]:
    """The JSON object in a file; InputError if it is cut short, no JSON or no object."""
    data = small_file(path)
    try:
        content = json.loads(data, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} does not hold JSON ({error}); write it anew") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds a JSON {type(content).__name__}; expected an object")
    return content


def parse(kind: type[T], value: object, place: str) -> T:
    """A value of the dataclass `kind` from what json.loads gave.

    Understands dataclasses, tuple[X, ...], Mapping[str, X], X | None, str, int, float and bool.
    place: where the value stands, for the message.

    Raises ValueError naming the place of the first thing that does not fit.
    """
    result: T = _parse(kind, value, place)
    return result


def _parse(kind: Any, value: Any, place: str) -> Any:
    if is_dataclass(kind):
        return _parse_dataclass(kind, value, place)
    origin, inner = get_origin(kind), get_args(kind)
    if origin is UnionType:
        (present,) = (option for option in inner if option is not NoneType)
        return None if value is None else _parse(present, value, place)
    if origin is tuple:
        entries = _of_type(list, value, place)
        return tuple(_parse(inner[0], entry, f"{place}[{i}]") for i, entry in enumerate(entries))
    if origin is Mapping:
        entries = _of_type(dict, value, place)
        return {key: _parse(inner[1], entry, f"{place}.{key}") for key, entry in entries.items()}
    if kind is float:
        is_whole = type(value) is int and abs(value) < 2**1000  # float() refuses larger ones
        number = float(value) if is_whole else _of_type(float, value, place)
        if not math.isfinite(number):
            raise ValueError(f"{place} is {number}; expected a finite number")
        return number
    return _of_type(kind, value, place)


def _parse_dataclass(kind: Any, value: Any, place: str) -> Any:
    given = _of_type(dict, value, place)
    hints = get_type_hints(kind)
    required = [f.name for f in fields(kind) if f.default is MISSING]
    if missing := [name for name in required if name not in given]:
        raise ValueError(f"{place} has no '{missing[0]}'")
    if unknown := sorted(given.keys() - hints.keys()):
        raise ValueError(f"{place} has an unknown entry '{unknown[0]}'")
    entries = {key: _parse(hints[key], entry, f"{place}.{key}") for key, entry in given.items()}
    try:
        return kind(**entries)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error


def _of_type(kind: Any, value: Any, place: str) -> Any:
    # type() and not isinstance(): True is an int to Python, and a mistake here.
    if type(value) is not kind:
        raise ValueError(f"{place} is {value!r:.60}; expected {kind.__name__}")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
