"""Sound and pixels that are not square are found in real files, and said."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from refinenet.__main__ import main
from runtime.app.lost_in_video import has_sound, lost_notes

LONG = bytes(300)


def test_sound_is_named(shared: Path) -> None:
    (note,) = lost_notes(str(shared / "field/audio.mp4"))
    assert "sound" in note


def test_pixels_that_are_not_square_are_named_with_the_size_to_show(shared: Path) -> None:
    (note,) = lost_notes(str(shared / "field/sar.mp4"))
    assert "2:1" in note
    assert "480x180" in note  # 240x180 pixels, each twice as wide as high


def test_a_silent_video_of_square_pixels_loses_nothing(samples: Path) -> None:
    assert lost_notes(str(samples / "camvid_val_0016E5_15fps.mp4")) == []


@pytest.mark.parametrize("address", ["0", "rtsp://10.0.0.7/live", "videotestsrc ! appsink"])
def test_cameras_and_streams_are_not_opened_again(address: str) -> None:
    assert lost_notes(address) == []


@pytest.mark.parametrize("name", ["audio", "sar"])
def test_segment_says_it_beside_a_video_and_not_beside_a_folder(
    model: Path, shared: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = shared / f"field/{name}.mp4"
    options = ["--model", str(model), "--frames", "2", "--output"]
    assert main(["segment", str(source), *options, str(tmp_path / "o.mp4")]) == 0
    assert str(source) in capsys.readouterr().err
    assert main(["segment", str(source), *options, str(tmp_path / "masks")]) == 0
    assert capsys.readouterr().err == ""


def avi(kinds: list[bytes]) -> bytes:
    headers = b"".join(b"strh" + struct.pack("<I", 8) + kind + b"XXXX" for kind in kinds)
    return b"RIFF" + LONG[:4] + b"AVI LIST" + LONG[:4] + b"hdrl" + headers + b"movi auds"


def matroska(kinds: bytes) -> bytes:
    tracks = b"".join(b"\xae\x83" + b"\x83\x81" + bytes([kind]) for kind in kinds)
    begin = b"\x1aE\xdf\xa3\x80\x18S\x80g\x01" + b"\xff" * 7
    return begin + b"\x16T\xaek" + bytes([0x80 | len(tracks)]) + tracks + b"\x83\x81\x02"


def transport(streams: list[int]) -> bytes:
    packets = (b"G" + b"\x40\x11\x10\0\0\1" + bytes([kind]) for kind in streams)
    return b"".join(packet.ljust(188, b"\xff") for packet in packets)


@pytest.mark.parametrize(
    ("content", "sounds"),
    [
        (avi([b"vids", b"auds"]), True),
        (avi([b"vids"]), False),
        (matroska(b"\1\2"), True),
        (matroska(b"\1\x11"), False),
        (transport([0xE0, 0xC0]), True),
        (transport([0xE0, 0xE0]), False),
        (b"\0\0\1\xba" + LONG + b"\0\0\1\xbd", True),
        (b"\0\0\1\xba" + LONG + b"\0\0\1\xe0", False),
        (b"FLV\1\5" + LONG, True),
        (b"FLV\1\1" + LONG, False),
        (b"OggS" + LONG + b"\1vorbis", True),
        (b"OggS" + LONG + b"\x80theora", False),
        (b"", False),
        (b"\0\0\0\x08ftyp", False),
        (b"\0\0\0\0ftyp" + LONG, False),
    ],
)
def test_every_container_says_whether_it_holds_sound(
    tmp_path: Path, content: bytes, sounds: bool
) -> None:
    (tmp_path / "a").write_bytes(content)
    assert has_sound(tmp_path / "a") is sounds
