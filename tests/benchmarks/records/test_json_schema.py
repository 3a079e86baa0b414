"""record.schema.json says what the dataclasses say."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from typing import Any

from benchmarks.records.json_schema import SCHEMA_FILE, schema_text
from benchmarks.records.measurements import Round
from benchmarks.records.record import Record, write_record

SCHEMA = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))


def test_the_committed_schema_is_that_of_the_dataclasses() -> None:
    assert SCHEMA_FILE.read_text(encoding="utf-8") == schema_text(), (
        "write it anew: python -m benchmarks.records.json_schema"
    )


def test_every_field_of_a_round_is_described() -> None:
    described = SCHEMA["$defs"]["Round"]
    assert list(described["properties"]) == [entry.name for entry in fields(Round)]
    assert described["required"] == ["latencies_ms", "wall_ms", "stopped_by"]


def problems(value: Any, schema: dict[str, Any], place: str) -> list[str]:
    """What contradicts the schema: the keywords that record.schema.json uses, and no others."""
    if "$ref" in schema:
        return problems(value, SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]], place)
    if "const" in schema:
        return [] if value == schema["const"] else [f"{place} is {value!r}"]
    if "anyOf" in schema:
        found = [problems(value, option, place) for option in schema["anyOf"]]
        return [] if [] in found else found[0]
    types = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}
    types |= {"number": (int, float), "null": type(None)}  # type: ignore[dict-item]
    if not isinstance(value, types[schema["type"]]):
        return [f"{place} is {value!r}"]
    if schema["type"] == "array":
        parts = enumerate(value)
        return [line for i, v in parts for line in problems(v, schema["items"], f"{place}[{i}]")]
    if schema["type"] != "object":
        return []
    if "properties" not in schema:
        inner = schema["additionalProperties"]
        return [line for k, v in value.items() for line in problems(v, inner, f"{place}.{k}")]
    unknown = [f"{place}.{key} is unknown" for key in value.keys() - schema["properties"].keys()]
    missing = [f"{place}.{key} is missing" for key in schema["required"] if key not in value]
    known = [(k, v) for k, v in value.items() if k in schema["properties"]]
    return [
        *unknown,
        *missing,
        *(x for k, v in known for x in problems(v, schema["properties"][k], f"{place}.{k}")),
    ]


def test_a_record_as_it_is_written_fits_the_schema(tmp_path: Any, record: Record) -> None:
    write_record(tmp_path / "record.json", record)
    content = json.loads((tmp_path / "record.json").read_bytes())
    assert problems(content, SCHEMA, "record") == []


def test_what_the_schema_does_not_know_does_not_fit(record: Record) -> None:
    content = json.loads(json.dumps({"schema_version": 2, **asdict(record)}))
    content["results"][0]["measurements"][0]["rounds"][0]["wall_ms"] = "40"
    content["results"][1]["speed"] = 9000
    del content["conditions"]["rounds"]
    assert set(problems(content, SCHEMA, "record")) == {
        "record.results[0].measurements[0].rounds[0].wall_ms is '40'",
        "record.results[1].speed is unknown",
        "record.conditions.rounds is missing",
    }
