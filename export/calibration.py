"""Activation ranges for INT8: how large the inputs of the convolutions get on real images.

A range is keyed by the name of the convolution's weight (network.blocks.0.pool.convs.1.weight):
that name is the network's own and stays the same at every size and in every export.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from tqdm import tqdm

from export.to_onnx import INPUT
from runtime.card import read_card
from runtime.errors import InputError
from runtime.files import existing_file, sha256_of, written_whole
from runtime.frames import read_frame
from runtime.resize import fit

SAMPLES_PER_TENSOR = 2**16


@dataclass(frozen=True)
class Ranges:
    """Symmetric ranges: an activation lies in [-limit, limit].

    limits: by the name of the convolution's weight. method: max or percentile-P. images: the folder
    that they were measured on, by name. image_count and images_sha256: which of its images (the
    hash of the images' hashes, in order).
    """

    method: str
    images: str
    image_count: int
    images_sha256: str
    limits: Mapping[str, float]


def collect_ranges(
    fp32_path: Path, images: Sequence[Path], percentile: float = 99.99, quiet: bool = False
) -> Ranges:
    """Run the FP32 graph over images and measure the inputs of its convolutions.

    percentile: the share of values, in percent, that must lie in the range; 100 takes the largest.
    Values beyond are clipped: a few outliers must not cost all others their resolution.

    One image is held at a time, and of each tensor a fixed number of evenly spread values, whose
    percentile is averaged over the images; the time and memory of each image do not grow.
    """
    if not 50 < percentile <= 100:
        raise InputError(f"percentile {percentile}; expected above 50, up to 100")
    if not images:
        raise InputError("no images to calibrate on; give a folder that holds some")
    fp32_path = existing_file(fp32_path)
    card = read_card(fp32_path)
    model = onnx.load(fp32_path)
    inputs = convolution_inputs(model)
    session = _session_with_outputs(model, sorted(set(inputs.values())))
    names = [output.name for output in session.get_outputs()]
    limits: dict[str, list[float]] = {name: [] for name in names}
    for path in tqdm(images, desc="calibration", unit="image", disable=quiet or None):
        frame = fit(read_frame(path), card)
        for name, values in zip(names, session.run(names, {INPUT: frame[None]}), strict=True):
            limits[name].append(_limit(values, percentile))
    combine = np.max if percentile == 100 else np.mean
    return Ranges(
        method="max" if percentile == 100 else f"percentile-{percentile:g}",
        images="/".join(images[0].absolute().parts[-4:-1]),
        image_count=len(images),
        images_sha256=_hash_of_files(images),
        limits={weight: float(combine(limits[tensor])) for weight, tensor in inputs.items()},
    )


def convolution_inputs(model: onnx.ModelProto) -> dict[str, str]:
    """The input tensor of every convolution, by the name of its weight."""
    return {node.input[1]: node.input[0] for node in model.graph.node if node.op_type == "Conv"}


def save_ranges(ranges: Ranges, path: Path) -> None:
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(asdict(ranges), indent=1) + "\n", encoding="utf-8")


def load_ranges(path: Path) -> Ranges:
    """Ranges from their JSON file; InputError if it holds anything else."""
    try:
        content = json.loads(existing_file(path).read_text(encoding="utf-8"))
        ranges = Ranges(**content | {"limits": {k: float(v) for k, v in content["limits"].items()}})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"{path} holds no activation ranges ({error}); collect them anew"
        ) from error
    broken = [name for name, limit in ranges.limits.items() if not 0 <= limit < float("inf")]
    if broken:
        raise InputError(f"{path}: the range of {broken[0]} is {ranges.limits[broken[0]]}")
    return ranges


def shipped_ranges(weights: Path) -> Path:
    """Where ranges lie that ship with weights: NAME.ranges.json beside NAME.safetensors."""
    return weights.with_name(f"{weights.stem}.ranges.json")


def _limit(values: NDArray[np.float32], percentile: float) -> float:
    if percentile == 100:
        return float(np.abs(values).max())
    flat = values.reshape(-1)
    # An odd stride, so that the sample walks through columns and channels alike.
    stride = max(1, flat.size // SAMPLES_PER_TENSOR) | 1
    return float(np.percentile(np.abs(flat[::stride]), percentile))


def _session_with_outputs(
    model: onnx.ModelProto, tensors: Iterable[str]
) -> onnxruntime.InferenceSession:
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    probe.graph.output.extend(onnx.ValueInfoProto(name=tensor) for tensor in tensors)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        probe.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _hash_of_files(paths: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for file_hash in _hashes(paths):
        digest.update(bytes.fromhex(file_hash))
    return digest.hexdigest()


def _hashes(paths: Sequence[Path]) -> Iterator[str]:
    return (sha256_of(path) for path in paths)
