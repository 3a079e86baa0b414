"""A model that Triton serves, behind the same face as an engine and an ONNX file."""

from __future__ import annotations

from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from runtime.cuda.gpu_frames import GpuFrames
from runtime.errors import DeployError, DeviceError, InputError
from runtime.frames import Frame, check_batch, check_out
from runtime.remote.address import parse_address
from runtime.remote.served_model import (
    ANSWER_SECONDS,
    ServedModel,
    describe,
    failures_named,
    open_client,
)
from runtime.remote.shared_frames import SharedBuffer

# Longer than a frame may wait in the server, and than any network computes for.
COMPUTE_SECONDS = 120.0
UNWRITTEN = 255


class TritonSession:
    """One served model, for one call at a time.

    served: what the server says of it.
    card, input_shape, output_kind, batch_limits: as every session has them.
    description: such as "Triton 2.51.0 at localhost:8001, python on its CPU, over shared memory".
    """

    @classmethod
    def open(
        cls, address: str, card: str | Path | None = None, *, shared_memory: bool = True
    ) -> TritonSession:
        """Connect. address: triton://HOST:PORT/NAME. card: of a model that is served without one.

        shared_memory: let frames and masks travel through shared memory where the server is on this
        machine and can open it. Elsewhere, or with False, they travel in gRPC's messages; the
        description says which.

        Raises what served_model raises.
        """
        place = parse_address(address)
        client = open_client(place)
        try:
            return cls(client, describe(client, place, card), shared_memory=shared_memory)
        except BaseException:
            client.close()
            raise

    def __init__(self, client: Any, served: ServedModel, *, shared_memory: bool) -> None:
        self._client, self.served = client, served
        self.card = served.card
        self.input_shape: tuple[int | None, ...] = served.input_shape
        self.batch_limits, self.output_kind = served.batch_limits, "mask"
        self._frames: SharedBuffer | None = None
        self._masks: SharedBuffer | None = None
        # A mask that the server did not write is noticed by an id that is no class.
        self._shares = (
            shared_memory
            and len(self.card.classes) <= UNWRITTEN
            and served.address.is_on_this_machine()
            and self._can_share()
        )
        device = "GPU" if served.on_gpu else "CPU"
        way = "shared memory" if self._shares else "gRPC messages"
        self.description = (
            f"{served.server} at {served.address.server}, {served.backend} on its {device}, "
            f"over {way}"
        )

    def __call__(self, frames: Frame | GpuFrames, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Have the server segment one batch.

        frames: (N, H, W, 3) uint8, BGR, on the host.
        out: (N, H, W) uint8 to write into; a fresh array otherwise.

        Returns the masks, (N, H, W) uint8.
        Raises InputError for a shape that the model does not take, DeviceError if the server fails,
        refuses the frames or gives no whole mask, DeployError after close().
        """
        self._require_open()
        if isinstance(frames, GpuFrames):
            self.accept(frames)
        assert isinstance(frames, np.ndarray)
        check_batch(frames)
        self._check_shape(frames.shape)
        shape = frames.shape[:3]
        if out is not None:
            check_out(out, shape, np.dtype(np.uint8))
        with failures_named(self.served.address):
            masks = self._by_memory(frames) if self._shares else self._by_message(frames)
        self._check_ids(masks)
        if out is None:
            return masks.copy()
        np.copyto(out, masks)
        return out

    def accept(self, frames: GpuFrames) -> NoReturn:
        """InputError: a server takes no frames from this machine's GPU."""
        raise InputError(
            f"a frame of shape {frames.shape} on the GPU, and {self.served.address} is a server; "
            "give a numpy array"
        )

    def statistics_ms(self) -> dict[str, float]:
        """How long all requests so far were in each part of the server, in milliseconds: queue,
        compute_input, compute_infer, compute_output."""
        self._require_open()
        with failures_named(self.served.address):
            answer = self._client.get_inference_statistics(
                self.served.address.name, client_timeout=ANSWER_SECONDS
            )
        counted = answer.model_stats[0].inference_stats
        names = ("queue", "compute_input", "compute_infer", "compute_output")
        return {name: getattr(counted, name).ns / 1e6 for name in names}

    def _by_message(self, frames: Frame) -> NDArray[np.uint8]:
        from tritonclient.grpc import InferInput, InferRequestedOutput

        given = InferInput(self.served.frames, list(frames.shape), "UINT8")
        given.set_data_from_numpy(np.ascontiguousarray(frames))
        answer = self._infer(given, InferRequestedOutput(self.served.masks))
        found, shape = b"".join(answer.get_response().raw_output_contents), frames.shape[:3]
        if len(found) != prod(shape):
            raise self._broken(f"{len(found)} bytes for masks of shape {shape}")
        return np.frombuffer(found, np.uint8).reshape(shape)

    def _by_memory(self, frames: Frame) -> NDArray[np.uint8]:
        from tritonclient.grpc import InferInput, InferRequestedOutput

        shape = frames.shape[:3]
        self._frames = self._room(self._frames, frames.nbytes)
        self._masks = self._room(self._masks, prod(shape))
        np.copyto(self._frames.array(frames.shape), frames)
        given = InferInput(self.served.frames, list(frames.shape), "UINT8")
        given.set_shared_memory(self._frames.name, frames.nbytes)
        asked = InferRequestedOutput(self.served.masks)
        asked.set_shared_memory(self._masks.name, prod(shape))
        masks = self._masks.array(shape)
        masks.fill(UNWRITTEN)  # the answer does not say how much of it the server wrote
        try:
            self._infer(given, asked)
        except BaseException:
            # The server may yet write this frame's mask, which must not become the next one's.
            self._forget_memory()
            raise
        return masks

    def _infer(self, given: Any, asked: Any) -> Any:
        return self._client.infer(
            self.served.address.name, [given], outputs=[asked], client_timeout=COMPUTE_SECONDS
        )

    def _check_ids(self, masks: NDArray[np.uint8]) -> None:
        if (largest := int(masks.max())) >= len(self.card.classes):
            raise self._broken(f"the class id {largest}, and there are {len(self.card.classes)}")

    def _broken(self, what: str) -> DeviceError:
        """Triton's python backend beside numpy 2 was seen to answer with 0 bytes and no error."""
        return DeviceError(
            f"{self.served.address} gave {what}: the server is broken, or serves another file than "
            "its card says. If it runs the python backend, install 'numpy<2' there"
        )

    def _room(self, buffer: SharedBuffer | None, size_bytes: int) -> SharedBuffer:
        if buffer is not None and buffer.size_bytes >= size_bytes:
            return buffer
        if buffer is not None:
            buffer.close()
        return SharedBuffer(self._client, size_bytes, ANSWER_SECONDS)

    def _forget_memory(self) -> None:
        for buffer in (self._frames, self._masks):
            if buffer is not None:
                buffer.close()
        self._frames = self._masks = None

    def _can_share(self) -> bool:
        from tritonclient.utils import InferenceServerException

        try:
            self._frames = SharedBuffer(self._client, 1, ANSWER_SECONDS)
        except (InferenceServerException, DeviceError):
            return False
        return True

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        least, most = self.batch_limits
        expected = zip(shape[1:], self.input_shape[1:], strict=True)
        if not least <= shape[0] <= most or any(
            wanted is not None and found != wanted for found, wanted in expected
        ):
            raise InputError(
                f"frames of shape {shape}; {self.served.address} takes {self.input_shape}, "
                f"{least} to {most} frames at once. Resize the frames, or serve a dynamic file"
            )

    def _require_open(self) -> None:
        if self._client is None:
            raise DeployError(f"{self.served.address} was closed; open it again")

    def close(self) -> None:
        """Free the shared memory and the connection; calling this again does nothing."""
        self._forget_memory()
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def __enter__(self) -> TritonSession:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
