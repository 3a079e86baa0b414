"""Engine and frames to masks: the light base of refinenet-deploy.

`from runtime import Segmenter` is all that an application needs. Segmenter is looked up on first
use (PEP 562), so that `import runtime` loads neither OpenCV nor anything that runs a network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runtime.segmenter import Segmenter as Segmenter

__all__ = ["Segmenter"]


def __getattr__(name: str) -> object:
    if name != "Segmenter":
        raise AttributeError(f"module 'runtime' has no attribute '{name}'")
    from runtime.segmenter import Segmenter

    return Segmenter
