"""Frames that already lie on the GPU: from PyTorch, CuPy, Numba, a hardware decoder.

Two standards name such an array: DLPack (https://dmlc.github.io/dlpack), which also says how to
wait for its producer, and the CUDA array interface, version 2 and 3 (Numba's documentation).
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from math import prod
from typing import Any

from runtime.errors import InputError

LEGACY_STREAM = 1  # CUDA's name for the default stream, in both standards
CUDA, CUDA_MANAGED = 2, 13  # DLDeviceType
UNSIGNED = 1  # DLDataTypeCode

Shape = tuple[int, ...]


@dataclass(frozen=True)
class GpuFrames:
    """Frames in the GPU's memory, (N, H, W, 3) uint8 BGR; rows may be padded.

    address: of the first byte. pitch_bytes: from one row to the next.
    producer: the stream whose work the frames wait for, None if they are ready.
    device: the index of their GPU; None where it is not said, or every GPU reaches them.
    owner: what keeps the memory alive.
    """

    address: int
    shape: Shape
    pitch_bytes: int
    producer: int | None
    device: int | None
    owner: object


class _Tensor(ctypes.Structure):
    """DLTensor of dlpack.h, which a capsule's DLManagedTensor begins with."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


def is_on_gpu(frame: object) -> bool:
    """Whether the object offers its memory by one of the standards."""
    return hasattr(frame, "__dlpack__") or hasattr(frame, "__cuda_array_interface__")


def gpu_frames(frame: Any) -> GpuFrames:
    """One frame, (H, W, 3), or a batch, (N, H, W, 3), uint8 BGR, without copying it.

    Raises InputError for another shape or type, for memory that the GPU does not own, and for
    strides other than those of padded rows.
    """
    # DLPack first: PyTorch's array interface does not say which stream to wait for.
    if hasattr(frame, "__dlpack__"):
        return _from_dlpack(frame)
    return _from_array_interface(frame)


def check_gpu(frames: GpuFrames, gpu_index: int) -> None:
    """InputError if the frames say that they are on another GPU than this one."""
    if frames.device not in (None, gpu_index):
        raise InputError(
            f"a frame on GPU {frames.device}, and the file runs on GPU {gpu_index}; "
            "copy the frame there"
        )


def _from_dlpack(frame: Any) -> GpuFrames:
    kind, index = frame.__dlpack_device__()
    if kind not in (CUDA, CUDA_MANAGED):
        raise InputError(
            f"a frame of type {type(frame).__name__} in the host's memory; give it as a numpy array"
        )
    # The producer makes the default stream wait for the frame, and ours then waits for that one.
    capsule = frame.__dlpack__(stream=LEGACY_STREAM)
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    tensor = _Tensor.from_address(pointer(capsule, b"dltensor"))
    if (tensor.code, tensor.bits, tensor.lanes) != (UNSIGNED, 8, 1):
        raise _unfit(frame, f"of {tensor.bits}-bit elements")
    shape = tuple(tensor.shape[: tensor.ndim])
    strides = tuple(tensor.strides[: tensor.ndim]) if tensor.strides else None
    address = (tensor.data or 0) + tensor.byte_offset
    # A capsule that nobody has taken frees its tensor when it goes: it is the owner.
    device = int(index) if kind == CUDA else None
    return _checked(frame, address, shape, strides, LEGACY_STREAM, device, capsule)


def _from_array_interface(frame: Any) -> GpuFrames:
    interface = frame.__cuda_array_interface__
    if interface["typestr"] not in ("|u1", "u1", "<u1"):
        raise _unfit(frame, f"of type {interface['typestr']}")
    address, _ = interface["data"]
    # Version 2 says nothing of streams: what most producers use is the default one.
    producer = interface.get("stream") if interface["version"] >= 3 else LEGACY_STREAM
    shape = tuple(interface["shape"])
    return _checked(frame, address, shape, interface.get("strides"), producer, None, frame)


def _checked(
    frame: object,
    address: int,
    shape: Shape,
    strides: Shape | None,
    producer: int | None,
    device: int | None,
    owner: object,
) -> GpuFrames:
    """strides: in elements, which are bytes; None for a contiguous array."""
    if len(shape) not in (3, 4) or shape[-1] != 3 or prod(shape) == 0:
        raise _unfit(frame, f"of shape {shape}")
    row_bytes = shape[-2] * 3
    if strides is None:
        strides = (shape[-3] * row_bytes, row_bytes, 3, 1)[-len(shape) :]
    pitch_bytes = strides[-3] if shape[-3] > 1 else row_bytes
    frame_bytes = shape[-3] * pitch_bytes
    apart = len(shape) == 4 and shape[0] > 1 and strides[0] != frame_bytes
    if strides[-2:] != (3, 1) or pitch_bytes < row_bytes or apart:
        raise _unfit(frame, f"with strides {strides}")
    batch = shape if len(shape) == 4 else (1, *shape)
    return GpuFrames(address, batch, pitch_bytes, producer, device, owner)


def _unfit(frame: object, found: str) -> InputError:
    return InputError(
        f"a {type(frame).__name__} {found} on the GPU; expected (H, W, 3) uint8 in BGR order, "
        "each row contiguous. Give frame.contiguous(), or a copy in that layout"
    )
