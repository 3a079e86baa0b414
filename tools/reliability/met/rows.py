"""The form of a row: a command that is right, or one that is refused and leaves nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from PIL import Image

from tools.reliability.shelf import frame
from tools.reliability.surroundings import Faults, Prepare, Surrounding

Check = Callable[[Path], Faults]
# What the shelf's photo.png shows, by the order in which a network takes the channels.
BGR_IDS = frame().argmax(2).astype(np.uint8)
RGB_IDS = frame()[:, :, ::-1].argmax(2).astype(np.uint8)


def right(
    command: str, prepare: Prepare = lambda _: None, check: Check = lambda _: None, says: str = ""
) -> Surrounding:
    return Surrounding(tuple(command.split()), prepare=prepare, check=check, says=says)


def refused(command: str, prepare: Prepare = lambda _: None, says: str = "") -> Surrounding:
    """Exit code 2, one line, and no file that is called out or lies in out."""
    return Surrounding(
        tuple(command.split()), exit_codes=(2,), prepare=prepare, check=_nothing, says=says
    )


def failed(command: str, prepare: Prepare = lambda _: None, says: str = "") -> Surrounding:
    """Exit code 1: a check that was asked for found something."""
    return Surrounding(tuple(command.split()), exit_codes=(1,), prepare=prepare, says=says)


def _nothing(room: Path) -> Faults:
    files = [path for start in room.glob("out*") for path in (start, *start.rglob("*"))]
    left = sorted(str(path.relative_to(room)) for path in files if not path.is_dir())
    return f"refused it and left {', '.join(left)}" if left else None


def written(**files: Any) -> Prepare:
    """Files by their names, `__` for a dot: text as it is, anything else as JSON."""

    def write(room: Path) -> None:
        for name, content in files.items():
            path = room / name.replace("__", ".")
            path.unlink(missing_ok=True)
            path.write_text(content if isinstance(content, str) else json.dumps(content))

    return write


def mask_is(expected: NDArray[np.generic], name: str = "out.png") -> Check:
    def check(room: Path) -> Faults:
        with Image.open(room / name) as image:
            return _difference(np.asarray(image), expected)

    return check


def model_gives(expected: NDArray[np.generic], name: str) -> Check:
    """Whether an exported file gives this mask for the shelf's photo."""

    def check(room: Path) -> Faults:
        session = ort.InferenceSession(str(room / name), providers=["CPUExecutionProvider"])
        found = session.run(None, {session.get_inputs()[0].name: frame()[None]})[0]
        return _difference(np.asarray(found)[0], expected)

    return check


def _difference(found: NDArray[np.generic], expected: NDArray[np.generic]) -> Faults:
    if found.shape != expected.shape:
        return f"a mask of {found.shape}, not {expected.shape}"
    other = int((found != expected).sum())
    return f"another mask: {other} of {expected.size} pixels" if other else None


def files_are(folder: str, *expected: str) -> Check:
    def check(room: Path) -> Faults:
        root = room / folder
        found = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
        return None if found == sorted(expected) else f"{folder} holds {found}"

    return check
