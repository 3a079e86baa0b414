"""The releases of TensorRT as their recorded Python API says they are, without any behaviour.

They show which names the builder touches on each release, and what it asks for; what TensorRT
makes of it is shown by the real TensorRT-RTX.
"""

from __future__ import annotations

import json
from enum import IntEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from runtime.tensorrt_api import TensorRT

NAMES = ("10.3.0", "10.8.0.43", "10.16.1.11", "11.4.0.106", "rtx-1.7.1.116")


def release(shared: Path, name: str) -> TensorRT:
    """A package whose enums are the recorded ones."""
    api = json.loads((shared / f"reference/tensorrt-api/{name}.json").read_text())
    enums = {
        enum: IntEnum(enum, {member: number for number, member in enumerate(members)})
        for enum, members in api["enums"].items()
    }
    package = "rtx" if api["package"] == "tensorrt_rtx" else "tensorrt"
    return TensorRT(package, api["version"], SimpleNamespace(**enums))


class Config:
    """An IBuilderConfig of a release: it has the recorded names alone, and notes what is asked."""

    def __init__(self, shared: Path, name: str) -> None:
        api = json.loads((shared / f"reference/tensorrt-api/{name}.json").read_text())
        super().__setattr__("names", frozenset(api["classes"]["IBuilderConfig"]))
        super().__setattr__("asked", {})

    def __setattr__(self, name: str, value: object) -> None:
        if name not in self.names:
            raise AttributeError(f"IBuilderConfig has no {name}")
        self.asked[name] = value

    def __getattr__(self, name: str) -> Any:
        if name not in self.names:
            raise AttributeError(f"IBuilderConfig has no {name}")

        def call(*arguments: object) -> bool:
            self.asked.setdefault(name, []).append(*arguments[:1])
            return True

        return call
