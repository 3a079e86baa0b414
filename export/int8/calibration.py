"""Activation ranges for INT8: how large the inputs of the convolutions get on real images."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from os.path import commonpath
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from tqdm import tqdm

from export.frame_model import INPUT
from export.int8.histograms import Histogram, Method
from export.onnx_file import outline
from refinenet.activation_ranges import Ranges
from runtime.card import Card, read_card
from runtime.errors import InputError
from runtime.files import existing_file, sha256_of
from runtime.frames import Frame, read_frame
from runtime.resize import fit

DEFAULT_METHOD = Method()


def collect_ranges(
    fp32_path: Path, images: Sequence[Path], method: Method = DEFAULT_METHOD, quiet: bool = False
) -> Ranges:
    """Run the FP32 graph over images and measure the inputs of its convolutions.

    One image is held at a time, and a histogram of fixed size per tensor: memory does not grow with
    the number of images.

    Raises InputError without images, or if an activation is not finite.
    """
    if not images:
        raise InputError("no images to calibrate on; give a folder that holds some")
    file = existing_file(fp32_path).resolve()  # ONNX Runtime follows no link out of a folder
    card = read_card(fp32_path)
    model = outline(file)
    inputs = convolution_inputs(model)
    names = sorted(set(inputs.values()))
    session = session_with_outputs(model, names, file.parent)
    histograms = {name: Histogram() for name in names}
    for path in tqdm(images, desc="calibration", unit="image", disable=quiet or None):
        outputs = run_on(session, names, frame_batch(path, card), str(path))
        for name, values in zip(names, outputs, strict=True):
            try:
                histograms[name].add(values)
            except ValueError as error:
                raise InputError(f"{path}: the activation {name} is {error}") from error
    limits = {name: method.limit(histogram) for name, histogram in histograms.items()}
    folder = Path(commonpath([path.absolute().parent for path in images]))
    return Ranges(
        method=str(method),
        images="/".join(folder.parts[-3:]),
        image_count=len(images),
        images_sha256=_hash_of_files(images),
        limits={weight: limits[tensor] for weight, tensor in inputs.items()},
        image_names=tuple(path.absolute().relative_to(folder).as_posix() for path in images),
    )


def convolution_inputs(model: onnx.ModelProto) -> dict[str, str]:
    """The input tensor of every convolution, by the name of its weight."""
    return {node.input[1]: node.input[0] for node in model.graph.node if node.op_type == "Conv"}


def frame_batch(path: Path, card: Card) -> Frame:
    """The image as the graph takes it; see batch_of."""
    return batch_of(read_frame(path), card)


def batch_of(frame: Frame, card: Card) -> Frame:
    """The frame at the graph's size, (N, H, W, 3); a fixed batch holds it N times."""
    batch = (card.input_shape or (1,))[0] or 1
    return np.repeat(fit(frame, card)[None], batch, axis=0)


def session_with_outputs(
    model: onnx.ModelProto, tensors: Iterable[str], folder: Path | None = None
) -> onnxruntime.InferenceSession:
    """The graph on the CPU, with these tensors as its outputs.

    folder: of the file that holds the weights, if the model is an outline.

    Q/DQ pairs are computed as they stand: the CPU's integer kernels round in another way than
    TensorRT's.
    """
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    probe.graph.output.extend(onnx.ValueInfoProto(name=tensor) for tensor in tensors)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what fails is raised, and need not be printed too
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    # Threads that spin while they wait take the cores from whatever else runs here.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # It would set memory for a whole run aside, beside what the first run has taken.
    options.enable_mem_pattern = False
    if folder is not None:
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(folder)
        )
    return onnxruntime.InferenceSession(
        probe.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def run_on(
    session: onnxruntime.InferenceSession,
    outputs: Sequence[str] | None,
    frames: Frame,
    source: str,
    further: Mapping[str, NDArray[Any]] = MappingProxyType({}),
) -> list[NDArray[Any]]:
    """What the graph gives for frames, (N, H, W, 3) uint8; InputError if it does not take them.

    source: where the frames come from, for the message. further: inputs beside the frames.
    """
    try:
        results: list[NDArray[Any]] = session.run(outputs, {INPUT: frames, **further})
    except Exception as error:  # ONNX Runtime's errors have no base of their own
        height, width = frames.shape[1:3]
        reason = " ".join(str(error).rpartition("Status Message: ")[2].split())[:200].rstrip(".")
        raise InputError(
            f"{source}: the graph cannot take a frame of {height}x{width} ({reason}); give images "
            "of another size, or export for one size, without --dynamic"
        ) from error
    return results


def _hash_of_files(paths: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(bytes.fromhex(sha256_of(path)))
    return digest.hexdigest()
