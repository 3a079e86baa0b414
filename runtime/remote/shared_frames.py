"""Frames and masks in memory that this process and a server on the same machine both see."""

from __future__ import annotations

import secrets
from contextlib import suppress
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import DeviceError


class SharedBuffer:
    """One region of POSIX shared memory, known to the server by its name."""

    def __init__(self, client: Any, size_bytes: int, timeout_seconds: float) -> None:
        """Raises DeviceError if there is no room for it, and what the client raises if the server
        cannot open it, as in a container that has shared memory of its own."""
        self._client, self._timeout_seconds = client, timeout_seconds
        self.name, self.size_bytes = f"refinenet-{secrets.token_hex(8)}", size_bytes
        try:
            self._memory = SharedMemory(self.name, create=True, size=size_bytes)
        except OSError as error:
            raise DeviceError(
                f"no {size_bytes} bytes of shared memory are to be had ({error.strerror}); see "
                "/dev/shm"
            ) from error
        try:
            client.register_system_shared_memory(
                self.name, f"/{self.name}", size_bytes, client_timeout=timeout_seconds
            )
        except BaseException:
            self._free()
            raise

    def array(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """A view of its beginning; not to be kept beyond close()."""
        return np.ndarray(shape, np.uint8, self._memory.buf)

    def close(self) -> None:
        """Have the server forget it, and free it."""
        with suppress(Exception):  # the server may be gone, and its memory of it too
            self._client.unregister_system_shared_memory(
                self.name, client_timeout=self._timeout_seconds
            )
        self._free()

    def _free(self) -> None:
        with suppress(BufferError):  # a view that is still there; the region goes with the process
            self._memory.close()
        with suppress(FileNotFoundError):
            self._memory.unlink()
