"""JSON Schema from frozen dataclasses: what strict_json reads, for other programs.

python -m benchmarks.records.json_schema     writes record.schema.json
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import MappingProxyType, NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from benchmarks.records.record import SCHEMA_VERSION, Record
from runtime.files import written_whole

SCHEMA_FILE = Path(__file__).with_name("record.schema.json")
DRAFT = "https://json-schema.org/draft/2020-12/schema"
NAMES = MappingProxyType({str: "string", int: "integer", float: "number", bool: "boolean"})


def record_schema() -> dict[str, Any]:
    """The schema of a record's file: Record, and its schema_version beside it."""
    definitions: dict[str, Any] = {}
    _reference(Record, definitions)
    record = definitions.pop(Record.__name__)
    record["properties"] = {"schema_version": {"const": SCHEMA_VERSION}, **record["properties"]}
    record["required"] = ["schema_version", *record["required"]]
    return {
        "$schema": DRAFT,
        "title": f"refinenet-deploy benchmark record, version {SCHEMA_VERSION}",
        **record,
        "$defs": dict(sorted(definitions.items())),
    }


def schema_text() -> str:
    """What stands in record.schema.json."""
    return json.dumps(record_schema(), indent=2, ensure_ascii=False) + "\n"


def _schema(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    if is_dataclass(kind):
        return _reference(kind, definitions)
    origin, inner = get_origin(kind), get_args(kind)
    if origin is UnionType:
        (present,) = (option for option in inner if option is not NoneType)
        return {"anyOf": [_schema(present, definitions), {"type": "null"}]}
    if origin is tuple:
        return {"type": "array", "items": _schema(inner[0], definitions)}
    if origin is Mapping:
        return {"type": "object", "additionalProperties": _schema(inner[1], definitions)}
    return {"type": NAMES[kind]}


def _reference(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """Put the dataclass among the definitions, and point to it."""
    if kind.__name__ not in definitions:
        hints = get_type_hints(kind)
        definitions[kind.__name__] = {
            "description": kind.__doc__,
            "type": "object",
            "properties": {name: _schema(hint, definitions) for name, hint in hints.items()},
            "required": [entry.name for entry in fields(kind) if entry.default is MISSING],
            "additionalProperties": False,
        }
    return {"$ref": f"#/$defs/{kind.__name__}"}


if __name__ == "__main__":
    with written_whole(SCHEMA_FILE) as temporary:
        temporary.write_text(schema_text(), encoding="utf-8")
    print(SCHEMA_FILE)
