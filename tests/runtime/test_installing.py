"""The hint to install an extra works for whoever has a clone, a wheel, or the runtime alone."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import runtime
from runtime.errors import MissingPackage
from runtime.installing import install

ROOT = Path(runtime.__file__).resolve().parents[1]


def hint_of(site: Path) -> str:
    """What a copy of runtime/ in this folder says, with nothing else of the project around."""
    (site / "runtime").mkdir(parents=True)
    for name in ("installing.py", "errors.py"):
        shutil.copy(ROOT / "runtime" / name, site / "runtime")
    (site / "runtime/__init__.py").write_text("")
    program = f"import sys; sys.path[:0] = [{str(site)!r}]\n"
    program += "from runtime.installing import install; print(install('rtx'))"
    command = [sys.executable, "-S", "-I", "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def installed_by_pip(site: Path, direct_url: str | None) -> None:
    info = site / "refinenet_deploy-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: refinenet-deploy\nVersion: 0.1.0\n"
    )
    if direct_url is not None:
        (info / "direct_url.json").write_text(f'{{"url": "{direct_url}"}}')


def test_a_clone_names_itself() -> None:
    assert install("rtx") == f"pip install '{ROOT}[rtx]'"
    assert install("rtx", "--upgrade") == f"pip install --upgrade '{ROOT}[rtx]'"
    assert install("rtx") in str(MissingPackage("tensorrt_rtx", "rtx", "TensorRT-RTX"))


@pytest.mark.parametrize("name", ["a b.whl", "refinenet_deploy-0.1.0-py3-none-any.whl"])
def test_a_wheel_is_named_by_its_path(tmp_path: Path, name: str) -> None:
    wheel = tmp_path / name
    wheel.write_bytes(b"")
    installed_by_pip(tmp_path / "site", wheel.as_uri())
    assert hint_of(tmp_path / "site") == f"pip install '{wheel}[rtx]'"


def test_a_wheel_that_is_gone_is_named(tmp_path: Path) -> None:
    installed_by_pip(tmp_path / "site", (tmp_path / "gone.whl").as_uri())
    assert hint_of(tmp_path / "site") == "pip install 'PATH/OF/gone.whl[rtx]'"


def test_what_pip_found_by_its_name_is_found_by_it_again(tmp_path: Path) -> None:
    installed_by_pip(tmp_path / "site", None)
    assert hint_of(tmp_path / "site") == "pip install 'refinenet-deploy[rtx]'"


def test_a_folder_that_was_copied_asks_for_the_path(tmp_path: Path) -> None:
    assert "PATH/OF/refinenet-deploy[rtx]" in hint_of(tmp_path / "site")
