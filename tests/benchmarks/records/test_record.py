"""Records survive the way to disk and back, and anything else is refused in one line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.records.record import Record, read_record, write_record
from runtime.errors import InputError

RESULTS = Path(__file__).parents[3] / "benchmarks/results"


def test_a_round_trip_loses_nothing(tmp_path: Path, record: Record) -> None:
    write_record(tmp_path / "record.json", record)
    assert read_record(tmp_path / "record.json") == record


def test_this_version_reads_the_committed_records() -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in RESULTS.glob("*.json")}
    benchmarks = [path for path, text in texts.items() if '"first_frame_ms"' in text]
    assert benchmarks
    for path in benchmarks:
        assert read_record(path).results


def test_the_latencies_of_a_round_stand_on_one_line(tmp_path: Path, record: Record) -> None:
    write_record(tmp_path / "record.json", record)
    text = (tmp_path / "record.json").read_text(encoding="utf-8")
    assert '"latencies_ms": [ 30.0, 40.001 ]' in text


def test_a_record_carries_its_schema_version(tmp_path: Path, record: Record) -> None:
    write_record(tmp_path / "record.json", record)
    assert json.loads((tmp_path / "record.json").read_bytes())["schema_version"] == 2


def _single(record: dict[str, Any]) -> dict[str, Any]:
    measurement: dict[str, Any] = record["results"][0]["measurements"][0]
    return measurement


Spoiler = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda r: r.update(schema_version=1), "schema 1"),
        (lambda r: r.pop("schema_version"), "schema None"),
        (lambda r: r.pop("command"), "the record has no 'command'"),
        (lambda r: r.update(extra=1), "unknown entry 'extra'"),
        (lambda r: r.update(results=[]), "at least one result"),
        (lambda r: r["conditions"].update(batches=["1"]), r"batches\[0\] is '1'; expected int"),
        (lambda r: r["conditions"].update(rounds=True), "conditions.rounds is True; expected int"),
        (lambda r: r["conditions"].update(images="a.jpg"), "conditions.images is 'a.jpg'"),
        (lambda r: r["environment"]["versions"].update(torch=2), "versions.torch is 2"),
        (lambda r: r["results"][0].update(not_run="why"), "with measurements did run"),
        (lambda r: r["results"][2].update(not_run=None), "needs measurements, or the reason"),
        (lambda r: r["results"][0]["accuracies"][0].update(mean_iou=65.4), "from 0 to 1"),
        (lambda r: _single(r).update(rounds=[]), "needs rounds, or the reason"),
        (lambda r: _single(r).update(not_run="why"), "with rounds did run"),
        (lambda r: _single(r).update(scenario="double"), "scenario is 'double'"),
        (lambda r: _single(r).update(stopped_by="boredom"), "stopped_by is 'boredom'"),
        (
            lambda r: _single(r)["rounds"][0].update(latencies_ms=[]),
            r"measurements\[0\].rounds\[0\]: a round needs latencies",
        ),
        (lambda r: _single(r)["rounds"][0].update(workload_ms=[0]), "more than no time"),
        (
            lambda r: r["results"][1]["accuracies"][0]["agreement"].update(equal_pixels=2_000_000),
            "2000000 equal of 1000000 pixels",
        ),
    ],
)
def test_a_malformed_record_is_refused(
    tmp_path: Path, record: Record, spoil: Spoiler, message: str
) -> None:
    path = tmp_path / "record.json"
    write_record(path, record)
    content = json.loads(path.read_bytes())
    spoil(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        read_record(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", ['{"schema_version": 1, ', "[]", '{"a": NaN}', "\x00\x01", "[" * 100_000]
)
def test_what_is_no_json_object_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "record.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match="JSON"):
        read_record(path)


def test_an_infinite_latency_is_refused(tmp_path: Path, record: Record) -> None:
    path = tmp_path / "record.json"
    write_record(path, record)
    text = path.read_text(encoding="utf-8").replace('"load_ms": 12.5', '"load_ms": 1e999')
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="expected a finite number"):
        read_record(path)
