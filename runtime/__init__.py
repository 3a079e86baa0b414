"""Engine and frames to masks: the light base of refinenet-deploy.

`from runtime import Segmenter` is all that an application needs, EngineOptions where an engine is
to run in another way, and the errors that both raise, DeployError before all. The first two are
looked up on first use (PEP 562), so that `import runtime` loads neither OpenCV nor anything that
runs a network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.errors import (
    CardError,
    CheckFailed,
    CheckpointError,
    DeployError,
    DeviceError,
    EngineMismatch,
    InputError,
    MissingPackage,
    SourceLost,
)

if TYPE_CHECKING:
    from runtime.engine.loaded_engine import EngineOptions as EngineOptions
    from runtime.segmenter import Segmenter as Segmenter

__all__ = [
    "CardError",
    "CheckFailed",
    "CheckpointError",
    "DeployError",
    "DeviceError",
    "EngineMismatch",
    "EngineOptions",
    "InputError",
    "MissingPackage",
    "Segmenter",
    "SourceLost",
]


def __getattr__(name: str) -> object:
    if name == "Segmenter":
        from runtime.segmenter import Segmenter

        return Segmenter
    if name == "EngineOptions":
        from runtime.engine.loaded_engine import EngineOptions

        return EngineOptions
    raise AttributeError(f"module 'runtime' has no attribute '{name}'")
