"""TensorRT-RTX's compiled kernels beside the engine: kept whole, and passed over if they do not
fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.cuda.gpu import Device
from runtime.engine.runtime_cache import RuntimeCache

GPU = Device("NVIDIA RTX A4000", "sm_86", "13.0", 16 * 2**30, False)
TITLE = "TensorRT-RTX 1.7.1.116"


class Kernels:
    """IRuntimeCache: bytes."""

    def __init__(self, content: bytes | None = b"compiled", *, takes: bool = True) -> None:
        self.content, self.takes, self.given = content, takes, b""

    def deserialize(self, blob: bytes) -> bool:
        self.given = bytes(blob)
        return self.takes

    def serialize(self) -> bytes | None:
        return self.content


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    path = tmp_path / "street.fp16.rtx.engine"
    path.write_bytes(b"an engine")
    assert RuntimeCache(path, Kernels(), TITLE, GPU).save() is None
    return path


def loaded(engine: Path, kernels: Kernels) -> str | None:
    return RuntimeCache(engine, kernels, TITLE, GPU).load()


def test_what_was_saved_is_loaded(engine: Path) -> None:
    kernels = Kernels()
    assert loaded(engine, kernels) is None
    assert kernels.given == b"compiled"
    assert sorted(path.name for path in engine.parent.iterdir()) == [
        "street.fp16.rtx.engine",
        "street.fp16.rtx.engine.kernels",
    ]


def test_no_file_is_no_news(tmp_path: Path) -> None:
    engine = tmp_path / "new.engine"
    engine.write_bytes(b"an engine")
    kernels = Kernels()
    assert loaded(engine, kernels) is None
    assert kernels.given == b""


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: content[:0],
    "cut": lambda content: content[:-2],
    "cut in the key": lambda content: content[:30],
    "one bit": lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    "a list": lambda content: b"[1]\n" + content,
    "no key": lambda content: b"{}\n" + content,
    "not text": lambda content: b"\xff\xfe" + content,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_passed_over_and_replaced(engine: Path, damage: str) -> None:
    file = engine.with_name(engine.name + ".kernels")
    file.write_bytes(DAMAGE[damage](file.read_bytes()))
    kernels = Kernels()
    cache = RuntimeCache(engine, kernels, TITLE, GPU)
    note = cache.load()
    assert note == (
        "street.fp16.rtx.engine.kernels is damaged: TensorRT-RTX compiles its kernels anew"
    )
    assert kernels.given == b""
    assert cache.save() is None
    assert loaded(engine, Kernels()) is None


def test_another_machine_or_version_or_engine_is_passed_over(engine: Path) -> None:
    assert "of another built_by" in str(
        RuntimeCache(engine, Kernels(), "TensorRT-RTX 1.8.0", GPU).load()
    )
    other = replace(GPU, name="NVIDIA L4", compute_capability="sm_89")
    assert "of another gpu" in str(RuntimeCache(engine, Kernels(), TITLE, other).load())
    driver = replace(GPU, driver_cuda="13.1")
    assert "of another driver_cuda" in str(RuntimeCache(engine, Kernels(), TITLE, driver).load())
    engine.write_bytes(b"another engine")
    assert "of another engine_sha256" in str(loaded(engine, Kernels()))


def test_what_tensorrt_refuses_is_noted(engine: Path) -> None:
    assert "was refused by TensorRT-RTX" in str(loaded(engine, Kernels(takes=False)))


@pytest.mark.parametrize("content", [b"compiled", b"", None])
def test_nothing_new_is_not_written(engine: Path, content: bytes | None) -> None:
    cache = RuntimeCache(engine, Kernels(content), TITLE, GPU)
    cache.load()
    before = cache.path.stat().st_mtime_ns
    assert cache.save() is None
    assert cache.path.stat().st_mtime_ns == before


def test_a_folder_that_cannot_be_written_is_noted(engine: Path) -> None:
    cache = RuntimeCache(engine, Kernels(b"more kernels"), TITLE, GPU)
    cache.path.unlink()
    cache.path.mkdir()  # which even root cannot replace with a file
    assert str(cache.path) in str(cache.save())
    assert "cannot be read" in str(cache.load())
    assert list(cache.path.iterdir()) == []
