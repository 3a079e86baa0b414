"""Readers against files that were damaged at random; `reliability.py` does it for longer."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tools.reliability.readers import READERS, damaged, fault_of

# The same examples on every machine and every day: a test that fails by chance is no test.
same_examples = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
JSON = [name for name, reader in READERS.items() if str(reader.file).endswith(".json")]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)


@pytest.fixture
def place(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder beside which the files lie that some readers look for."""
    (tmp_path / "bare.onnx").write_bytes((shelf / "bare.onnx").read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def start(name: str, shelf: Path, place: Path) -> tuple[bytes, Path]:
    """The whole file, and where a damaged one goes."""
    file = READERS[name].file
    if file is None:
        return b"", place / "words"
    return (shelf / file).read_bytes(), place / Path(file).name


@pytest.mark.parametrize("name", READERS)
def test_a_whole_file_is_read(name: str, shelf: Path, place: Path) -> None:
    data, path = start(name, shelf, place)
    path.write_bytes(data)
    READERS[name].read(path)


@pytest.mark.parametrize("name", READERS)
@same_examples
@given(seed=st.integers(0, 2**32), noise=st.none() | st.binary(max_size=60))
def test_bytes_break_no_reader(
    name: str, shelf: Path, place: Path, seed: int, noise: bytes | None
) -> None:
    data, path = start(name, shelf, place)
    path.write_bytes(damaged(data, random.Random(seed)) if noise is None else noise)
    assert fault_of(READERS[name], path) is None


@pytest.mark.parametrize("name", JSON)
@same_examples
@given(choice=st.integers(0, 2**16), value=VALUES)
def test_no_value_in_json_breaks_a_reader(
    name: str, shelf: Path, place: Path, choice: int, value: Any
) -> None:
    data, path = start(name, shelf, place)
    content = json.loads(data)
    holders = list(containers(content))
    holder = holders[choice % len(holders)]
    keys = list(holder) if isinstance(holder, dict) else range(len(holder))
    holder[keys[choice // len(holders) % len(keys)]] = value
    path.write_text(json.dumps(content))
    assert fault_of(READERS[name], path) is None


def containers(content: Any) -> list[Any]:
    """Every object and list in it that holds something."""
    if not isinstance(content, dict | list) or not content:
        return []
    inner = content.values() if isinstance(content, dict) else content
    return [content, *(found for entry in inner for found in containers(entry))]


# What was found, by this or by the table, and mended.
FOUND = {
    "a number beyond float": ("card", lambda data: data.replace(b"0.485", b"9" * 400)),
    "a parent that is no text": (
        "card",
        lambda data: data.replace(b'"parents": {}', b'"parents": {"a": []}'),
    ),
    "a limit beyond float": ("ranges", lambda data: data.replace(b"1.5", b"9" * 400)),
    "ranges 100,000 levels deep": ("ranges", lambda _: b"[" * 10**5),
    "a method that is a list": ("ranges", lambda data: data.replace(b'"max"', b"[]")),
    "aliases in YAML": ("description in YAML", lambda _: b"a: &a [x]\nb: [*a, *a]\n"),
    "a null byte in a name": ("list of names", lambda _: b"a\0b\n"),
    "a shape that contradicts its place": (
        "safetensors header",
        lambda data: data.replace(b'"shape":[2]', b'"shape":[9]'),
    ),
    "an unknown dtype": ("safetensors header", lambda data: data.replace(b"F32", b"F31")),
    "an opcode of pickle alone": ("checkpoint", lambda _: b"a"),
    "a JPEG that is cut short": ("image", lambda data: data[:2000]),
}


@pytest.mark.parametrize("found", FOUND)
def test_what_was_found_stays_mended(found: str, shelf: Path, place: Path) -> None:
    name, change = FOUND[found]
    data, path = start(name, shelf, place)
    assert change(data) != data
    path.write_bytes(change(data))
    assert fault_of(READERS[name], path) is None


def test_a_reader_that_breaks_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"")
    broken = type(READERS["text"])(lambda path: path.read_bytes()[0], None)
    assert fault_of(broken, path) == "IndexError: index out of range"
