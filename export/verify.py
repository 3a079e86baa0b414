"""Every stage against the one before it, on real images: PyTorch, FP32, FP16, INT8, engines.

FP16 is judged on a copy that rounds every tensor (see fp16_emulation), INT8 with ONNX Runtime's
integer kernels off: otherwise a CPU proves nothing about either.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn
from tqdm import tqdm

from export.agreement import Agreement, Output
from export.fp16_emulation import rounded_to_fp16
from export.frame_model import FrameModel
from export.to_onnx import INPUT, LOGITS
from refinenet.checkpoints import load_checkpoint, weights_path
from refinenet.data.datasets import open_dataset
from refinenet.metrics import ConfusionMatrix
from runtime.card import Card, check_hash, read_card, write_verification
from runtime.errors import DeployError, InputError
from runtime.files import existing_folder, sha256_of, written_whole
from runtime.frames import Frame, Mask, images_of, read_frame
from runtime.resize import fit, restore

PASSED, FAILED, NOT_RUN = "passed", "FAILED", "NOT RUN"


@dataclass(frozen=True)
class Gate:
    """What a stage must reach.

    pixels: the share of pixels equal to the stage before. miou_loss: in points, with labels.
    largest_error: of the scores, in standard deviations, trained or not. untrained_rms_error: of
    the scores, instead of the pixels, where the weights are untrained and their classes close.
    """

    pixels: float
    miou_loss: float
    largest_error: float = float("inf")
    untrained_rms_error: float = float("inf")


GATES = MappingProxyType(
    {
        "fp32": Gate(pixels=0.9999, miou_loss=0.1, largest_error=1e-4),
        "fp16": Gate(pixels=0.995, miou_loss=0.1, untrained_rms_error=1e-2),
        "int8": Gate(pixels=0.98, miou_loss=1.0, untrained_rms_error=5e-2),
    }
)


@dataclass(frozen=True)
class VerifyOptions:
    """images: a folder, or one file. data, dataset, split: labelled images instead, for mIoU.
    limit: at most so many images. untrained: judge scores instead of pixels.
    require_engine: an engine that this machine cannot run is a failure."""

    folder: Path
    weights: str
    images: Path | None = None
    data: Path | None = None
    dataset: str = "camvid"
    split: str = "val"
    limit: int | None = None
    untrained: bool = False
    require_engine: bool = False
    quiet: bool = False


@dataclass(frozen=True)
class StageResult:
    """One line of the report. reason: why a stage failed or was not run."""

    name: str
    against: str
    status: str
    reason: str
    measures: dict[str, Any]


# Reads an image and, where there is one, its label.
Sample = Callable[[], tuple[Frame, Mask | None]]


class Stage(Protocol):
    """Frames, (N, H, W, 3) uint8, to what the stage makes of the first of them."""

    def __call__(self, frames: Frame) -> Output: ...


class TorchStage:
    def __init__(self, network: nn.Module, card: Card) -> None:
        self._model = FrameModel(network, card, "logits").eval()

    def __call__(self, frames: Frame) -> Output:
        with torch.inference_mode():
            scores = self._model(torch.from_numpy(frames))[0].numpy()
        return Output(scores.argmax(0).astype(np.uint8), scores)


class OnnxStage:
    """An ONNX file on the CPU, with its scores laid open and its precision made real."""

    def __init__(self, path: Path) -> None:
        model = rounded_to_fp16(onnx.load(path))
        scores = _scores_tensor(model)
        if scores not in {output.name for output in model.graph.output}:
            model.graph.output.append(onnx.ValueInfoProto(name=scores))
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self._scores = scores

    def __call__(self, frames: Frame) -> Output:
        (scores,) = self._session.run([self._scores], {INPUT: frames})
        return Output(scores[0].argmax(0).astype(np.uint8), scores[0])


class EngineStage:
    def __init__(self, path: Path) -> None:
        from runtime.engine import Engine  # CUDA's bindings need not be installed to verify ONNX

        self._engine = Engine.open(path)

    def __call__(self, frames: Frame) -> Output:
        result = self._engine(frames)[0]
        if self._engine.output_kind == "mask":
            return Output(result.copy(), None)
        return Output(result.argmax(0).astype(np.uint8), result.astype(np.float32))


def verify(options: VerifyOptions) -> list[StageResult]:
    """Compare every stage in a folder with the one before it, and note the result in each sidecar.

    Raises InputError if the folder holds no export of these weights, or images are missing.
    """
    weights = weights_path(options.weights)
    files = stage_files(existing_folder(options.folder), sha256_of(weights))
    if options.require_engine and not any(path.suffix == ".engine" for path in files):
        raise InputError(f"{options.folder} holds no engine; run refinenet build first")
    network, _ = load_checkpoint(weights)
    card = read_card(files[0])
    samples = _samples(options)
    stages: dict[str, Stage] = {"pytorch": TorchStage(network, card)}
    not_run: dict[str, str] = {}
    for path in files:
        try:
            stages[_name(path)] = EngineStage(path) if path.suffix == ".engine" else OnnxStage(path)
        except DeployError as error:
            if path.suffix != ".engine":
                raise
            not_run[_name(path)] = str(error).replace(path.name, "the engine")
    measured = _measure(stages, card, samples, options)
    results = [_judge(path, card, measured, not_run, options) for path in files]
    for path, result in zip(files, results, strict=True):
        record = {"status": result.status, "against": result.against, "reason": result.reason}
        write_verification(path, record | result.measures)
    return results


def save_results(results: Sequence[StageResult], path: Path, command: str) -> None:
    """Write the results as JSON, with the command that repeats them."""
    record = {"command": command, "stages": [asdict(result) for result in results]}
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def stage_files(folder: Path, weights_hash: str) -> list[Path]:
    """The exports of these weights in the folder, in the order of the path.

    Raises InputError if there is none, or if one was made from another file than the one beside it;
    EngineMismatch if an engine is not the file that its sidecar describes.
    """
    for fp32 in sorted(folder.glob("*.fp32.onnx")):
        if read_card(fp32).parents.get("weights") == weights_hash:
            break
    else:
        raise InputError(
            f"{folder} holds no .fp32.onnx exported from these weights; run refinenet export first"
        )
    name = fp32.name.removesuffix(".fp32.onnx")
    onnx_files = [
        path for precision in GATES if (path := folder / f"{name}.{precision}.onnx").exists()
    ]
    fp32_hash = sha256_of(fp32)
    for path in onnx_files[1:]:
        if read_card(path).parents.get("fp32.onnx") != fp32_hash:
            raise InputError(f"{path} was not made from {fp32.name} beside it; export again")
    engines = []
    for path in onnx_files:
        for engine in sorted(folder.glob(f"{path.stem}.*.engine")):
            if check_hash(engine).card.parents.get("onnx") != sha256_of(path):
                raise InputError(f"{engine} was not built from {path.name} beside it; build again")
            engines.append(engine)
    return onnx_files + engines


def _name(path: Path) -> str:
    """fp16 for street.fp16.onnx, fp16.rtx for street.fp16.rtx.engine."""
    parts = path.name.split(".")
    return ".".join(parts[-3:-1]) if path.suffix == ".engine" else parts[-2]


def _before(name: str) -> str:
    """FP32 follows PyTorch, FP16 and INT8 are made from FP32, an engine from its ONNX file."""
    if "." in name:
        return name.split(".")[0]
    return "pytorch" if name == "fp32" else "fp32"


@dataclass
class _Measured:
    agreement: dict[str, Agreement]
    against_labels: dict[str, ConfusionMatrix]
    images: int


def _measure(
    stages: dict[str, Stage], card: Card, samples: Sequence[Sample], options: VerifyOptions
) -> _Measured:
    num_classes = len(card.classes)
    measured = _Measured(
        {name: Agreement(num_classes) for name in stages if name != "pytorch"},
        {name: ConfusionMatrix(num_classes) for name in stages} if options.data else {},
        0,
    )
    batch = (card.input_shape or (1,))[0] or 1
    disable = options.quiet or None  # None: shown on a terminal only
    for read in tqdm(samples, desc="verify", unit="image", disable=disable):
        frame, label = read()
        frames = np.repeat(fit(frame, card)[None], batch, axis=0)
        outputs = {name: stage(frames) for name, stage in stages.items()}
        for name, agreement in measured.agreement.items():
            agreement.add(outputs[_before(name)], outputs[name])
        if label is not None:
            for name, matrix in measured.against_labels.items():
                matrix.add(label, restore(outputs[name].mask, frame.shape[:2], card))
        measured.images += 1
    return measured


def _samples(options: VerifyOptions) -> list[Sample]:
    """The images to compare on, not read yet, so that wrong paths are found before the work."""
    if options.data is not None:
        labelled = open_dataset(options.dataset, options.data, options.split)
        chosen = range(len(labelled))[: options.limit]
        return [partial(labelled.read, index) for index in chosen]
    if options.images is None:
        raise InputError("no images to compare on; give --images, or --data with labels")
    return [partial(_unlabelled, path) for path in images_of(options.images)[: options.limit]]


def _unlabelled(path: Path) -> tuple[Frame, Mask | None]:
    return read_frame(path), None


def _judge(
    path: Path,
    card: Card,
    measured: _Measured,
    not_run: dict[str, str],
    options: VerifyOptions,
) -> StageResult:
    name = _name(path)
    if name in not_run:
        status = FAILED if options.require_engine else NOT_RUN
        return StageResult(name, _before(name), status, not_run[name], {})
    agreement, gate = measured.agreement[name], GATES[name.split(".")[0]]
    measures = agreement.report(card.classes) | {"images": measured.images}
    problems = _problems(agreement, gate, options.untrained)
    if measured.against_labels:
        iou = {stage: matrix.mean_iou for stage, matrix in measured.against_labels.items()}
        loss = 100 * (iou[_before(name)] - iou[name])
        measures |= {"miou": iou[name], "miou_of_pytorch": iou["pytorch"], "miou_loss_points": loss}
        if not loss <= gate.miou_loss:  # NaN is no pass
            problems.append(f"loses {loss:.2f} points of mIoU (at most {gate.miou_loss})")
    status = FAILED if problems else PASSED
    return StageResult(name, _before(name), status, "; ".join(problems), measures)


def _problems(agreement: Agreement, gate: Gate, untrained: bool) -> list[str]:
    problems = []
    largest, rms = agreement.largest_error, agreement.rms_error
    if largest is not None and not largest <= gate.largest_error:
        problems.append(f"scores differ by {largest:.1e} deviations (at most {gate.largest_error})")
    if largest is not None and not np.isfinite(largest):
        problems.append("scores are not finite: a value overflows")
    if untrained and rms is not None:
        if not rms <= gate.untrained_rms_error:
            problems.append(
                f"scores differ by {rms:.1e} deviations RMS (at most {gate.untrained_rms_error})"
            )
    elif agreement.pixels < gate.pixels:
        problems.append(f"{agreement.pixels:.3%} of pixels agree (at least {gate.pixels:.2%})")
    return problems


def _scores_tensor(model: onnx.ModelProto) -> str:
    """The input of the last ArgMax, or the output of a file of scores."""
    for node in reversed(model.graph.node):
        if node.op_type == "ArgMax":
            name: str = node.input[0]
            return name
    if model.graph.output[0].name == LOGITS:
        return LOGITS
    raise InputError("the graph has no ArgMax; expected a frame-to-mask export")
