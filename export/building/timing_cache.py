"""Kernel times that TensorRT measured, kept from one build to the next.

One file per package, version and GPU: times of another are worth nothing, and TensorRT refuses
them. Builds may run side by side: none holds the lock while it builds, and each adds its times to
what the others wrote meanwhile.
"""

from __future__ import annotations

import fcntl
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from runtime.errors import InputError
from runtime.files import output_folder, written_whole
from runtime.tensorrt_api import TensorRT


class TimingCache:
    """The times of one package, version and GPU in a folder.

    gpu: its name and compute capability, such as "NVIDIA RTX A4000 sm_86".

    Raises InputError for a folder that cannot be written to.
    """

    def __init__(self, folder: Path, trt: TensorRT, gpu: str) -> None:
        key = re.sub(r"[^\w.]+", "-", f"{trt.name} {trt.version} {gpu}")
        self.file = output_folder(folder) / f"{key}.timing"

    def lend(self, config: Any) -> None:
        """Give the build what is known; InputError if the file is of another machine."""
        with self._locked():
            known = self.file.read_bytes() if self.file.exists() else b""
        cache = config.create_timing_cache(known)
        if cache is None or not config.set_timing_cache(cache, False):
            raise self._refused()

    def keep(self, config: Any) -> None:
        """Add what the build measured to the file; InputError, and the file as it was, if what it
        holds meanwhile cannot be joined."""
        measured = config.get_timing_cache()
        with self._locked():
            if self.file.exists():
                known = config.create_timing_cache(self.file.read_bytes())
                # False: as in lend, times of another GPU are refused.
                if known is None or not measured.combine(known, False):
                    raise self._refused()
            with written_whole(self.file) as temporary:
                temporary.write_bytes(memoryview(measured.serialize()))

    def _refused(self) -> InputError:
        return InputError(
            f"{self.file} was not written by this TensorRT on this GPU, or is damaged; "
            "delete it, and the next build measures anew"
        )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """The lock is a file of its own, since the cache file is replaced as a whole."""
        try:
            lock = self.file.with_suffix(".lock").open("w")
        except OSError as error:
            raise InputError(
                f"{self.file} cannot be locked ({error.strerror}); choose another folder"
            ) from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # freed when the file is closed, or the process ends
            yield
