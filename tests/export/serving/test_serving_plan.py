"""What a model file can be served as, and what is refused with the way out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from engine_files import write_engine
from tiny_models import CARD, write_model

from export.serving.candidate import serving_candidate
from export.serving.serving_plan import ServingPlan, TritonOptions, serving_plan
from runtime.errors import InputError

PROFILE = ((1, 64, 64), (4, 360, 480), (16, 720, 1280))


def planned(path: Path, **options: object) -> ServingPlan:
    return serving_plan(serving_candidate(path), replace(TritonOptions(path.parent), **options))


@pytest.fixture
def dynamic(tmp_path: Path) -> Path:
    return write_model(tmp_path / "street.fp16.onnx")


@pytest.fixture
def static(tmp_path: Path) -> Path:
    return write_model(tmp_path / "street.fp32.onnx", (1, 120, 160, 3))


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    return write_engine(tmp_path / "street.fp16.trt.engine", PROFILE)


@pytest.fixture
def rtx_engine(tmp_path: Path) -> Path:
    return write_engine(tmp_path / "street.fp16.rtx.engine", PROFILE, package="rtx")


def test_a_dynamic_file_takes_batches_of_any_size(dynamic: Path) -> None:
    plan = planned(dynamic)
    assert (plan.name, plan.backend, plan.device) == ("street-fp16", "onnxruntime", "gpu")
    assert (plan.max_batch, plan.frame_dims, plan.mask_dims) == (8, (-1, -1, 3), (-1, -1))
    assert plan.any_size


def test_a_dynamic_file_can_be_held_to_one_size(dynamic: Path) -> None:
    plan = planned(dynamic, size=(360, 480), max_batch=4)
    assert (plan.max_batch, plan.frame_dims, plan.mask_dims) == (4, (360, 480, 3), (360, 480))


def test_a_static_file_keeps_its_batch(static: Path, tmp_path: Path) -> None:
    plan = planned(static)
    assert (plan.max_batch, plan.frame_dims, plan.mask_dims) == (
        0,
        (1, 120, 160, 3),
        (1, 120, 160),
    )
    four = write_model(tmp_path / "four.onnx", (4, 120, 160, 3))
    assert planned(four).frame_dims == (4, 120, 160, 3)


def test_an_engine_takes_no_more_than_its_profile(engine: Path, tmp_path: Path) -> None:
    assert (planned(engine).backend, planned(engine).max_batch) == ("tensorrt", 8)
    assert planned(engine, max_batch=16).max_batch == 16
    small = write_engine(tmp_path / "small.engine", ((1, 64, 64), (2, 64, 64), (2, 64, 64)))
    assert planned(small).max_batch == 2


def test_an_rtx_engine_goes_to_the_python_backend(rtx_engine: Path) -> None:
    plan = planned(rtx_engine)
    assert (plan.backend, plan.device) == ("python", "gpu")


def test_the_python_backend_runs_onnx_on_the_cpu_unless_asked(dynamic: Path) -> None:
    assert planned(dynamic, backend="python").device == "cpu"
    assert planned(dynamic, backend="python", device="gpu").device == "gpu"


@pytest.mark.parametrize(
    ("file", "options", "way_out"),
    [
        ("dynamic", {"backend": "tensorrt"}, "refinenet build --runtime tensorrt"),
        ("engine", {"backend": "onnxruntime"}, "--backend tensorrt or python"),
        ("rtx_engine", {"backend": "tensorrt"}, "--backend python"),
        ("static", {"max_batch": 4}, "export with --dynamic"),
        ("static", {"size": (120, 160)}, "leave --size out"),
        ("engine", {"max_batch": 17}, "at most 16"),
        ("engine", {"size": (1080, 1920)}, "64x64 to 720x1280"),
        ("engine", {"device": "cpu"}, "give the .onnx file"),
        ("dynamic", {"name": "../street"}, "street-fp16"),
        ("dynamic", {"name": ".street"}, "street-fp16"),
    ],
)
def test_what_cannot_work_is_refused(
    file: str, options: dict[str, object], way_out: str, request: pytest.FixtureRequest
) -> None:
    with pytest.raises(InputError) as refused:
        planned(request.getfixturevalue(file), **options)
    assert way_out in str(refused.value)


def test_triton_asks_for_single_frames(tmp_path: Path) -> None:
    wide = write_engine(tmp_path / "wide.engine", ((2, 64, 64), (4, 64, 64), (8, 64, 64)))
    with pytest.raises(InputError, match="--min-shape"):
        planned(wide)


def test_what_gives_no_masks_is_refused(tmp_path: Path) -> None:
    scores = write_model(tmp_path / "scores.onnx", output_kind="logits")
    with pytest.raises(InputError, match="--output-kind logits"):
        serving_candidate(scores)


def test_an_engine_without_its_weights_is_refused(tmp_path: Path) -> None:
    stripped = write_engine(tmp_path / "stripped.engine", PROFILE, weights="stripped")
    with pytest.raises(InputError, match="--refit"):
        serving_candidate(stripped)


def test_an_engine_whose_build_is_unknown_is_refused(tmp_path: Path) -> None:
    unknown = write_engine(tmp_path / "unknown.engine", ())
    with pytest.raises(InputError, match="refinenet build"):
        serving_candidate(unknown)


def test_weights_are_to_be_exported_first(tmp_path: Path) -> None:
    weights = tmp_path / "street.safetensors"
    weights.write_bytes(b"weights")
    with pytest.raises(InputError, match="refinenet export"):
        serving_candidate(weights)


def test_another_graph_is_refused_by_what_it_takes(tmp_path: Path) -> None:
    model = onnx.load(write_model(tmp_path / "street.onnx"))
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    onnx.save(model, tmp_path / "street.onnx")
    with pytest.raises(InputError, match=r"\bframe\b.*\bfp32\b"):
        serving_candidate(tmp_path / "street.onnx")


def test_a_file_that_takes_rgb_is_served_by_the_backend_that_turns_frames_round(
    dynamic: Path,
) -> None:
    rgb = replace(serving_candidate(dynamic), card=replace(CARD, channel_order="RGB"))
    assert serving_plan(rgb, TritonOptions(dynamic.parent)).backend == "python"
    with pytest.raises(InputError, match="--backend python"):
        serving_plan(rgb, TritonOptions(dynamic.parent, backend="onnxruntime"))


def test_one_size_is_a_multiple_of_what_the_file_takes(dynamic: Path) -> None:
    of_32 = replace(serving_candidate(dynamic), card=replace(CARD, size_multiple=32))
    with pytest.raises(InputError, match=r"360x480.* 32"):
        serving_plan(of_32, TritonOptions(dynamic.parent, size=(360, 480)))
    plan = serving_plan(of_32, TritonOptions(dynamic.parent, size=(352, 480)))
    assert plan.frame_dims == (352, 480, 3)
