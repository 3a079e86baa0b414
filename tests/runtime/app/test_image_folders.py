"""Folders as people have them: files of a Mac, cut images, links, photos of a telephone."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from tiny_models import brightest_channel

from refinenet.__main__ import main
from runtime.frames import read_frame


def run(*arguments: object) -> int:
    return main(["segment", *(str(argument) for argument in arguments)])


def mask_of(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.fixture
def photos(tmp_path: Path, shared: Path) -> Path:
    """A folder of three images, one below another folder."""
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    for name in ("a.png", "b.png", "deep/c.png"):
        shutil.copy(shared / "field/redblue.png", folder / name)
    return folder


def test_the_hidden_files_of_a_mac_are_passed_over(
    model: Path, shared: Path, tmp_path: Path
) -> None:
    output = tmp_path / "masks"
    assert run(shared / "field/mac", "--model", model, "--output", output) == 0
    assert [path.name for path in output.iterdir()] == ["a.png"]
    expected = brightest_channel(read_frame(shared / "field/mac/a.png"))
    np.testing.assert_array_equal(mask_of(output / "a.png"), expected)


def test_a_broken_image_stops_the_run_unless_it_may_be_skipped(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = photos / "b.png"
    broken.write_bytes(broken.read_bytes()[:100])
    assert run(photos, "--model", model, "--output", tmp_path / "masks") == 2
    assert str(broken) in capsys.readouterr().err
    skipping = ("--skip-broken", "--quiet")
    assert run(photos, "--model", model, "--output", tmp_path / "masks", *skipping) == 0
    printed = capsys.readouterr()
    assert "2 frames" in printed.out
    assert "1 broken images skipped" in printed.out
    assert str(broken) in printed.err
    assert sorted(p.name for p in (tmp_path / "masks").rglob("*.png")) == ["a.png", "c.png"]


def test_a_folder_of_broken_images_alone_is_an_error(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in photos.rglob("*.png"):
        path.write_bytes(b"no image")
    options = ("--model", model, "--output", tmp_path / "masks", "--skip-broken")
    assert run(photos, *options) == 2
    assert "all 3 images are broken" in capsys.readouterr().err


def test_links_to_folders_are_followed(model: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/photos").symlink_to(photos)
    assert run(tmp_path / "linked", "--model", model, "--output", tmp_path / "masks") == 0
    assert len(list((tmp_path / "masks/photos").rglob("*.png"))) == 3


def test_a_link_that_goes_round_in_a_circle_is_named(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "deep/again").symlink_to(photos)
    assert run(photos, "--model", model, "--output", tmp_path / "masks") == 2
    assert str(photos / "deep/again") in capsys.readouterr().err
    assert not (tmp_path / "masks").exists()


@pytest.mark.parametrize(
    ("name", "kind"),
    [("IMG.HEIC", "HEIC"), ("a.avif", "AVIF"), ("a.jp2", "JPEG 2000"), ("a.jxl", "JPEG XL")],
)
def test_images_that_are_not_read_are_named_alone_and_counted_in_a_folder(
    model: Path,
    photos: Path,
    tmp_path: Path,
    name: str,
    kind: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (photos / name).write_bytes(b"whatever")
    assert run(photos / name, "--model", model, "--output", tmp_path / "a.png") == 2
    said = capsys.readouterr().err
    assert kind in said
    assert "video" not in said
    assert run(photos, "--model", model, "--output", tmp_path / "masks") == 0
    assert f"1 {kind}" in capsys.readouterr().err


def test_exif_is_named_and_can_be_ignored(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(photos / "a.png") as image:
        lying = np.asarray(image.convert("RGB"))
        image.save(photos / "a.png", exif=exif)
    options = ("--model", model, "--output", tmp_path / "a.png")
    assert run(photos / "a.png", *options) == 0
    said = capsys.readouterr().err
    assert "EXIF" in said
    assert "--ignore-exif" in said
    expected = brightest_channel(lying[..., ::-1])
    np.testing.assert_array_equal(mask_of(tmp_path / "a.png"), np.rot90(expected, -1))
    assert run(photos / "a.png", *options, "--ignore-exif") == 0
    assert capsys.readouterr().err == ""
    np.testing.assert_array_equal(mask_of(tmp_path / "a.png"), expected)


def test_twelve_bits_in_sixteen_are_noted(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = np.linspace(0, 4095, 64).reshape(8, 8).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), values)
    assert run(tmp_path / "a.png", "--model", model, "--output", tmp_path / "mask.png") == 0
    assert "12 bits" in capsys.readouterr().err
    cv2.imwrite(str(tmp_path / "a.png"), values * 16)
    assert run(tmp_path / "a.png", "--model", model, "--output", tmp_path / "mask.png") == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("output", ["-", "rtsp://10.0.0.7/live", "o.mp4", "masks.v2", ""])
def test_an_output_that_no_folder_of_images_can_go_to_is_refused(
    model: Path,
    photos: Path,
    tmp_path: Path,
    output: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    assert run(photos, "--model", model, "--output", output) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("output", ["-", "rtsp://10.0.0.7/live", "udp://host:1/a.mp4", "o.webm"])
def test_an_output_that_no_video_can_go_to_is_refused(
    model: Path,
    shared: Path,
    tmp_path: Path,
    output: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    assert run(shared / "field/sar.mp4", "--model", model, "--output", output) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert sorted(tmp_path.iterdir()) == before


def test_a_folder_whose_name_has_an_ending_serves_once_it_is_there(
    model: Path, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "masks.v2").mkdir()
    assert run(photos, "--model", model, "--output", tmp_path / "masks.v2") == 0


@pytest.mark.parametrize("option", ["--skip-broken", "--ignore-exif"])
def test_options_for_images_are_refused_for_a_video(
    model: Path, shared: Path, tmp_path: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source, output = shared / "field/sar.mp4", tmp_path / "o.mp4"
    assert run(source, "--model", model, "--output", output, option) == 2
    assert option in capsys.readouterr().err
