"""RefineNet for semantic segmentation: the networks, their training and their weights.

from refinenet import create_model, load_model
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from refinenet.checkpoints.load import load_model as load_model
    from refinenet.variants import create_model as create_model

__version__ = "0.1.0"
__all__ = ["create_model", "load_model"]


def __getattr__(name: str) -> Any:
    """Look the public functions up on first use (PEP 562): the command starts without torch."""
    if name == "create_model":
        from refinenet.variants import create_model

        return create_model
    if name == "load_model":
        from refinenet.checkpoints.load import load_model

        return load_model
    raise AttributeError(f"module 'refinenet' has no attribute '{name}'")
