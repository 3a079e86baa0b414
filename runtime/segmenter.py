"""Frames of any size to masks of the same size, whatever runs the network."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from runtime.cuda.gpu_frames import GpuFrames, gpu_frames, is_on_gpu
from runtime.engine.engine import Engine
from runtime.engine.loaded_engine import EngineOptions
from runtime.errors import DeployError, InputError
from runtime.files import existing_file
from runtime.frames import Frame, Mask, check_frame, check_out
from runtime.mask_stream import MaskStream
from runtime.resize import fit, fitting_size, restore
from runtime.session import Session, fitting_card, open_session

GpuFrame = Any  # an object with __dlpack__ or __cuda_array_interface__
SizedBatch = tuple[Frame | GpuFrames, tuple[int, int]]  # a batch of one, and the mask's size
Item = TypeVar("Item")

# Frames under way in stream(): in an engine one is copied in, one computed, one copied out; in
# ONNX Runtime one is computed and one waits.
ENGINE_DEPTH, THREAD_DEPTH = 3, 2


class Segmenter:
    """A mask file, opened: call it with a frame, from any thread.

    An engine serves several threads at once; in ONNX Runtime one waits for the other.

    card: what the file is, its input_shape filled in from the file itself.
    description: what runs it, such as "ONNX Runtime 1.31.1, CPU".
    """

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        provider: str | None = None,
        card: str | Path | None = None,
        threads: int | None = None,
        options: EngineOptions | None = None,
    ) -> Segmenter:
        """Open an .onnx file in ONNX Runtime or an .engine file in TensorRT.

        provider: of ONNX Runtime: cpu, which is the default, cuda, tensorrt or rtx.
        card: the card of a file that carries none.
        threads: of ONNX Runtime's CPU provider.
        options: of an engine; see runtime.engine.loaded_engine.EngineOptions.

        Raises InputError for any other file, and what OnnxSession.open or Engine.open raises.
        """
        return cls(open_session(existing_file(path), provider, card, threads, options))

    def __init__(self, session: Session) -> None:
        self._session, self._closed = session, False
        # An engine has a lane for each thread; another session is used by one at a time.
        self._engine = session if isinstance(session, Engine) else None
        self._lock = threading.Lock()
        self.description = session.description
        try:
            self.card = fitting_card(session)
        except DeployError:
            session.close()
            raise

    @property
    def classes(self) -> tuple[str, ...]:
        """The name of every class, by id."""
        return self.card.classes

    @property
    def palette(self) -> tuple[tuple[int, int, int], ...]:
        """The (red, green, blue) colour of every class, 0 to 255."""
        return self.card.palette

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user may want to know of how it runs, such as a cache that was passed over."""
        return () if self._engine is None else self._engine.notes

    def __call__(self, frame: Frame | GpuFrame, out: Mask | None = None) -> Mask:
        """Segment one frame.

        frame: (H, W, 3) uint8, BGR, of any size; resized as the card says where the file has one
        size of its own, and the mask back by nearest. For an engine, and for ONNX Runtime on
        another provider than cpu, also a frame on the GPU with __dlpack__ or
        __cuda_array_interface__, of the file's own size; it is not copied to the host.
        out: (H, W) uint8 to write into; a fresh array otherwise.

        Returns the mask, (H, W) uint8 class ids.
        Raises InputError for another array, DeviceError if the computation fails.
        """
        batch, size = self._batch_of_one(frame)
        return self._segment(batch, size, out)

    def _segment(
        self, batch: Frame | GpuFrames, size: tuple[int, int], out: Mask | None = None
    ) -> Mask:
        if out is not None:
            check_out(out, size, np.dtype(np.uint8))
        direct = out is not None and batch.shape[:3] == (1, *size)
        mask = self._run(batch, out[None] if out is not None and direct else None)[0]
        mask = restore(mask, size, self.card)
        if out is None or direct:
            return mask if out is None else out
        np.copyto(out, mask)
        return out

    def segment_batch(self, frames: Sequence[Frame | GpuFrame]) -> list[Mask]:
        """Segment several frames, as many at once as the file takes.

        frames: each (H, W, 3) uint8, BGR; all of one size where the file takes any size. Those on
        the GPU go one by one.

        Returns a fresh mask, (H, W) uint8, for each. Raises what a single call raises.
        """
        self._require_open()
        if any(_on_gpu(frame) for frame in frames):
            return [self(frame) for frame in frames]
        for frame in frames:
            check_frame(frame)
        fitted = [fit(frame, self.card) for frame in frames]
        sizes = {frame.shape for frame in fitted}
        if len(sizes) > 1:
            raise InputError(f"frames of {len(sizes)} sizes in one batch; give each size its own")
        masks: list[Mask] = []
        while part := fitted[len(masks) :]:
            part = part[: self._batch_size(part)]
            masks.extend(self._run(self._batch(part))[: len(part)])
        return [
            restore(mask, frame.shape[:2], self.card)
            for mask, frame in zip(masks, frames, strict=True)
        ]

    def _batch_of_one(self, frame: Frame | GpuFrame) -> tuple[Frame | GpuFrames, tuple[int, int]]:
        """The frame as the session takes it, and its own (height, width)."""
        if _on_gpu(frame):
            batch = self._gpu_batch(frame)
            return batch, (batch.shape[1], batch.shape[2])
        check_frame(frame)
        height, width, _ = frame.shape
        return self._batch([fit(frame, self.card)]), (height, width)

    def _batch(self, frames: Sequence[Frame]) -> Frame:
        """(N, H, W, 3); too small a batch is filled up with its last frame."""
        batch = self._batch_size(frames)
        if len(frames) == batch == 1:
            return frames[0][None]  # a view: the frame is copied once, into pinned memory
        return np.stack([*frames, *[frames[-1]] * (batch - len(frames))])

    def _batch_size(self, frames: Sequence[Frame]) -> int:
        """The batch to compute them in; smaller than their number where they need several."""
        if self._engine is not None:
            return self._engine.batch_for((len(frames), *frames[0].shape))
        smallest, largest = self._session.batch_limits
        return min(max(len(frames), smallest), largest)

    def _gpu_batch(self, frame: GpuFrame) -> GpuFrames:
        batch = self._session.accept(gpu_frames(frame))
        if batch.shape[0] != 1 or self._session.batch_limits[0] > 1:
            smallest, largest = self._session.batch_limits
            raise InputError(
                f"{batch.shape[0]} frames on the GPU at once, and the file takes {smallest} to "
                f"{largest}; give single frames to a file of batch 1"
            )
        size = batch.shape[1], batch.shape[2]
        if (taken := fitting_size(size, self.card)) != size:
            raise InputError(
                f"a frame on the GPU of size {size}, and the file takes {taken}; resize it there"
            )
        return batch

    def _run(self, batch: Frame | GpuFrames, out: NDArray[Any] | None = None) -> NDArray[Any]:
        if self._engine is not None:
            self._require_open()
            return self._engine(batch, out)
        with self._lock:
            self._require_open()
            return self._session(batch, out)

    def stream(self, frames: Iterable[Frame | GpuFrame], *, latest: bool = False) -> MaskStream:
        """Segment frames in order, several at a time.

        frames: as in a call, each an array of its own, as cv2.VideoCapture.read() returns it: it is
        read until its mask is there.
        latest: for a live camera: read `frames` in a thread, drop those that come faster than they
        can be segmented (`dropped` counts them), and return each mask before the next frame.

        In an engine, copy in, computation and copy out of three frames overlap. In ONNX Runtime, a
        thread computes frame i while the caller works on mask i-1 and `frames` produces i+1; a
        frame on the GPU is waited for before `frames` goes on.

        Yields a fresh mask, (H, W) uint8, for each. An error of `frames` arrives after the masks of
        the frames before it.
        """
        self._require_open()
        given = map(self._taken, frames)
        if self._engine is not None:
            start = partial(self._start, self._engine)
            return MaskStream(given, start, ENGINE_DEPTH, latest=latest)
        worker = ThreadPoolExecutor(1, thread_name_prefix="segmenter")

        def queue(taken: Frame | SizedBatch) -> Callable[[], Mask]:
            return worker.submit(lambda: self._segment(*self._sized_batch(taken))).result

        return MaskStream(given, queue, THREAD_DEPTH, latest=latest, ended=worker.shutdown)

    def _taken(self, frame: Frame | GpuFrame) -> Frame | SizedBatch:
        """In the thread that reads the frames, which PyTorch and CuPy take to be the one whose
        stream a frame on the GPU waits for; one on the host is prepared later."""
        return self._batch_of_one(frame) if _on_gpu(frame) else frame

    def _sized_batch(self, taken: Frame | SizedBatch) -> SizedBatch:
        return taken if isinstance(taken, tuple) else self._batch_of_one(taken)

    def _start(self, engine: Engine, taken: Frame | SizedBatch) -> Callable[[], Mask]:
        """Put one frame on the GPU; what comes back waits for its mask."""
        self._require_open()
        batch, size = self._sized_batch(taken)
        job = engine.submit(batch)
        return lambda: restore(job.result()[0], size, self.card)

    def _require_open(self) -> None:
        if self._closed:
            raise DeployError("this Segmenter was closed; open the file again")

    def close(self) -> None:
        """Free what the session holds, after the frame under way; again, it does nothing."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._session.close()

    def __enter__(self) -> Segmenter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def with_masks(
    segmenter: Segmenter, items: Iterable[Item], frame_of: Callable[[Item], Frame]
) -> Generator[tuple[Item, Mask], None, None]:
    """Segmenter.stream of every item's frame, each mask with its item."""
    waiting: deque[Item] = deque()

    def frames() -> Iterator[Frame]:
        for item in items:
            waiting.append(item)
            yield frame_of(item)

    with closing(segmenter.stream(frames())) as masks:
        for mask in masks:
            yield waiting.popleft(), mask


def _on_gpu(frame: object) -> bool:
    return not isinstance(frame, np.ndarray) and is_on_gpu(frame)
