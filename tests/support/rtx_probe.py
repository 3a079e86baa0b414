"""Does TensorRT-RTX run on this GPU? NVIDIA lists few compute capabilities, and 9.0 is none."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tiny_models import brightest_channel, untied, write_model

from export.to_engine import EngineOptions, to_engine
from runtime import Segmenter, tensorrt_api

SHAPE = (1, 64, 64, 3)
# As TensorRT-RTX 1.7 words it, EngineInvalidityDiagnostics, and set_compute_capability's False.
UNSUPPORTED = re.compile(
    "compute capability|SM version|GPU architecture|UNSUPPORTED_CC|refuses the target", re.I
)


@dataclass(frozen=True)
class RtxAnswers:
    """What became of a tiny convolution on this GPU: empty where its mask was right, else why not.

    portable: built for every GPU that TensorRT-RTX supports, as our engines are. current: for this
    GPU alone.
    """

    portable: str
    current: str

    @property
    def unsupported(self) -> bool:
        """Whether TensorRT-RTX itself says that portable engines do not run on such a GPU."""
        return UNSUPPORTED.search(self.portable) is not None


def ask_rtx(folder: Path) -> RtxAnswers:
    """Build, load and run both. folder: for their files."""
    return RtxAnswers(_answer(folder / "portable", ()), _answer(folder / "current", ("current",)))


def _answer(folder: Path, targets: tuple[str, ...]) -> str:
    folder.mkdir()
    onnx_file = write_model(folder / "toy.fp32.onnx", SHAPE, convolved=True)
    frame = untied(np.random.default_rng(0).integers(0, 256, SHAPE[1:], np.uint8))
    engine_file = folder / "toy.fp32.rtx.engine"
    try:
        to_engine(onnx_file, EngineOptions(runtime="rtx", targets=targets, quiet=True))
        with Segmenter.open(engine_file) as segmenter:
            mask = segmenter(frame)
    except Exception as error:  # whatever it is, it is the answer
        return f"{error}{_verdict(engine_file) if engine_file.exists() else ''}"
    return "" if np.array_equal(mask, brightest_channel(frame)) else "the mask is wrong"


def _verdict(engine_file: Path) -> str:
    """TensorRT-RTX's verdict on the file and all that it logs: of a failure to load, the last of
    several messages is all that our error has."""
    trt = tensorrt_api.load("rtx")
    logger = tensorrt_api.make_logger(trt)
    runtime = tensorrt_api.made(trt, trt.module.Runtime, logger)
    validity, reasons = runtime.get_engine_validity(engine_file.read_bytes())
    members = trt.module.EngineInvalidityDiagnostics.__members__.items()
    named = [name for name, bit in members if int(bit) & reasons]
    runtime.deserialize_cuda_engine(engine_file.read_bytes())
    said = " | ".join(" ".join(message.split()) for message in logger.errors)
    return f" [{' '.join([validity.name, *named])}; {said}]"
