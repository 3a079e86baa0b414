"""Frames of any size to masks of the same size, whatever runs the network."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from runtime.card import Card
from runtime.errors import CardError, DeployError, InputError
from runtime.files import existing_file
from runtime.frames import Frame, Mask, check_frame, check_out
from runtime.resize import fit, restore

AHEAD = 2  # frames under way in stream(): one computed, one waiting


class Session(Protocol):
    """What Engine and OnnxSession have in common."""

    card: Card
    input_shape: tuple[int | None, ...]
    output_kind: str
    batch_limits: tuple[int, int]
    description: str

    def __call__(self, frames: Frame, out: NDArray[Any] | None = None) -> NDArray[Any]: ...

    def close(self) -> None: ...


class Segmenter:
    """A mask file, opened: call it with a frame. Safe to call from several threads, one waits.

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
    ) -> Segmenter:
        """Open an .onnx file in ONNX Runtime or an .engine file in TensorRT.

        provider: of ONNX Runtime: cpu, which is the default, cuda or tensorrt.
        card: the card of a file that carries none.
        threads: of ONNX Runtime's CPU provider.

        Raises InputError for any other file, and what OnnxSession.open or Engine.open raises.
        """
        return cls(_open_session(existing_file(path), provider, card, threads))

    def __init__(self, session: Session) -> None:
        self._session, self._lock, self._closed = session, threading.Lock(), False
        self.description = session.description
        try:
            self.card = _fitting_card(session)
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

    def __call__(self, frame: Frame, out: Mask | None = None) -> Mask:
        """Segment one frame.

        frame: (H, W, 3) uint8, BGR, of any size; resized as the card says where the file has one
        size of its own, and the mask back by nearest.
        out: (H, W) uint8 to write into; a fresh array otherwise.

        Returns the mask, (H, W) uint8 class ids.
        Raises InputError for another array, DeviceError if the computation fails.
        """
        check_frame(frame)
        if out is not None:
            check_out(out, frame.shape[:2], np.dtype(np.uint8))
        mask = self.segment_batch([frame])[0]
        if out is None:
            return mask
        np.copyto(out, mask)
        return out

    def segment_batch(self, frames: Sequence[Frame]) -> list[Mask]:
        """Segment several frames, as many at once as the file takes.

        frames: each (H, W, 3) uint8, BGR; all of one size where the file takes any size.

        Returns a fresh mask, (H, W) uint8, for each. Raises what a single call raises.
        """
        self._require_open()
        for frame in frames:
            check_frame(frame)
        fitted = [fit(frame, self.card) for frame in frames]
        sizes = {frame.shape for frame in fitted}
        if len(sizes) > 1:
            raise InputError(f"frames of {len(sizes)} sizes in one batch; give each size its own")
        _, largest = self._session.batch_limits
        masks = [
            mask
            for start in range(0, len(fitted), largest)
            for mask in self._run(fitted[start : start + largest])
        ]
        return [
            restore(mask, frame.shape[:2], self.card)
            for mask, frame in zip(masks, frames, strict=True)
        ]

    def _run(self, frames: Sequence[Frame]) -> list[Mask]:
        """One batch; too small a one is filled up with its last frame."""
        smallest, _ = self._session.batch_limits
        filled = [*frames, *[frames[-1]] * (smallest - len(frames))]
        with self._lock:
            self._require_open()
            masks = self._session(np.stack(filled))
        return list(masks[: len(frames)])

    def stream(self, frames: Iterable[Frame]) -> Generator[Mask, None, None]:
        """Segment frames in order while the next ones are being produced.

        A thread computes frame i while the caller works on mask i-1 and `frames` produces i+1,
        which happens in the caller's thread. Each frame must be an array of its own, as
        cv2.VideoCapture.read() returns it: it is read until its mask is there.

        Yields a fresh mask, (H, W) uint8, for each. An error of `frames` arrives after the masks of
        the frames before it.
        """
        self._require_open()
        return self._stream(iter(frames))

    def _stream(self, frames: Iterator[Frame]) -> Generator[Mask, None, None]:
        under_way: deque[Future[Mask]] = deque()
        worker = ThreadPoolExecutor(1, thread_name_prefix="segmenter")
        failure: Exception | None = None
        try:
            while failure is None:
                try:
                    frame = next(frames)
                except StopIteration:
                    break
                except Exception as error:
                    failure = error
                    break
                under_way.append(worker.submit(self, frame))
                if len(under_way) == AHEAD:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            worker.shutdown(wait=True, cancel_futures=True)
        if failure is not None:
            raise failure

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


def frames_and_masks(
    segmenter: Segmenter, frames: Iterable[Frame]
) -> Generator[tuple[Frame, Mask], None, None]:
    """Segmenter.stream, each mask with its frame."""
    waiting: deque[Frame] = deque()

    def remembered() -> Iterator[Frame]:
        for frame in frames:
            waiting.append(frame)
            yield frame

    with closing(segmenter.stream(remembered())) as masks:
        for mask in masks:
            yield waiting.popleft(), mask


def _open_session(
    path: Path, provider: str | None, card: str | Path | None, threads: int | None
) -> Session:
    # Imported here: ONNX Runtime and CUDA are each needed for their own kind of file alone.
    if path.suffix == ".onnx":
        from runtime.onnx_session import OnnxSession

        return OnnxSession.open(path, provider or "cpu", threads, card=card)
    if path.suffix == ".engine":
        if provider is not None or threads is not None:
            raise InputError(f"{path.name} is an engine; provider and threads are for .onnx files")
        from runtime.engine import Engine

        return Engine.open(path, card=card)
    raise InputError(f"{path} ends in '{path.suffix}'; expected an .onnx or .engine file")


def _fitting_card(session: Session) -> Card:
    """The card with the file's own input shape; an error if it cannot give masks."""
    card = session.card
    if "logits" in (card.output_kind, session.output_kind):
        raise InputError(
            "this file gives logits; a Segmenter needs a file that gives uint8 masks. "
            "Export it without --output-kind logits"
        )
    stated = card.input_shape or (None, None, None, 3)
    for found, said in zip(session.input_shape, stated, strict=True):
        if found is not None and said is not None and found != said:
            raise CardError(f"the card says {stated}, the file takes {session.input_shape}")
    batch, height, width, _ = (
        said if found is None else found
        for found, said in zip(session.input_shape, stated, strict=True)
    )
    return replace(card, input_shape=(batch, height, width, 3))
