"""A network compiled for training: --compile."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from runtime.errors import InputError


def compiled(network: nn.Module) -> nn.Module:
    """The network as torch.compile makes it, for images of one size; made at the first call."""
    fixed: Any = torch.compile(network, dynamic=False)
    module: nn.Module = fixed
    return module


@contextmanager
def compiler_errors() -> Iterator[None]:
    """Turn what torch.compile raises at the first call of a network into InputError."""
    try:
        yield
    except RuntimeError as error:
        # Without --compile nobody has imported it, and importing it takes seconds.
        module = sys.modules.get("torch._dynamo.exc")
        if module is None or not isinstance(error, module.TorchDynamoException):
            raise
        reason = " ".join(str(error).split("\n\n")[0].split())
        raise InputError(
            f"PyTorch cannot compile this network here ({reason}); train without --compile"
        ) from error
