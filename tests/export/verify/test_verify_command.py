"""`refinenet verify` as it is typed: what it prints, what it writes, how it ends."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from graphs import edit
from planted_faults import break_fp32, one_bad_scale, swapped_channels

from refinenet.__main__ import main
from runtime.files import sha256_of

WEIGHTS = "lw-mobilenetv2-camvid"
Printed = pytest.CaptureFixture[str]


def asked(folder: Path, photo: Path, *more: str) -> list[str]:
    return ["verify", str(folder), "--weights", WEIGHTS, "--images", str(photo), "--quiet", *more]


def test_layers_names_the_first_layer_that_drifts(
    folder: Path, photo: Path, capsys: Printed
) -> None:
    edit(folder / "street.int8.onnx", one_bad_scale)
    record = folder / "record.json"
    assert main(asked(folder, photo, "--layers", "--json", str(record))) == 1
    printed = capsys.readouterr()
    assert "the first layer that drifts is blocks.3.fuse.convs.1" in printed.out.splitlines()
    assert re.search(r"CheckFailed: .* int8\b.* blocks\.3\.fuse\.convs\.1\b", printed.err)
    written = json.loads(record.read_text(encoding="utf-8"))
    assert {stage["name"]: stage["sha256"] for stage in written["stages"]} == {
        name: sha256_of(folder / f"street.{name}.onnx") for name in ("fp32", "fp16", "int8")
    }
    layers = written["layers"]
    assert (layers["stage"], layers["against"]) == ("int8", "fp32")
    assert layers["first"] == "blocks.3.fuse.convs.1"
    assert len(layers["layers"]) > 150


def test_layers_of_a_sound_export_blames_none(folder: Path, photo: Path, capsys: Printed) -> None:
    assert main(asked(folder, photo, "--layers")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("every gate holds; int8 loses the most, ") for line in lines)
    assert "layers of int8 against fp32, those that differ most:" in lines
    assert lines[-1] == "no layer adds more than rounding (0.25): the loss is spread over many"


def test_swapped_channels_are_said_in_words(folder: Path, photo: Path, capsys: Printed) -> None:
    break_fp32(folder, swapped_channels)
    assert main(asked(folder, photo)) == 1
    (row,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("fp32 "))
    assert {"red", "blue"} <= set(row.split())


def test_with_labels_the_change_of_every_class_is_shown(
    folder: Path, camvid: Path, capsys: Printed
) -> None:
    data = ["--data", str(camvid), "--limit", "1", "--quiet"]
    assert main(["verify", str(folder), "--weights", WEIGHTS, *data]) in (0, 1)
    lines = capsys.readouterr().out.splitlines()
    (heading,) = (line for line in lines if line.startswith("IoU, change in points"))
    assert heading.split()[-3:] == ["fp32", "fp16", "int8"]
    (road,) = (line for line in lines if line.startswith("road "))
    assert all(abs(float(change)) < 20 for change in road.split()[1:])


@pytest.mark.parametrize(
    ("place", "message"),
    [("file/record.json", "/file"), ("", "{tmp}")],
)
def test_a_record_that_cannot_be_written_is_told_before_the_work(
    place: str, message: str, folder: Path, photo: Path, tmp_path: Path, capsys: Printed
) -> None:
    (tmp_path / "file").write_text("not a folder")
    assert main(asked(folder, photo, "--json", str(tmp_path / place))) == 2
    printed = capsys.readouterr()
    assert message.format(tmp=tmp_path) in printed.err
    assert printed.out == ""  # no stage was compared


def test_weights_or_a_factory_are_needed(folder: Path, photo: Path, capsys: Printed) -> None:
    assert main(["verify", str(folder), "--images", str(photo)]) == 2
    assert "--factory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--data", "camvid"), "--images and --data are two sets of images; give one of them"),
        (("--split", "train"), "--split is of --data DIR; give that too"),
        (("--dataset", "voc"), "--dataset is of --data DIR; give that too"),
    ],
)
def test_options_that_nothing_would_use_are_refused(
    more: tuple[str, ...], message: str, folder: Path, photo: Path, capsys: Printed
) -> None:
    assert main(asked(folder, photo, *more)) == 2
    printed = capsys.readouterr()
    assert printed.err == f"refinenet verify: InputError: {message}\n"
    assert printed.out == ""
