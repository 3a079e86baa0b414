"""A TensorRT engine: frames in, masks out, for one thread or many."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime import tensorrt_api
from runtime.card import Card, check_hash, read_card, read_sidecar
from runtime.card_format import UNKNOWN_VARIANT
from runtime.class_ids import check_ids
from runtime.cuda import gpu
from runtime.cuda.gpu_frames import GpuFrames, check_gpu
from runtime.engine.compatibility import check_is_engine, check_machine
from runtime.engine.lane import Lane, Shared
from runtime.engine.loaded_engine import EngineOptions, LoadedEngine, Shape
from runtime.errors import DeployError, DeviceError, InputError
from runtime.files import existing_file
from runtime.frames import Frame, check_batch, check_gpu_order, in_channel_order
from runtime.tensorrt_api import TensorRT, gpu_present

SMALLEST_SCRATCH = 256  # TensorRT's alignment; an engine may say that it needs none


class Engine:
    """One engine. Each thread, and each frame of a stream, has a lane of its own: a TensorRT
    context with its buffers. All lanes compute in the same scratch memory, one after the other,
    while their copies overlap.

    card: what the file is.
    input_shape: (N, H, W, 3), None for a free dimension.
    output_kind: mask, (N, H, W) uint8, or logits, (N, C, H, W) float.
    batch_limits: the smallest and the largest N.
    description: such as "TensorRT-RTX 1.7.1.116, NVIDIA RTX A4000".
    """

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        card: str | Path | None = None,
        options: EngineOptions | None = None,
    ) -> Engine:
        """Check the engine against its card and this machine, then load it.

        card: of an engine that has no sidecar: one from elsewhere, checked like it, or a bare card,
        which does not say how the engine was built.

        Raises CardError or EngineMismatch if card, hash, TensorRT or GPU do not fit, DeviceError
        without a GPU or if TensorRT refuses it, MissingPackage without TensorRT or cuda-python.
        """
        path, options = existing_file(path), options or EngineOptions()
        if options.cuda is not None:
            gpu.choose(options.cuda)  # before anything asks for the device
        contents = read_card(path, card)
        if card is not None and read_sidecar(path, card) is None:
            return cls(path, contents, _load_for_foreign(path), options)
        sidecar = check_hash(path, card)
        build = sidecar.build
        check_machine(path, build)
        compatible = options.version_compatible or build.get("version_compatible") is True
        options = replace(options, version_compatible=compatible)
        trt = tensorrt_api.load_for_running(build["package"], version_compatible=compatible)
        return cls(path, contents, trt, options, sidecar.sha256)

    def __init__(
        self,
        path: Path,
        card: Card,
        trt: TensorRT,
        options: EngineOptions | None = None,
        sha256: str | None = None,
    ) -> None:
        """sha256: of the file, where it was computed already."""
        options = options or EngineOptions()
        self._path, self.card, self._lock, self._closed = path, card, threading.Lock(), False
        self._first_result = threading.Lock()
        # A file of another tool may give ids that its card does not name; ours cannot.
        self._checks_ids = card.variant == UNKNOWN_VARIANT and card.output_kind == "mask"
        self._lanes: list[Lane] = []
        self._free: list[Lane] = []
        cuda = gpu.choose(options.cuda)
        graphs = _user_graphs(cuda, trt, options)
        self._context = cuda.Context()
        try:
            with self._context, ExitStack() as resources:
                device = cuda.current_device()
                self._loaded = LoadedEngine(path, trt, device, options, sha256)
                resources.callback(self._loaded.close)
                mapped = options.mapped_memory
                mapped = device.integrated if mapped is None else mapped
                self._shared = self._share(cuda, resources, mapped, graphs)
                resources.callback(self._close_lanes)
                self._free.append(self._new_lane())
                self._resources = resources.pop_all()
        except BaseException:
            self._context.close()
            raise
        self._describe(trt, device, cuda)

    def _share(
        self, cuda: ModuleType, resources: ExitStack, mapped: bool, graphs: bool | None
    ) -> Shared:
        scratch_bytes = max(self._loaded.scratch_bytes, SMALLEST_SCRATCH)
        scratch = resources.enter_context(cuda.DeviceBuffer(scratch_bytes))
        turn = resources.enter_context(cuda.Event())
        return Shared(cuda, self._loaded, scratch, turn, threading.Lock(), mapped, graphs)

    def _describe(self, trt: TensorRT, device: gpu.Device, cuda: ModuleType) -> None:
        loaded, self._device_index = self._loaded, device.index
        self.dtype = loaded.dtype
        self.output_kind = "mask" if loaded.dtype == np.uint8 else "logits"
        self.input_shape = tuple(None if size < 0 else size for size in loaded.input_shape)
        self.batch_limits = (
            min(profile.smallest[0] for profile in loaded.profiles),
            max(profile.largest[0] for profile in loaded.profiles),
        )
        through = "" if cuda.HAS_GRAPHS else f", through {cuda.TITLE}"
        self.description = f"{trt.title}, {device.name}{through}"

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user may want to know: a runtime cache passed over, no CUDA graph."""
        return tuple(self._loaded.notes)

    def __call__(self, frames: Frame | GpuFrames, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Run one batch and wait for it; several threads may do so at once.

        frames: (N, H, W, 3) uint8, BGR, on the host or on the GPU.
        out: an array of the result's shape and dtype to write into; a fresh one otherwise.

        Returns the mask, (N, H, W) uint8; from a logits engine (N, C, H, W) float.
        Raises InputError for a shape outside the engine's profiles, DeviceError if CUDA or TensorRT
        refuses the work, DeployError after close().
        """
        frames = self._checked(frames)
        lane = self._take_lane()
        try:
            with lane.busy:
                lane.require_open()
                with self._context:
                    lane.submit(frames)
                    return self._collect(lane, out)
        finally:
            self._free.append(lane)

    def submit(self, frames: Frame | GpuFrames) -> Job:
        """Put one batch on the GPU and return before it is done; raises what a call raises.

        frames: as in a call. On the host they are copied and may be written to again; on the GPU
        they are read until the job's result is taken.
        """
        frames = self._checked(frames)
        lane = self._take_lane()
        try:
            with lane.busy:
                lane.require_open()
                with self._context:
                    lane.submit(frames)
        except BaseException:
            self._free.append(lane)
            raise
        return Job(self, lane)

    def finish(self, lane: Lane, out: NDArray[Any] | None) -> NDArray[Any]:
        """Wait for the batch in the lane: for Job."""
        try:
            with lane.busy:
                lane.require_open()
                with self._context:
                    return self._collect(lane, out)
        finally:
            self._free.append(lane)

    def _collect(self, lane: Lane, out: NDArray[Any] | None) -> NDArray[Any]:
        """The lane's result, and after the engine's first the kernels that were compiled for it: a
        service that is killed has no close()."""
        result = lane.collect(out)
        if self._checks_ids:
            check_ids(result, len(self.card.classes), self._path)
        # TensorRT-RTX does not say that a cache may be read while it grows: not where it compiles
        # in the background, and with no new context and nothing put on the GPU meanwhile.
        # The lock is never released: for one thread, once.
        if not self._loaded.compiles_in_background and self._first_result.acquire(blocking=False):
            with self._lock, self._shared.order:
                self._loaded.save_cache()
        return result

    def accept(self, frames: GpuFrames) -> GpuFrames:
        """Frames on the GPU as a call takes them: as they are, since a lane waits for their
        producer on the GPU. InputError if they are on another GPU."""
        check_gpu(frames, self._device_index)
        check_gpu_order(self._path.name, self.card.channel_order)
        return frames

    def batch_for(self, shape: Shape) -> int:
        """The batch to give frames (N, H, W, 3) in: the smallest that takes all N, else the largest
        that there is. Profiles may leave gaps: 1, and 4."""
        return self._loaded.batch_for(shape)

    def _checked(self, frames: Frame | GpuFrames) -> Frame | GpuFrames:
        if isinstance(frames, GpuFrames):
            return self.accept(frames)
        check_batch(frames)
        return in_channel_order(frames, self.card.channel_order)

    def _take_lane(self) -> Lane:
        """A lane that nobody uses; a new one where all are in use, so that nobody waits for good.

        So there are as many as there were batches under way at once.
        """
        try:
            return self._free.pop()  # a list's pop and append are atomic
        except IndexError:
            with self._lock:
                if self._closed:
                    raise DeployError(f"{self._path.name} was closed; open it again") from None
                with self._context:
                    return self._new_lane()

    def _new_lane(self) -> Lane:
        lane = Lane(self._shared)
        self._lanes.append(lane)
        return lane

    def _close_lanes(self) -> None:
        for lane in self._lanes:
            lane.close()

    def close(self) -> None:
        """Wait for what is under way and free the GPU's memory; again, it does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        try:
            with self._context, self._resources:
                self._close_lanes()
                self._loaded.save_cache()
        finally:
            self._context.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Job:
    """A batch under way on the GPU."""

    def __init__(self, engine: Engine, lane: Lane) -> None:
        self._engine, self._lane = engine, [lane]

    def result(self, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Wait for the result, once; raises what a call of the engine raises."""
        if not self._lane:
            raise DeployError("the result of this job was already taken; submit the frames again")
        return self._engine.finish(self._lane.pop(), out)


def _user_graphs(cuda: ModuleType, trt: TensorRT, options: EngineOptions) -> bool | None:
    """Whether the runtime captures graphs itself; TensorRT-RTX does it for us."""
    if trt.name == "rtx":
        return False
    if cuda.HAS_GRAPHS:
        return options.cuda_graph
    if options.cuda_graph:
        raise InputError(f"cuda_graph=True needs cuda-python; {cuda.TITLE} has no CUDA graphs")
    return False


def _load_for_foreign(path: Path) -> TensorRT:
    """A foreign engine does not say which package built it: the one a build here would use."""
    check_is_engine(path)
    if not gpu_present():
        raise DeviceError(
            f"this machine has no GPU that can run {path.name}, nor tell whether it is valid. "
            "See what is missing: refinenet doctor"
        )
    return tensorrt_api.load(tensorrt_api.default_runtime())
