"""The name of shipped weights serves where a model is asked for, or is answered with a command."""

from __future__ import annotations

from pathlib import Path

import pytest

from refinenet.__main__ import main
from refinenet.checkpoints.load import weights_path
from runtime.errors import InputError
from runtime.shipped import file_or_shipped, graph_file, shipped_weights

NAME = "lw-mobilenetv2-camvid"


def test_the_file_is_the_one_that_loading_takes() -> None:
    assert shipped_weights(NAME) == weights_path(NAME)
    assert file_or_shipped(NAME) == weights_path(NAME)


@pytest.mark.parametrize("name", ["unknown", f"../weights/{NAME}", f"{NAME}.safetensors", ""])
def test_no_other_name_is_one(name: str) -> None:
    assert shipped_weights(name) is None


def test_a_file_of_that_name_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(NAME).write_bytes(b"mine")
    assert shipped_weights(NAME) is None
    assert file_or_shipped(NAME) == Path(NAME)


@pytest.mark.parametrize("name", [NAME, "mine.safetensors", "mine.pth"])
def test_weights_are_no_graph_and_the_command_is_said(name: str) -> None:
    with pytest.raises(InputError, match=f"refinenet export {name}"):
        graph_file(name)


def test_inspect_takes_the_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", NAME]) == 0
    assert "lw-mobilenetv2, fp32" in capsys.readouterr().out


def test_segment_and_build_say_how_to_make_a_file_of_them(
    tmp_path: Path, shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo, output = shared / "field/redblue.png", tmp_path / "mask.png"
    for command in (
        ["segment", str(photo), "--model", NAME, "--output", str(output)],
        ["build", NAME],
    ):
        assert main(command) == 2
        assert f"refinenet export {NAME}" in capsys.readouterr().err


def test_benchmark_measures_pytorch_with_them(
    shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = str(shared / "field/redblue.png")
    quick = ["--size", "96x128", "--rounds", "2", "--seconds", "0.05", "--limit-seconds", "0.2"]
    assert main(["benchmark", NAME, "--images", photo, "--quiet", *quick]) == 0
    assert "PyTorch" in capsys.readouterr().out
    assert main(["benchmark", NAME, "--images", photo, *quick, "--weights", "other.pth"]) == 2
    assert "other.pth" in capsys.readouterr().err
