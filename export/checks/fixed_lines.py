"""The lines of a network that tie it to the size of its example, as torch.export sees them."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from io import StringIO
from pathlib import Path
from types import FrameType

import torch
from torch import nn
from torch.export import Dim

from export.frame_model import FrameModel

# It says there what it concludes from a size, at the moment when it does so.
CONCLUSIONS = "torch.fx.experimental.symbolic_shapes"
MOST_LINES = 3
SMALLEST = 33  # a side of a dynamic file's frames, in pixels
TORCH = str(Path(torch.__file__).parent)
OURS = str(Path(__file__).parents[1])


def size_dependent_lines(model: FrameModel, example: tuple[int, int]) -> list[str]:
    """Such as "AdaptiveAvgPool2d in nets.py:80", in the order in which they run; none where
    torch.export says nothing."""
    frames = torch.zeros((2, *example, 3), dtype=torch.uint8)
    free = {0: Dim("N"), 1: Dim("H", min=SMALLEST), 2: Dim("W", min=SMALLEST)}
    with (
        _listening() as heard,
        suppress(Exception),
    ):  # that it fails is known; the question is where
        torch.export.export(model, (frames,), dynamic_shapes=(free,), strict=False)
    return list(dict.fromkeys(heard))[:MOST_LINES]


class _Listener(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if "[guard added]" in record.getMessage() and (place := _place(sys._getframe(1))):
            self.heard.append(place)


@contextmanager
def _listening() -> Iterator[list[str]]:
    logger, listener = logging.getLogger(CONCLUSIONS), _Listener()
    kept = logger.level, logger.propagate, logger.handlers
    logger.handlers, logger.propagate = [listener], False
    logger.setLevel(logging.INFO)
    disabled, root = logging.root.manager.disable, logging.root.manager
    root.disable = logging.NOTSET
    try:
        with redirect_stderr(StringIO()), redirect_stdout(StringIO()):
            yield listener.heard
    finally:
        root.disable = disabled
        logger.level, logger.propagate, logger.handlers = kept


def _place(frame: FrameType | None) -> str | None:
    """The innermost line outside PyTorch, and PyTorch's layer that it calls."""
    layer = ""
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(OURS):
            return None
        if file.startswith(TORCH):
            module = frame.f_locals.get("self")
            if isinstance(module, nn.Module) and not isinstance(module, nn.Sequential):
                layer = layer or type(module).__name__
        elif file != logging.__file__ and Path(file).is_file():
            return f"{f'{layer} in ' if layer else ''}{Path(file).name}:{frame.f_lineno}"
        frame = frame.f_back
    return None
