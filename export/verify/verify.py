"""Every stage against the one before it, on real images: PyTorch, FP32, FP16, INT8, engines.

FP16 is judged on a copy that rounds every tensor (see fp16_emulation), INT8 with ONNX Runtime's
integer kernels off: otherwise a CPU proves nothing about either.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from export.checks.fixed_lines import SMALLEST
from export.checks.scores import gives_ids
from export.factory import Source, open_network, read_source
from export.frame_model import network_card
from export.int8.calibration import batch_of
from export.int8.sensitivity import Sample, labelled_samples, plain_samples
from export.to_onnx import WEIGHTS_KEY, example_size
from export.verify.agreement import Agreement, Output
from export.verify.layer_drift import LayerReport, against_fp32, against_pytorch
from export.verify.served_stage import ServedStage
from export.verify.stage_files import stage_before, stage_files, stage_name
from export.verify.stages import EngineStage, OnnxStage, Stage, TorchStage
from export.verify.verdict import FAILED, NOT_RUN, Labelled, StageResult, judged
from refinenet.checkpoints.load import weights_path
from refinenet.data.datasets import check_classes, open_dataset
from refinenet.evaluation.metrics import ConfusionMatrix
from runtime.card import Card, read_card, read_card_file, write_verification
from runtime.errors import DeployError, InputError
from runtime.files import existing_folder, sha256_of, written_whole
from runtime.frames import Frame, images_of
from runtime.normalization import Normalization
from runtime.resize import restore

LAYER_IMAGES = 4  # a layer that is broken is so on every image
# Where a file takes any size, so many images are compared at this part of their size too.
FURTHER_IMAGES, FURTHER_SIZE = 4, 0.7


@dataclass(frozen=True)
class VerifyOptions:
    """weights, factory: what was exported, as refinenet export takes them.

    card: what the network of a factory is fed, in place of what the export says.
    images: a folder, or one file. data, dataset, split: labelled images instead, for mIoU.
    limit: at most so many images. untrained: judge scores instead of pixels.
    require_engine: an engine that this machine cannot run is a failure.
    model: the address of a served one of the files, a stage like the others.
    """

    folder: Path
    weights: str | None
    factory: str | None = None
    card: Path | None = None
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
        stages, not_run = _open(files, source, options.card, opened)
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
    result.measures["sizes"] = sorted(measured.sizes.get(name, ()))
    if name in measured.not_compared:
        result.measures["second_size"] = measured.not_compared[name]
    return result


def inside(options: VerifyOptions, stage: str) -> LayerReport:
    """The layers of an ONNX stage against those of the stage before it, on the first few images.

    stage: fp32, fp16, bf16 or int8.
    """
    source, paths = _open_export(options)
    files = {stage_name(path): path for path in paths}
    card = read_card(files["fp32"])
    if gives_ids(source.network):
        raise InputError(
            f"{source.name} gives class ids; --layers needs a network that gives scores"
        )
    samples = _samples(options, card)[:LAYER_IMAGES]
    disable = options.quiet or None
    frames = (batch_of(read()[0], card) for read in tqdm(samples, "layers", disable=disable))
    if stage == "fp32":
        fed = _normalization(source, paths, options.card)
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
    """sizes: at which each stage was compared. not_compared: of the stages that did not take the
    second size, what they said."""

    agreement: dict[str, Agreement]
    against_labels: dict[str, ConfusionMatrix]
    images: int = 0
    sizes: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    not_compared: dict[str, str] = field(default_factory=dict)

    def against(self, before: str, name: str) -> Labelled | None:
        if not self.against_labels:
            return None
        matrices = self.against_labels
        return Labelled(matrices[name], matrices[before], matrices["pytorch"])


def _open_export(options: VerifyOptions) -> tuple[Source, list[Path]]:
    """What was exported, and the files of its export."""
    folder = existing_folder(options.folder)
    if options.weights is None:
        opened = open_network(None, options.factory)
        files = stage_files(folder, opened.sha256)
        card = read_card(files[0])
    else:
        files = stage_files(folder, sha256_of(weights_path(options.weights)))
        card = read_card(files[0])
        key = card.details.get(WEIGHTS_KEY)
        variant = card.variant if options.factory is None else None  # keys do not always tell
        opened = open_network(
            options.weights, options.factory, variant=variant, weights_key=key and str(key)
        )
    source = read_source(opened, card, example_size(card), (card.input_shape or (1,))[0] or 1)
    return source, files


def _open(
    files: Sequence[Path], source: Source, card_file: Path | None, opened: ExitStack
) -> tuple[dict[str, Stage], dict[str, str]]:
    """The stages by name, and why the engines among them that cannot run here cannot."""
    reference = TorchStage(source.network, _normalization(source, files, card_file))
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


def _normalization(source: Source, files: Sequence[Path], card_file: Path | None) -> Normalization:
    """What PyTorch's network is fed: what its weights' card says. A network of the user's has no
    weights with a card: what --card says, or what the card says that it was exported with."""
    card = read_card(files[0])
    if card_file is not None:
        given = read_card_file(card_file)
        if given.classes != card.classes and len(given.classes) > 1:
            raise InputError(
                f"{card_file} names other classes than {files[0].name} was exported with; "
                "export again with this card"
            )
        return network_card(given).normalization
    if "factory" not in card.details:
        return source.card.normalization
    return network_card(card).normalization


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
        outputs = _compare(stages, batch_of(frame, card), measured)
        if label is not None:
            for name, matrix in measured.against_labels.items():
                matrix.add(label, restore(outputs[name].mask, frame.shape[:2], card))
        if measured.images < FURTHER_IMAGES and (smaller := _smaller(frame, card)) is not None:
            _compare(stages, smaller, measured, further=True)
        measured.images += 1
    return measured


def _compare(
    stages: dict[str, Stage], frames: Frame, measured: _Measured, *, further: bool = False
) -> dict[str, Output]:
    """Run every stage on the frames and add how each differs from the one before it.

    further: at another size than the image's own, which an engine's profile need not hold.
    """
    outputs: dict[str, Output] = {}
    for name, stage in stages.items():
        try:
            outputs[name] = stage(frames)
        except DeployError as error:
            if not (further and isinstance(stage, EngineStage | ServedStage)):
                raise
            measured.not_compared.setdefault(name, str(error))
    for name, agreement in measured.agreement.items():
        if name in outputs and stage_before(name) in outputs:
            agreement.add(outputs[stage_before(name)], outputs[name])
            measured.sizes[name].add(f"{frames.shape[1]}x{frames.shape[2]}")
    return outputs


def _smaller(frame: Frame, card: Card) -> Frame | None:
    """The frame at another size, (1, H, W, 3), where the file takes any; None where it has one."""
    height, width = (round(FURTHER_SIZE * side) for side in frame.shape[:2])
    if card.frame_size is not None or min(height, width) < SMALLEST:
        return None
    smaller = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
    return batch_of(np.asarray(smaller, np.uint8), card)


def _samples(options: VerifyOptions, card: Card) -> list[Sample]:
    """The images to compare on, not read yet, so that wrong paths are found before the work."""
    if options.data is not None:
        labelled = open_dataset(options.dataset, options.data, options.split)
        check_classes(labelled, options.dataset, card, options.folder)
        return labelled_samples(labelled)[: options.limit]
    if options.images is None:
        raise InputError("no images to compare on; give --images, or --data with labels")
    return plain_samples(images_of(options.images))[: options.limit]
