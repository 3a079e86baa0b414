"""Every stage against the one before it, on real images: PyTorch, FP32, FP16, INT8, engines.

FP16 is judged on a copy that rounds every tensor (see fp16_emulation), INT8 with ONNX Runtime's
integer kernels off: otherwise a CPU proves nothing about either.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from export.factory import Source, open_source
from export.int8.calibration import batch_of
from export.int8.sensitivity import Sample, labelled_samples, plain_samples
from export.to_onnx import NETWORK_ORDER
from export.verify.agreement import Agreement, Output
from export.verify.layer_drift import LayerReport, against_fp32, against_pytorch
from export.verify.served_stage import ServedStage
from export.verify.stage_files import stage_before, stage_files, stage_name
from export.verify.stages import EngineStage, OnnxStage, Stage, TorchStage
from export.verify.verdict import FAILED, NOT_RUN, Labelled, StageResult, judged
from refinenet.data.datasets import check_classes, open_dataset
from refinenet.evaluation.metrics import ConfusionMatrix
from refinenet.network import SegmentationNetwork
from runtime.card import Card, read_card, write_verification
from runtime.errors import DeployError, InputError
from runtime.files import existing_folder, sha256_of, written_whole
from runtime.frames import images_of
from runtime.normalization import Normalization
from runtime.resize import restore

LAYER_IMAGES = 4  # a layer that is broken is so on every image


@dataclass(frozen=True)
class VerifyOptions:
    """weights, factory: what was exported, as refinenet export takes them. images: a folder, or one
    file. data, dataset, split: labelled images instead, for mIoU. limit: at most so many images.
    untrained: judge scores instead of pixels. require_engine: an engine that this machine cannot
    run is a failure. model: the address of a served one of the files, a stage like the others."""

    folder: Path
    weights: str | None
    factory: str | None = None
    images: Path | None = None
    data: Path | None = None
    dataset: str = "camvid"
    split: str = "val"
    limit: int | None = None
    untrained: bool = False
    require_engine: bool = False
    model: str | None = None
    quiet: bool = False


def verify(options: VerifyOptions) -> list[StageResult]:
    """Compare every stage in a folder with the one before it, and note the result in each sidecar.

    Raises InputError if the folder holds no export of these weights, if images are missing, or if
    their labels have other classes.
    """
    source, files = _open_export(options)
    if options.require_engine and not any(path.suffix == ".engine" for path in files):
        raise InputError(f"{options.folder} holds no engine; run refinenet build first")
    card = read_card(files[0])
    samples = _samples(options, card)
    with ExitStack() as opened:
        stages, not_run = _open(files, source, opened)
        served = None
        if options.model is not None:
            served = ServedStage(options.model, files)
            opened.callback(served.close)
            stages[served.name] = served
        measured = _measure(stages, card, samples, options)
    results = []
    for path in files:
        name, before = stage_name(path), stage_before(stage_name(path))
        if name in not_run:
            status = FAILED if options.require_engine else NOT_RUN
            result = StageResult(name, before, status, not_run[name], {})
        else:
            result = _judged(name, measured, card, options)
        record = {"status": result.status, "against": result.against, "reason": result.reason}
        write_verification(path, record | result.measures)
        results.append(replace(result, sha256=sha256_of(path)))
    if served is not None:
        result = _judged(served.name, measured, card, options)
        results.append(replace(result, sha256=served.sha256))
    return results


def _judged(name: str, measured: _Measured, card: Card, options: VerifyOptions) -> StageResult:
    before, agreement = stage_before(name), measured.agreement[name]
    labelled = measured.against(before, name)
    result = judged(name, before, agreement, labelled, card, options.untrained)
    result.measures["images"] = measured.images
    return result


def inside(options: VerifyOptions, stage: str) -> LayerReport:
    """The layers of an ONNX stage against those of the stage before it, on the first few images.

    stage: fp32, fp16 or int8.
    """
    source, paths = _open_export(options)
    files = {stage_name(path): path for path in paths}
    card = read_card(files["fp32"])
    samples = _samples(options, card)[:LAYER_IMAGES]
    disable = options.quiet or None
    frames = (batch_of(read()[0], card) for read in tqdm(samples, "layers", disable=disable))
    if stage == "fp32":
        fed = _normalization(source, paths)
        return against_pytorch(files["fp32"], source.network, fed, frames)
    return against_fp32(files[stage], files["fp32"], frames)


def save_results(
    results: Sequence[StageResult], path: Path, command: str, layers: LayerReport | None = None
) -> None:
    """Write the results as JSON, with the command that repeats them; a layer's error that is not
    finite as null."""
    record: dict[str, Any] = {"command": command, "stages": [asdict(result) for result in results]}
    if layers is not None:
        record["layers"] = layers.record()
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(record, indent=2, allow_nan=False) + "\n", encoding="utf-8")


@dataclass
class _Measured:
    agreement: dict[str, Agreement]
    against_labels: dict[str, ConfusionMatrix]
    images: int = 0

    def against(self, before: str, name: str) -> Labelled | None:
        if not self.against_labels:
            return None
        matrices = self.against_labels
        return Labelled(matrices[name], matrices[before], matrices["pytorch"])


def _open_export(options: VerifyOptions) -> tuple[Source, list[Path]]:
    """What was exported, and the files of its export."""
    folder = existing_folder(options.folder)
    source = open_source(options.weights, options.factory)
    return source, stage_files(folder, source.sha256)


def _open(
    files: Sequence[Path], source: Source, opened: ExitStack
) -> tuple[dict[str, Stage], dict[str, str]]:
    """The stages by name, and why the engines among them that cannot run here cannot."""
    reference = TorchStage(source.network, _normalization(source, files))
    stages: dict[str, Stage] = {"pytorch": reference}
    not_run: dict[str, str] = {}
    for path in files:
        name = stage_name(path)
        try:
            stages[name] = EngineStage(path) if path.suffix == ".engine" else OnnxStage(path)
        except DeployError as error:
            if path.suffix != ".engine":
                raise
            not_run[name] = str(error).replace(path.name, "the engine")
        else:
            opened.callback(stages[name].close)
    return stages, not_run


def _normalization(source: Source, files: Sequence[Path]) -> Normalization:
    """What PyTorch's network is fed: what its weights' card says. A network of the user's has no
    weights with a card; the card that it was exported with travels in the export."""
    if isinstance(source.network, SegmentationNetwork):
        return source.card.normalization
    card = read_card(files[0])
    return Normalization(card.mean, card.std, card.details.get(NETWORK_ORDER, "RGB"))


def _measure(
    stages: dict[str, Stage], card: Card, samples: Sequence[Sample], options: VerifyOptions
) -> _Measured:
    num_classes = len(card.classes)
    measured = _Measured(
        {name: Agreement(num_classes) for name in stages if name != "pytorch"},
        {name: ConfusionMatrix(num_classes) for name in stages} if options.data else {},
    )
    disable = options.quiet or None  # None: shown on a terminal only
    for read in tqdm(samples, desc="verify", unit="image", disable=disable):
        frame, label = read()
        frames = batch_of(frame, card)
        outputs: dict[str, Output] = {name: stage(frames) for name, stage in stages.items()}
        for name, agreement in measured.agreement.items():
            agreement.add(outputs[stage_before(name)], outputs[name])
        if label is not None:
            for name, matrix in measured.against_labels.items():
                matrix.add(label, restore(outputs[name].mask, frame.shape[:2], card))
        measured.images += 1
    return measured


def _samples(options: VerifyOptions, card: Card) -> list[Sample]:
    """The images to compare on, not read yet, so that wrong paths are found before the work."""
    if options.data is not None:
        labelled = open_dataset(options.dataset, options.data, options.split)
        check_classes(labelled, options.dataset, card, options.folder)
        return labelled_samples(labelled)[: options.limit]
    if options.images is None:
        raise InputError("no images to compare on; give --images, or --data with labels")
    return plain_samples(images_of(options.images))[: options.limit]
