"""The wheel holds what runs, and nothing of tools/ and tests/."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("refinenet", "export", "runtime", "benchmarks")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the files that git knows, so that nothing left over is packed."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    listed = [
        "git",
        "ls-files",
        "-z",
        "--",
        *PACKAGES,
        "setup.py",
        "pyproject.toml",
        "README.md",
        "LICENSE",
    ]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=False)
    if names.returncode:
        pytest.skip("not a git checkout")
    for name in filter(None, names.stdout.split("\0")):
        copy = source / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes((ROOT / name).read_bytes())
    build = "from setuptools import build_meta as b; import sys; b.build_wheel(sys.argv[1])"
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", build, str(folder)],
        cwd=source,
        capture_output=True,
        check=True,
    )
    (built,) = folder.glob("*.whl")
    return built


def test_it_holds_every_file_of_the_packages(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    source = wheel.parent / "source"
    files = {
        str(p.relative_to(source))
        for room in PACKAGES
        for p in (source / room).rglob("*")
        if p.is_file()
    }
    kept_out = {
        name for name in files if name.startswith("benchmarks/results/") or name.endswith(".sh")
    }
    assert packed == files - kept_out
    assert {
        "refinenet/weights/lw-mobilenetv2-camvid.safetensors",
        "runtime/app/segment_command.py",
    } <= packed


def test_it_works_from_another_folder(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    program = (
        f"import sys; sys.path.insert(0, {str(site)!r})\n"
        "import refinenet, runtime.app.doctor_command\n"
        f"assert refinenet.__file__.startswith({str(site)!r})\n"
        "from refinenet.__main__ import main\n"
        "sys.exit(main(['inspect', sys.argv[1]]))"
    )
    weights = site / "refinenet/weights/lw-mobilenetv2-camvid.safetensors"
    done = subprocess.run(
        [sys.executable, "-c", program, str(weights)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "lw-mobilenetv2" in done.stdout
