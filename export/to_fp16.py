"""FP32 ONNX to FP16 ONNX: the precision lies in the file, since strongly typed networks know no
other place for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16

from export.to_onnx import save
from runtime.card import read_card
from runtime.errors import InputError
from runtime.files import existing_file, sha256_of

FP16_MAX = 65504.0


def to_fp16(fp32_path: Path, output: Path) -> Path:
    """Write the FP16 form of an FP32 ONNX file, with its card; the frames and masks stay uint8.

    Raises InputError if a weight is too large for FP16.
    """
    fp32_path = existing_file(fp32_path)
    card = replace(
        read_card(fp32_path), precision="fp16", parents={"fp32.onnx": sha256_of(fp32_path)}
    )
    save(half(onnx.load(fp32_path)), output, card)
    return output


def half(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with every float32 tensor in FP16, Resize's scales aside (they must stay float32).

    op_block_list is empty because TensorRT runs all of these operators in FP16; the converter's
    own list is for ONNX Runtime's CPU kernels.

    Raises InputError if a constant is too large for FP16: the converter would clip it.
    """
    _check_constants(model.graph)
    converted: onnx.ModelProto = convert_float_to_float16(model, op_block_list=[])
    return converted


def _check_constants(graph: onnx.GraphProto) -> None:
    for tensor in graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        largest = np.abs(onnx.numpy_helper.to_array(tensor)).max(initial=0)
        if not largest <= FP16_MAX:  # NaN included
            raise InputError(
                f"{tensor.name} reaches {largest:g}, and FP16 ends at {FP16_MAX:g}; "
                "leave fp16 and int8 out, or train with weight decay"
            )
