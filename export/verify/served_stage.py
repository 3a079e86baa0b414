"""A served model as a stage of verify: the file that it serves, run by the server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from export.verify.agreement import Output
from export.verify.stage_files import stage_name
from runtime.errors import InputError
from runtime.files import sha256_of
from runtime.frames import Frame
from runtime.remote.triton_session import TritonSession

SERVED = "triton"


class ServedStage:
    """name: of the stage: fp16.triton for a served fp16.onnx. sha256: of that file."""

    def __init__(self, address: str, files: Sequence[Path]) -> None:
        """files: of the export that is verified.

        Raises InputError if the server serves none of them, and what TritonSession.open raises.
        """
        self._session = TritonSession.open(address)
        try:
            self.name, self.sha256 = self._file(files)
        except BaseException:
            self._session.close()
            raise

    def _file(self, files: Sequence[Path]) -> tuple[str, str]:
        served = self._session.served
        for path in files:
            if (found := sha256_of(path)) == served.sha256:
                return f"{stage_name(path)}.{SERVED}", found
        names = ", ".join(path.name for path in files)
        raise InputError(
            f"{served.address} serves a file of SHA-256 {served.sha256}, which is none of {names}; "
            "serve one of them: refinenet export-triton"
        )

    def __call__(self, frames: Frame) -> Output:
        return Output(self._session(frames)[0], None)

    def close(self) -> None:
        self._session.close()
