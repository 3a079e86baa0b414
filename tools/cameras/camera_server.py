"""What the network cameras of the tests have in common, whatever they speak."""

from __future__ import annotations

import threading
from socketserver import TCPServer
from typing import TypeVar

Self = TypeVar("Self", bound="CameraServer")


class CameraServer:
    """Serves in a thread of its own; the end of a with block also ends its silences.

    server: bound to its port. silence: what its connections wait on. address: with {} for the port.
    """

    def __init__(self, server: TCPServer, silence: threading.Event, address: str) -> None:
        self._server, self._silence = server, silence
        self.port = server.server_address[1]
        self.address = address.format(self.port)
        # A daemon: a test that fails before it closes the server must not keep pytest from ending.
        self._thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._silence.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
