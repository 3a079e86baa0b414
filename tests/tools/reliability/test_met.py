"""What people's files and networks met; met/ holds the table, the whole laboratory runs all of it.

Here are the rows that need no PyTorch, and one export of each kind.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tools.reliability.confined import HEAVY, Server
from tools.reliability.met import MET
from tools.reliability.met.rows import mask_is, refused, right
from tools.reliability.shelf import frame
from tools.reliability.surroundings import Surrounding, run

ROWS = {f"{group}: {name}": row for group, rows in MET.items() for name, row in rows.items()}
LIGHT_COMMANDS = ("segment", "inspect", "data", "segmnt")
QUICK = [name for name, row in ROWS.items() if row.arguments[0] in LIGHT_COMMANDS]
EXPORTS = (
    "networks of one's own: a logit",
    "networks of one's own: multiples of 8, at another size",
    "checkpoints: an attribute called module",
    "checkpoints: TorchScript",
)


@pytest.fixture(scope="module")
def heavy() -> Iterator[Server]:
    with Server(HEAVY) as server:
        yield server


@pytest.mark.parametrize("name", QUICK)
def test_what_was_met_is_right_or_one_line(
    name: str, shelf: Path, tmp_path: Path, server: Server
) -> None:
    assert run(ROWS[name], shelf, tmp_path / "room", server) is None


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.slow  # PyTorch is imported, and its exporter runs
@pytest.mark.parametrize("name", EXPORTS)
def test_an_export_is_right_or_one_line(
    name: str, shelf: Path, tmp_path: Path, heavy: Server
) -> None:
    assert run(ROWS[name], shelf, tmp_path / "room", heavy) is None


SEGMENT = "segment photo.png --model toy.fp32.onnx --output out.png"
WRONG: dict[str, tuple[Surrounding, str]] = {
    "another mask": (right(SEGMENT, check=mask_is(np.zeros(frame().shape[:2]))), "another mask"),
    "done, where it has to be refused": (refused(SEGMENT), "exit code 0"),
    "a word that is not said": (right(SEGMENT, says="Klein bottle"), "does not say"),
    "a file that is left": (replace(refused(SEGMENT), exit_codes=(0,)), "left out.png"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_seen(name: str, shelf: Path, tmp_path: Path, server: Server) -> None:
    row, seen = WRONG[name]
    assert seen in str(run(row, shelf, tmp_path / "room", server))
