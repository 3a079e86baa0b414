"""What a video has that its segmented copy has not, because OpenCV writes neither of them: sound,
and pixels that are not square."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import BinaryIO

import cv2

from runtime.frames import decoder_complaints

HEAD_BYTES = 2**20  # containers other than MP4 say what they hold within it
MOST_BOX_BYTES = 2**26  # of an MP4's description of its tracks: hours of video
BOX_HEADER = struct.Struct(">I4s")

MATROSKA, MATROSKA_TRACKS, MATROSKA_SOUND = b"\x1aE\xdf\xa3", b"\x16T\xaek", b"\x83\x81\x02"
ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
ASF_SOUND = bytes.fromhex("409e69f84d5bcf11a8fd00805f5c442b")
# Packets of MPEG sound or private streams, such as AC-3; no start code of a video has these.
MPEG_SOUND = re.compile(rb"\x00\x00\x01[\xbd\xc0-\xdf]")


def lost_notes(address: str) -> list[str]:
    """A line for each thing that a video file has and its copy will not have; none for a camera or
    a stream."""
    path = Path(address)
    if address.isdecimal() or not path.is_file():
        return []
    notes = []
    with decoder_complaints():  # the AVI reader prints what it did not expect
        capture = cv2.VideoCapture(address)
    across, down = (int(capture.get(p)) for p in (cv2.CAP_PROP_SAR_NUM, cv2.CAP_PROP_SAR_DEN))
    if across > 0 and down > 0 and across != down:
        width = round(capture.get(cv2.CAP_PROP_FRAME_WIDTH) * across / down)
        height = round(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        notes.append(
            f"{path} has pixels that are not square ({across}:{down}); the video that is written "
            f"has square ones. To show it as the source, scale it to {width}x{height}"
        )
    capture.release()
    if has_sound(path):
        notes.append(f"{path} has sound; the video that is written has none")
    return notes


def has_sound(path: Path) -> bool:
    """Whether a video file has a sound track, as far as its container says so: MP4 and MOV,
    Matroska and WebM, AVI, MPEG, transport streams, ASF, FLV, Ogg."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
            if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
                return re.search(rb"hdlr.{8}soun", _movie_box(file), re.DOTALL) is not None
    except (OSError, struct.error):
        return False  # whoever decodes it says what is wrong
    if head.startswith(MATROSKA):
        return MATROSKA_SOUND in _matroska_tracks(head)
    if head.startswith(b"RIFF"):
        return b"auds" in head[: head.find(b"movi") if b"movi" in head else None]
    if head.startswith(b"FLV"):
        return bool(head[4] & 4)
    if head.startswith(ASF):
        return ASF_SOUND in head
    if head.startswith(b"OggS"):
        return any(mark in head for mark in (b"\1vorbis", b"OpusHead", b"\x7fFLAC", b"Speex   "))
    is_transport = head[:1] == b"G" and head[188:189] == b"G"
    if is_transport or head.startswith(b"\0\0\1\xba"):
        return MPEG_SOUND.search(head) is not None
    return False


def _movie_box(file: BinaryIO) -> bytes:
    """The moov box of an MP4, wherever it stands; empty where there is none."""
    position = 0
    while True:
        file.seek(position)
        header = file.read(BOX_HEADER.size)
        if len(header) < BOX_HEADER.size:
            return b""
        size, kind = BOX_HEADER.unpack(header)
        if size == 1:
            (size,) = struct.unpack(">Q", file.read(8))
        if kind == b"moov":
            return file.read(min(size, MOST_BOX_BYTES) if size else MOST_BOX_BYTES)
        if size < BOX_HEADER.size:  # 0: to the end of the file
            return b""
        position += size


def _matroska_tracks(head: bytes) -> bytes:
    """The Tracks element: its length is a number whose first byte says how long it is."""
    start = head.find(MATROSKA_TRACKS)
    if start < 0:
        return b""
    start += len(MATROSKA_TRACKS)
    first = head[start] if start < len(head) else 0
    if not first:
        return b""
    count = 9 - first.bit_length()
    length = int.from_bytes(head[start : start + count], "big") & ((1 << 7 * count) - 1)
    return head[start + count : start + count + length]
