"""The kernels that TensorRT-RTX compiled here, kept in a file beside the engine.

The first frame of an RTX engine waits for its kernels to be compiled; with the file, only once per
machine. The file is one line of JSON, the key, and then TensorRT-RTX's own bytes. It is never
needed: one that does not fit is passed over, with a note, and replaced.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from runtime.cuda.gpu import Device
from runtime.errors import InputError
from runtime.files import sha256_of, written_whole


class RuntimeCache:
    """One engine's cache on one machine.

    path: the file, ENGINE.kernels.
    """

    def __init__(
        self, engine: Path, cache: Any, title: str, device: Device, sha256: str | None = None
    ) -> None:
        """cache: TensorRT-RTX's IRuntimeCache. title: its name and version. sha256: of the engine,
        where it was computed already."""
        self.path = engine.with_name(engine.name + ".kernels")
        self._cache = cache
        self._key = {
            "engine_sha256": sha256 or sha256_of(engine),
            "built_by": title,
            "gpu": f"{device.name} {device.compute_capability}",
            "driver_cuda": device.driver_cuda,
        }
        self._loaded = b""

    def load(self) -> str | None:
        """Fill the cache from the file, if it fits; otherwise a note that says why not."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            return self._passed_over(f"cannot be read ({error.strerror})")
        head, _, kernels = content.partition(b"\n")
        try:
            stated = json.loads(head)
        except (ValueError, RecursionError):
            return self._passed_over("is damaged")
        key = self._key | {"kernels_sha256": hashlib.sha256(kernels).hexdigest()}
        if not isinstance(stated, dict) or stated.keys() != key.keys():
            return self._passed_over("is damaged")
        differing = [name for name in self._key if stated[name] != key[name]]
        if differing:
            return self._passed_over(f"is of another {differing[0]}")
        if stated != key:
            return self._passed_over("is damaged")
        if not self._cache.deserialize(kernels):
            return self._passed_over("was refused by TensorRT-RTX")
        self._loaded = kernels
        return None

    def save(self) -> str | None:
        """Write the cache, whole, if it grew; otherwise a note that says why it could not."""
        memory = self._cache.serialize()
        kernels = b"" if memory is None else bytes(memory)
        if not kernels or kernels == self._loaded:
            return None
        key = self._key | {"kernels_sha256": hashlib.sha256(kernels).hexdigest()}
        try:
            with written_whole(self.path) as temporary:
                temporary.write_bytes(json.dumps(key).encode() + b"\n" + kernels)
        except InputError as error:
            return f"{error}; without it, the next start compiles the kernels anew"
        self._loaded = kernels
        return None

    def _passed_over(self, why: str) -> str:
        return f"{self.path.name} {why}: TensorRT-RTX compiles its kernels anew"
