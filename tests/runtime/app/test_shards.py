"""A folder in shards: every image once, the same masks as one run, resumed after a kill."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_models import CARD, write_model

from runtime.__main__ import main
from runtime.app.shards import NOTE, Shard, shard
from runtime.frames import list_images

ROOT = Path(__file__).resolve().parents[3]


def segment(*arguments: object) -> int:
    return main([*map(str, arguments), "--quiet"])


def masks(folder: Path) -> dict[str, bytes]:
    """Every finished one; one that is being written has a dot before its name."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("[!.]*.png")}


@pytest.fixture
def photos(shared: Path, tmp_path: Path) -> Path:
    """24 CamVid frames in two folders of one name each."""
    folder = tmp_path / "photos"
    for index, image in enumerate(list_images(shared / "data/camvid/images/val")[:24]):
        target = folder / f"day{index % 2}" / f"{index // 2:03}{image.suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(image, target)
    return folder


@pytest.fixture
def whole(model: Path, photos: Path, tmp_path: Path) -> dict[str, bytes]:
    """The masks of one run."""
    assert segment(photos, "--model", model, "--output", tmp_path / "whole") == 0
    return masks(tmp_path / "whole")


@pytest.mark.parametrize("count", [1, 3, 7])
def test_shards_together_are_one_run(
    count: int, model: Path, photos: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    found: dict[str, bytes] = {}
    for index in range(count):
        output = tmp_path / f"shard{index}"
        options = ("--model", model, "--output", output, "--shard", f"{index}/{count}")
        assert segment(photos, *options) == 0
        part = masks(output)
        assert not part.keys() & found.keys()
        found |= part
    assert found == whole
    assert len(whole) == 24


def test_an_image_keeps_its_shard_when_others_are_added() -> None:
    part = Shard(1, 4)
    names = [f"day/{index:04}.png" for index in range(400)]
    held = [name for name in names if part.holds(name)]
    assert 60 < len(held) < 140
    assert held == [name for name in ["aaa.png", *names] if part.holds(name) and name != "aaa.png"]
    for name in names:
        assert sum(Shard(index, 4).holds(name) for index in range(4)) == 1


@pytest.mark.parametrize("form", ["{:02}.png", "day1/f{}.png", "frame_{:06}.jpg", "IMG_{:04}.JPG"])
@pytest.mark.parametrize("count", [2, 4, 8])
def test_numbered_images_go_to_every_shard(form: str, count: int) -> None:
    names = [form.format(index) for index in range(100)]
    held = [sum(map(Shard(index, count).holds, names)) for index in range(count)]
    assert sum(held) == 100
    assert 25 / count < min(held) <= max(held) < 200 / count


@pytest.mark.parametrize("text", ["", "1", "4/4", "-1/4", "0/0", "1/4/2", "a/b", "1.0/4", "0/"])
def test_what_is_no_shard_is_refused(text: str, model: Path, photos: Path, tmp_path: Path) -> None:
    options = ("--model", model, "--output", tmp_path / "out", f"--shard={text}")
    assert segment(photos, *options) == 2
    assert not (tmp_path / "out").exists()


def test_a_shard_is_read() -> None:
    assert shard("3/16") == Shard(3, 16)


def test_a_killed_run_goes_on_to_the_same_masks(
    model: Path, photos: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    output = tmp_path / "out"
    command = [
        *(sys.executable, "-m", "runtime", photos, "--model", model, "--output", output),
        *("--skip-existing", "--quiet"),
    ]
    process = subprocess.Popen(command, cwd=ROOT)
    deadline = time.monotonic() + 60
    while len(masks(output)) < 3 and time.monotonic() < deadline:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = {name: (output / name).stat().st_ino for name in masks(output)}
    assert 3 <= len(done) < len(whole)
    assert all(masks(output)[name] == whole[name] for name in done)
    subprocess.run(command, cwd=ROOT, check=True)
    assert masks(output) == whole
    # What was done stayed as it was, and nothing half-written is left.
    assert all((output / name).stat().st_ino == inode for name, inode in done.items())
    assert {p.name for p in output.rglob(".*")} == {NOTE}


def test_a_finished_run_has_nothing_left_to_do(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--model", model, "--output", tmp_path / "out", "--skip-existing")
    assert segment(photos, *options) == 0
    capsys.readouterr()
    assert segment(photos, *options) == 0
    captured = capsys.readouterr()
    assert captured.out.endswith("nothing left to do; 24 files were there\n")
    assert captured.err == ""


def test_another_model_or_look_is_not_mixed_in(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = ("--output", tmp_path / "out")
    assert segment(photos, "--model", model, *output, "--skip-existing") == 0
    before = masks(tmp_path / "out")
    other = write_model(tmp_path / "other.onnx", convolved=True)
    assert segment(photos, "--model", other, *output, "--skip-existing") == 2
    assert segment(photos, "--model", model, *output, "--skip-existing", "--overlay") == 2
    card = tmp_path / "card.json"
    card.write_text(CARD.to_json())
    assert segment(photos, "--model", model, *output, "--skip-existing", "--card", card) == 2
    assert segment(photos, "--model", other, *output) == 2  # the folder's note would become untrue
    assert NOTE in capsys.readouterr().err
    assert masks(tmp_path / "out") == before


def test_a_run_that_wrote_nothing_binds_nobody(model: Path, photos: Path, tmp_path: Path) -> None:
    output = ("--output", tmp_path / "out", "--skip-existing")
    scores = write_model(tmp_path / "scores.onnx", output_kind="logits")
    assert segment(photos, "--model", scores, *output) == 2
    assert segment(photos, "--model", model, *output) == 0
    assert len(masks(tmp_path / "out")) == 24


def test_files_of_an_unknown_model_are_not_mixed_with_others(
    model: Path, photos: Path, tmp_path: Path
) -> None:
    output = ("--output", tmp_path / "out")
    assert segment(photos, "--model", model, *output) == 0
    (tmp_path / "out/day0/000.png").unlink()
    assert segment(photos, "--model", model, *output, "--skip-existing") == 2
    assert len(masks(tmp_path / "out")) == 23
    assert not (tmp_path / "out" / NOTE).exists()


def test_a_part_whose_images_are_all_broken_is_done(
    model: Path, photos: Path, tmp_path: Path
) -> None:
    (photos / "cut.jpg").write_bytes(next(photos.rglob("*.jpg")).read_bytes()[:60])
    output = ("--output", tmp_path / "out", "--skip-existing", "--skip-broken")
    for _ in range(2):
        assert segment(photos, "--model", model, *output) == 0
    assert len(masks(tmp_path / "out")) == 24


@pytest.mark.parametrize("option", [("--shard", "0/2"), ("--skip-existing",)])
def test_they_are_for_folders(option: tuple[str, ...], model: Path, tmp_path: Path) -> None:
    image = tmp_path / "photo.png"
    assert cv2.imwrite(str(image), np.zeros((4, 4, 3), np.uint8))
    output = ("--output", tmp_path / "mask.png")
    assert segment(image, "--model", model, *output, *option) == 2
    assert segment(tmp_path / "drive.mp4", "--model", model, *output, *option) == 2
    assert not (tmp_path / "mask.png").exists()


def test_two_images_of_one_mask_are_refused_whatever_the_shards(
    model: Path, photos: Path, tmp_path: Path
) -> None:
    twin = list_images(photos)[0].with_suffix(".bmp")
    assert cv2.imwrite(str(twin), np.zeros((4, 4, 3), np.uint8))
    for index in range(2):
        options = ("--model", model, "--output", tmp_path / "out", "--shard", f"{index}/2")
        assert segment(photos, *options) == 2
