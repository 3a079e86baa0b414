"""A network camera on a port of this machine that speaks RTSP, as most real ones do.

RTSP/1.0 (RFC 2326); the stream described by SDP (RFC 4566); RTP (RFC 3550) interleaved in the same
TCP connection (RFC 2326, 10.12); in it motion JPEG, packed with its quantization tables (RFC 2435).
"""

from __future__ import annotations

import itertools
import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray

from tools.cameras.camera_server import CameraServer

INTERVAL_S = 0.01
CLOCK_HZ = 90_000  # of RTP's timestamps for JPEG: RFC 3551, table 5
JPEG_PAYLOAD, LAST_PACKET = 26, 0x80  # RTP's payload type and its marker bit
YUV_420, TABLES_INSIDE = 1, 255  # RFC 2435's type and Q
LARGEST_PIECE = 1400  # bytes of a picture in one packet
QUANTIZATION, SCAN = 0xFFDB, 0xFFDA  # JPEG's markers

SESSION = "12345678"
SDP = """v=0
o=- 0 0 IN IP4 127.0.0.1
s=camera
c=IN IP4 0.0.0.0
t=0 0
a=range:npt={range}
m=video 0 RTP/AVP 26
a=control:video
""".replace("\n", "\r\n")


class RtspServer(CameraServer):
    """Sends the frames to whoever plays them, then hangs up.

    frames: (H, W, 3) uint8 BGR; H and W multiples of 8 up to 2040, as RFC 2435 counts them.
    port: 0 takes a free one. stall_s: how long it falls silent before it hangs up.
    recording_s: the length it states, as a recorder does that plays a recording; 0 for a camera.
    """

    def __init__(
        self,
        frames: Sequence[NDArray[np.uint8]],
        port: int = 0,
        stall_s: float = 0.0,
        recording_s: float = 0.0,
    ) -> None:
        coded = {id(frame): coded_picture(frame) for frame in frames}
        pictures = [coded[id(frame)] for frame in frames]
        description = SDP.format(range=f"0-{recording_s}" if recording_s else "now-")
        silence = threading.Event()

        class Camera(StreamRequestHandler):
            def setup(self) -> None:
                super().setup()
                self.writing = threading.Lock()  # an answer must not come between half a packet

            def handle(self) -> None:
                with suppress(OSError):  # the reader has hung up
                    for method, headers in requests(self.rfile):
                        self.send(answer(method, headers, server.address, description))
                        if method == "PLAY":
                            # Beside this thread, which goes on reading: closing a connection with
                            # something unread in it takes away what was sent last.
                            threading.Thread(target=self.play, daemon=True).start()
                        if method == "TEARDOWN":
                            return

            def play(self) -> None:
                with suppress(OSError):  # the same
                    for packet in stream(pictures):
                        self.send(packet)
                    silence.wait(stall_s)
                    self.connection.shutdown(socket.SHUT_WR)

            def send(self, content: bytes) -> None:
                with self.writing:
                    self.connection.sendall(content)

        class Server(ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True

        server = self
        super().__init__(Server(("127.0.0.1", port), Camera), silence, "rtsp://127.0.0.1:{}/live")


def requests(connection: BinaryIO) -> Iterator[tuple[str, dict[str, str]]]:
    """The method and headers of each request, until the reader hangs up."""
    while first := connection.read(1):
        if first == b"$":  # what the reader reports of the reception, by RTCP
            _, size = struct.unpack(">BH", connection.read(3))
            connection.read(size)
            continue
        method = (first + connection.readline()).decode().split()[0]
        lines = iter(lambda: connection.readline().decode().strip(), "")
        yield method, dict(line.split(": ", 1) for line in lines)


def answer(method: str, headers: Mapping[str, str], address: str, description: str) -> bytes:
    """The response to a request. description: the stream's, in SDP."""
    status, extra, body = "200 OK", [f"Session: {SESSION}"], ""
    if method == "OPTIONS":
        extra = ["Public: OPTIONS, DESCRIBE, SETUP, PLAY, GET_PARAMETER, TEARDOWN"]
    elif method == "DESCRIBE":
        body = description
        extra = [f"Content-Base: {address}/", "Content-Type: application/sdp"]
    elif method == "SETUP" and "RTP/AVP/TCP" in headers["Transport"]:
        extra.append("Transport: RTP/AVP/TCP;unicast;interleaved=0-1")
    elif method == "SETUP":  # by UDP; the reader then asks for TCP
        status, extra = "461 Unsupported Transport", []
    elif method not in ("PLAY", "GET_PARAMETER", "TEARDOWN"):
        status, extra = "501 Not Implemented", []
    lines = [f"RTSP/1.0 {status}", f"CSeq: {headers['CSeq']}", *extra]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", body]).encode()


@dataclass(frozen=True)
class Picture:
    """A JPEG file taken apart. tables: for luma and chroma, 64 bytes each. scan: what is left."""

    width: int
    height: int
    tables: bytes
    scan: bytes


def coded_picture(frame: NDArray[np.uint8]) -> Picture:
    """frame: (H, W, 3) uint8 BGR. ValueError for a size that RFC 2435 cannot state."""
    height, width = frame.shape[:2]
    if height % 8 or width % 8 or max(height, width) > 2040:
        raise ValueError(f"{width}x{height}; expected multiples of 8 up to 2040")
    # RFC 2435 leaves out the Huffman tables: they are the standard's own, as OpenCV writes them.
    sampling = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]
    file = cv2.imencode(".jpg", frame, sampling)[1].tobytes()
    tables, at, marker = b"", 2, 0
    while marker != SCAN:
        marker, size = struct.unpack_from(">HH", file, at)
        if marker == QUANTIZATION:
            content = file[at + 4 : at + 2 + size]
            for start in range(0, len(content), 65):  # a number, and a table of 64
                tables += content[start + 1 : start + 65]
        at += 2 + size
    return Picture(width, height, tables, file[at:-2])  # without the end's marker


def stream(pictures: Sequence[Picture]) -> Iterator[bytes]:
    """The pictures as interleaved packets, one picture each INTERVAL_S."""
    numbers = itertools.count()
    for index, picture in enumerate(pictures):
        timestamp = round(index * INTERVAL_S * CLOCK_HZ)
        for offset in range(0, len(picture.scan), LARGEST_PIECE):
            piece = picture.scan[offset : offset + LARGEST_PIECE]
            last = LAST_PACKET if offset + len(piece) == len(picture.scan) else 0
            rtp = struct.pack(
                ">BBHII", 0x80, JPEG_PAYLOAD | last, next(numbers) & 0xFFFF, timestamp, 0xCAFE
            )
            shape = (YUV_420, TABLES_INSIDE, picture.width // 8, picture.height // 8)
            jpeg = struct.pack(">I4B", offset, *shape)
            if offset == 0:
                jpeg += struct.pack(">HH", 0, len(picture.tables)) + picture.tables
            packet = rtp + jpeg + piece
            yield struct.pack(">cBH", b"$", 0, len(packet)) + packet
        time.sleep(INTERVAL_S)
