"""What pip is told: the extras name packages that there are for each machine."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
import setuptools
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
MACHINES = {
    ("linux", "x86_64"): "onnxruntime-gpu",
    ("win32", "AMD64"): "onnxruntime-gpu",
    ("linux", "aarch64"): "onnxruntime",
    ("darwin", "arm64"): "onnxruntime",
    ("darwin", "x86_64"): "onnxruntime",
}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What setup.py hands to setuptools."""
    given: dict[str, Any] = {}
    monkeypatch.setattr(setuptools, "setup", given.update)
    monkeypatch.setattr(setuptools, "find_packages", lambda **_: [])
    runpy.run_path(str(ROOT / "setup.py"))
    return given


def named(requirements: list[str], platform: str, machine: str) -> set[str]:
    environment = {"sys_platform": platform, "platform_machine": machine}
    parsed = map(Requirement, requirements)
    return {r.name for r in parsed if r.marker is None or r.marker.evaluate(environment)}


@pytest.mark.parametrize("extra", ["onnxruntime", "export", "bench", "dev"])
@pytest.mark.parametrize(("machine", "package"), MACHINES.items())
def test_every_machine_gets_the_onnx_runtime_that_it_has(
    told: dict[str, Any], extra: str, machine: tuple[str, str], package: str
) -> None:
    found = named(told["extras_require"][extra], *machine)
    assert found & {"onnxruntime", "onnxruntime-gpu"} == {package}


def test_a_box_without_a_gpu_gets_no_gpu_libraries(told: dict[str, Any]) -> None:
    for machine in MACHINES:
        assert named(told["extras_require"]["onnxruntime-cpu"], *machine) == {"onnxruntime"}


def test_the_wheel_says_that_it_is_typed(told: dict[str, Any]) -> None:
    assert told["package_data"]["runtime"] == ["py.typed"]
