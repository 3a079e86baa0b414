"""A network camera on a port of this machine: HTTP with motion JPEG, as many real ones speak it."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
from numpy.typing import NDArray

from tools.cameras.camera_server import CameraServer

INTERVAL_S = 0.01


class MjpegServer(CameraServer):
    """Sends the frames to whoever connects, then hangs up.

    port: 0 takes a free one. stall_s: how long it falls silent before it hangs up.
    """

    def __init__(
        self, frames: Sequence[NDArray[np.uint8]], port: int = 0, stall_s: float = 0.0
    ) -> None:
        different = {id(frame): frame for frame in frames}
        coded = {key: cv2.imencode(".jpg", frame)[1].tobytes() for key, frame in different.items()}
        pictures = [coded[id(frame)] for frame in frames]
        silence = threading.Event()

        class Camera(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                try:
                    for picture in pictures:
                        self.wfile.write(
                            b"--frame\r\nContent-Type: image/jpeg\r\n"
                            b"Content-Length: %d\r\n\r\n%b\r\n" % (len(picture), picture)
                        )
                        time.sleep(INTERVAL_S)
                except OSError:
                    return  # the reader has hung up
                silence.wait(stall_s)

            def log_message(self, *_: object) -> None:
                """Nothing on stderr."""

        server = ThreadingHTTPServer(("127.0.0.1", port), Camera)
        server.daemon_threads = True
        super().__init__(server, silence, "http://127.0.0.1:{}/video.mjpg")
