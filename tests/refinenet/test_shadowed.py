"""A folder of the user's that has the name of one of our packages is named as the cause."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from refinenet.shadowed import shadow

ROOT = Path(__file__).resolve().parents[2]
# An editable install has a finder of its own, which finds our modules inside the user's package.
WITHOUT_FINDER = """
import sys
sys.meta_path = [f for f in sys.meta_path if not getattr(f, "__module__", "").startswith("__edit")]
"""
REFINENET = "import runpy; runpy.run_module('refinenet', run_name='__main__')"


def started_in(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """python -m refinenet there, as with a wheel; Python looks in that folder before others."""
    return subprocess.run(
        [sys.executable, "-c", f"{WITHOUT_FINDER}{REFINENET}", *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("shape", ["folder", "file"])
def test_a_runtime_of_the_users_is_named(tmp_path: Path, shape: str) -> None:
    own = tmp_path / ("runtime/__init__.py" if shape == "folder" else "runtime.py")
    own.parent.mkdir(exist_ok=True)
    own.write_text("SPEED = 3\n")
    done = started_in(tmp_path, "doctor")
    assert done.returncode == 2
    assert str(own) in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_export_of_the_users_is_named(tmp_path: Path) -> None:
    (tmp_path / "export").mkdir()
    (tmp_path / "export/__init__.py").write_text("")
    done = started_in(tmp_path, "build", "a.onnx")
    assert done.returncode == 2
    assert str(tmp_path / "export/__init__.py") in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_folder_that_is_no_package_shadows_nothing(tmp_path: Path) -> None:
    (tmp_path / "runtime").mkdir()
    (tmp_path / "runtime/notes.txt").write_text("mine")
    assert started_in(tmp_path, "--version").returncode == 0
    assert shadow() is None
