"""Verification passes what is right, and names the first stage of what is broken."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from graphs import adopt, agreement, edit, nodes, run
from numpy.typing import NDArray
from planted_faults import break_fp32, one_bad_scale, plant_overflow, wrong_mean
from torch import nn

from export.verify.gates import GATES
from export.verify.stage_files import stage_files
from export.verify.verdict import FAILED, NOT_RUN, PASSED, StageResult
from export.verify.verify import VerifyOptions, verify
from refinenet.checkpoints.load import save_checkpoint
from runtime.card import Card, read_sidecar, sidecar_path
from runtime.errors import EngineMismatch, InputError
from runtime.files import sha256_of
from runtime.tensorrt_api import gpu_present

PIXELS = 120 * 160  # of a frame of the exports
without_a_gpu = pytest.mark.skipif(gpu_present(), reason="this machine can run the engines")


@pytest.fixture
def options(folder: Path, weights: Path, photo: Path) -> VerifyOptions:
    """A copy of the exports, compared on the photo."""
    return VerifyOptions(folder, str(weights), images=photo, quiet=True)


def statuses(results: list[StageResult]) -> dict[str, str]:
    return {result.name: result.status for result in results}


def first_failure(results: list[StageResult]) -> StageResult:
    return next(result for result in results if result.status == FAILED)


# What passes


@pytest.fixture(scope="session")
def verified(
    built: Path, weights: Path, photo: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[StageResult]]:
    """The real exports and their engines, untouched, compared on the photo."""
    folder = Path(shutil.copytree(built, tmp_path_factory.mktemp("verified") / "street"))
    return folder, verify(VerifyOptions(folder, str(weights), images=photo, quiet=True))


def test_the_real_export_passes_on_real_streets(options: VerifyOptions, camvid: Path) -> None:
    results = verify(replace(options, images=camvid / "images/val", limit=2))
    assert statuses(results) == {"fp32": PASSED, "fp16": PASSED, "int8": PASSED}
    assert [result.against for result in results] == ["pytorch", "fp32", "fp32"]
    assert all(result.measures["images"] == 2 for result in results)


def test_the_gates_are_those_of_the_design() -> None:
    assert {name: (gate.pixels, gate.miou_loss) for name, gate in GATES.items()} == {
        "fp32": (0.9999, 0.1),
        "fp16": (0.995, 0.1),
        "bf16": (0.995, 0.1),
        "int8": (0.98, 1.0),
    }
    assert GATES["fp32"].largest_error == 1e-4
    assert (GATES["fp16"].untrained_rms_error, GATES["int8"].untrained_rms_error) == (1e-2, 5e-2)


def test_the_verdict_lands_in_the_sidecars(verified: tuple[Path, list[StageResult]]) -> None:
    folder, results = verified
    for result in results[:3]:
        path = folder / f"street.{result.name}.onnx"
        sidecar = read_sidecar(path)
        assert sidecar is not None
        assert sidecar.verification["status"] == result.status == PASSED
        assert sidecar.verification["pixel_agreement"] == result.measures["pixel_agreement"]
        assert sidecar.sha256 == sha256_of(path)


# What fails


def test_plain_onnx_runtime_would_let_the_overflow_pass(
    folder: Path, small_photo: NDArray[np.uint8]
) -> None:
    break_fp32(folder, plant_overflow)
    fp16, fp32 = (run(folder / f"street.{p}.onnx", small_photo) for p in ("fp16", "fp32"))
    assert agreement(fp16, fp32) > 0.98


def test_untrained_weights_are_judged_by_their_scores(options: VerifyOptions) -> None:
    edit(options.folder / "street.int8.onnx", one_bad_scale)
    results = verify(replace(options, untrained=True))
    assert statuses(results) == {"fp32": PASSED, "fp16": PASSED, "int8": FAILED}
    assert "deviations RMS (at most 0.05)" in first_failure(results).reason
    assert "of pixels agree" not in first_failure(results).reason
    sidecar = read_sidecar(options.folder / "street.int8.onnx")
    assert sidecar is not None
    assert sidecar.verification["status"] == FAILED


def test_with_labels_a_loss_of_accuracy_is_told(
    options: VerifyOptions, camvid: Path, card: Card
) -> None:
    edit(options.folder / "street.int8.onnx", one_bad_scale)
    fp32, fp16, int8 = verify(replace(options, images=None, data=camvid, limit=2))
    assert 0.1 < fp32.measures["miou"] < 1
    assert fp32.measures["miou_loss_points"] == pytest.approx(0, abs=0.01)
    assert (fp32.status, fp16.status, int8.status) == (PASSED, PASSED, FAILED)
    assert int8.measures["miou_loss_points"] > 1
    assert "points of mIoU (at most 1.0)" in int8.reason
    changes = int8.measures["class_iou_change_points"]
    assert int8.measures["class_iou"].keys() == changes.keys() <= set(card.classes)
    assert min(changes.values()) < -1


# Engines


@pytest.fixture
def with_engines(built: Path, options: VerifyOptions, tmp_path: Path) -> VerifyOptions:
    folder = Path(shutil.copytree(built, tmp_path / "built"))
    return replace(options, folder=folder)


@without_a_gpu
def test_engines_without_a_gpu_are_not_run(verified: tuple[Path, list[StageResult]]) -> None:
    folder, results = verified
    engines = results[3:]
    assert statuses(engines) == {f"{p}.rtx": NOT_RUN for p in ("fp32", "fp16", "int8")}
    assert [result.against for result in engines] == ["fp32", "fp16", "int8"]
    reasons = ("no GPU", "cuda-python")  # the second where CUDA's bindings are not installed
    assert all(any(text in result.reason for text in reasons) for result in engines)
    assert not any(result.measures for result in engines)
    sidecar = read_sidecar(folder / "street.fp16.rtx.engine")
    assert sidecar is not None
    assert sidecar.verification["status"] == NOT_RUN


@without_a_gpu
def test_a_required_engine_that_cannot_run_is_a_failure(with_engines: VerifyOptions) -> None:
    results = verify(replace(with_engines, require_engine=True))
    assert first_failure(results).name == "fp32.rtx"
    assert {result.status for result in results[3:]} == {FAILED}


def agreement_apart_from_ties(result: StageResult) -> float:
    """The share of equal pixels where rounding alone does not decide."""
    measured = result.measures
    differing = measured["differing_pixels"] - measured["of_these_ties"]
    return float(1 - differing / (PIXELS * measured["images"] - measured["tied_pixels"]))


@pytest.mark.gpu
@pytest.mark.usefixtures("rtx_runs")
def test_engines_pass_on_a_gpu(with_engines: VerifyOptions) -> None:
    results = verify(replace(with_engines, require_engine=True))
    for result in results:
        assert result.measures, result.reason  # it ran
        # In FP32 the photo may lose one pixel of 19,200, and two of its ties are within 1e-4
        # deviations, which a GPU's order of summation may turn.
        gate = GATES[result.name.partition(".")[0]].pixels
        assert agreement_apart_from_ties(result) >= gate, result


def test_apart_from_ties_a_bad_scale_still_fails(options: VerifyOptions) -> None:
    edit(options.folder / "street.int8.onnx", one_bad_scale)
    fp32, fp16, int8 = verify(options)
    assert agreement_apart_from_ties(fp32) == 1
    assert agreement_apart_from_ties(fp16) >= GATES["fp16"].pixels
    assert agreement_apart_from_ties(int8) < GATES["int8"].pixels


def test_an_engine_of_another_onnx_file_is_refused(with_engines: VerifyOptions) -> None:
    edit(with_engines.folder / "street.int8.onnx", one_bad_scale)
    with pytest.raises(InputError, match=r"was not built from street\.int8\.onnx beside it"):
        verify(with_engines)


def test_a_damaged_engine_is_refused(with_engines: VerifyOptions) -> None:
    with (with_engines.folder / "street.fp16.rtx.engine").open("r+b") as file:
        file.write(b"damaged")
    with pytest.raises(EngineMismatch, match=r"fp16\.rtx\.engine.*SHA-256"):
        verify(with_engines)


# What cannot be compared


def test_fp16_of_another_fp32_is_refused(options: VerifyOptions) -> None:
    edit(options.folder / "street.fp32.onnx", wrong_mean)
    with pytest.raises(InputError, match=r"fp16\.onnx .*street\.fp32\.onnx"):
        verify(options)
    adopt(options.folder / "street.fp16.onnx", options.folder / "street.fp32.onnx")
    with pytest.raises(InputError, match=r"int8\.onnx .*street\.fp32\.onnx"):
        verify(options)


def test_exports_of_other_weights_are_refused(
    options: VerifyOptions, network: nn.Module, card: Card, tmp_path: Path
) -> None:
    other = tmp_path / "other.safetensors"
    save_checkpoint(other, network, replace(card, license_note="another run"))
    with pytest.raises(InputError, match=r"\.fp32\.onnx .*refinenet export"):
        verify(replace(options, weights=str(other)))


def test_the_exports_of_these_weights_are_found_among_others(folder: Path, weights: Path) -> None:
    fp32 = folder / "a_foreign_one.fp32.onnx"
    shutil.copy(folder / "street.fp32.onnx", fp32)
    model = onnx.load(fp32)
    model.metadata_props[0].value = model.metadata_props[0].value.replace(sha256_of(weights), "0")
    onnx.save(model, fp32)
    found = stage_files(folder, sha256_of(weights))
    assert [path.name for path in found] == [f"street.{p}.onnx" for p in ("fp32", "fp16", "int8")]


def test_two_exports_of_the_same_weights_are_told_apart_by_folder(
    folder: Path, weights: Path
) -> None:
    shutil.copy(folder / "street.fp32.onnx", folder / "avenue.fp32.onnx")
    with pytest.raises(
        InputError, match=r"avenue\.fp32\.onnx, street\.fp32\.onnx; give each a folder"
    ):
        stage_files(folder, sha256_of(weights))


def test_an_empty_folder_is_refused(options: VerifyOptions, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"/empty .*refinenet export"):
        verify(replace(options, folder=tmp_path / "empty"))
    with pytest.raises(InputError, match="/nowhere"):
        verify(replace(options, folder=tmp_path / "nowhere"))


def test_without_images_nothing_is_compared(options: VerifyOptions, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no images to compare on"):
        verify(replace(options, images=None))
    with pytest.raises(InputError, match="holds no image"):
        verify(replace(options, images=tmp_path / "empty"))
    sidecar = sidecar_path(options.folder / "street.fp32.onnx")
    assert '"status"' not in sidecar.read_text()


def test_a_graph_that_is_no_frame_model_is_refused(options: VerifyOptions) -> None:
    def forget_the_argmax(model: onnx.ModelProto) -> None:
        (argmax,) = nodes(model, "ArgMax")
        argmax.op_type = "ArgMin"

    break_fp32(options.folder, forget_the_argmax)
    with pytest.raises(InputError, match="the graph has no ArgMax"):
        verify(options)


def test_an_engine_that_its_card_alone_is_left_of_is_named(options: VerifyOptions) -> None:
    card = options.folder / "street.fp16.rtx.engine.card.json"
    card.write_text("{}")
    with pytest.raises(InputError, match=r"street\.fp16\.rtx\.engine is missing"):
        verify(options)
