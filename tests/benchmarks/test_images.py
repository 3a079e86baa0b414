"""Which images go in, and at which size."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.backends import Candidate, file_candidate, model_files
from benchmarks.images import common_geometry, open_inputs, spread
from runtime.errors import InputError


@pytest.fixture
def candidate(model: Path) -> Candidate:
    return file_candidate(model, None)


def test_a_limit_spreads_over_all_images() -> None:
    assert spread(10, 4) == [0, 2, 5, 7]
    assert spread(3, 4) == spread(3, None) == [0, 1, 2]


def test_frames_come_at_the_models_size(candidate: Candidate, photos: Path) -> None:
    inputs = open_inputs(photos, None, 2, common_geometry([candidate], None))
    assert [frame.shape for frame in inputs.frames()] == [(24, 32, 3)] * 2
    assert inputs.timed_frames().shape == (2, 24, 32, 3)


def test_models_of_any_size_take_the_size_that_is_asked_for(candidate: Candidate) -> None:
    dynamic = replace(candidate, card=replace(candidate.card, input_shape=(None, None, None, 3)))
    assert common_geometry([dynamic], (48, 64)).frame_size == (48, 64)
    assert common_geometry([dynamic, candidate], None).frame_size == (24, 32)
    with pytest.raises(InputError, match="--size"):
        common_geometry([dynamic], None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_shape": (1, 48, 64, 3)}, "48x64; expected 24x32"),
        ({"input_shape": (4, 24, 32, 3)}, "4 frames at a time"),
        ({"classes": ("a", "b", "c")}, "different classes"),
        ({"resize_policy": "letterbox"}, "different resize_policy"),
    ],
)
def test_models_that_cannot_be_compared_are_refused(
    candidate: Candidate, change: dict[str, object], message: str
) -> None:
    other = replace(candidate, card=replace(candidate.card, **change))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=message):
        common_geometry([candidate, other], None)


def test_without_images_nothing_is_made_up(candidate: Candidate) -> None:
    with pytest.raises(InputError, match="--images"):
        open_inputs(None, None, None, common_geometry([candidate], None))


def test_a_folder_gives_its_onnx_files_before_its_engines(model: Path, engine: Path) -> None:
    half = model.with_name("tiny.fp16.onnx")
    half.write_bytes(model.read_bytes())
    assert model_files([model.parent]) == [model, half, engine]
    assert model_files([engine, model.parent]) == [engine, model, half]


def test_files_that_are_no_models_are_refused(tmp_path: Path, photos: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        model_files([tmp_path / "missing.onnx"])
    with pytest.raises(InputError, match="no model to benchmark"):
        model_files([photos / "a.png"])
    with pytest.raises(InputError, match="holds no"):
        model_files([photos])
