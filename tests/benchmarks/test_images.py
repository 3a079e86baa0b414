"""Which images go in, and at which size."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.backends.backend import Candidate, file_candidates, model_files
from benchmarks.images import common_geometries, open_inputs, spread
from runtime.errors import InputError


@pytest.fixture
def candidate(model: Path) -> Candidate:
    return file_candidates(model, None, ())[0]


def test_a_limit_spreads_over_all_images() -> None:
    assert spread(10, 4) == [0, 2, 5, 7]
    assert spread(3, 4) == spread(3, None) == [0, 1, 2]


def test_frames_come_at_the_models_size(candidate: Candidate, photos: Path) -> None:
    inputs = open_inputs(photos, None, 2, candidate.card.classes)
    (geometry,) = common_geometries([candidate], (1,), ())
    assert [sample.frame.shape for sample in inputs.samples(geometry)] == [(24, 32, 3)] * 2
    assert inputs.timed_frames(geometry).shape == (2, 24, 32, 3)


def test_models_of_any_size_take_the_sizes_that_are_asked_for(candidate: Candidate) -> None:
    dynamic = replace(candidate, card=replace(candidate.card, input_shape=(None, None, None, 3)))

    def sizes(models: list[Candidate], *asked: tuple[int, int]) -> list[object]:
        return [card.frame_size for card in common_geometries(models, (1,), asked)]

    assert sizes([dynamic], (48, 64), (24, 32)) == [(48, 64), (24, 32)]
    assert sizes([dynamic, candidate]) == [(24, 32)]
    assert sizes([dynamic, candidate], (48, 64), (24, 32)) == [(48, 64), (24, 32)]
    with pytest.raises(InputError, match="--size"):
        sizes([dynamic])
    with pytest.raises(InputError, match=r"24x32.*48x64"):
        sizes([dynamic, candidate], (48, 64))


def test_a_model_says_which_batch_and_size_it_refuses(candidate: Candidate) -> None:
    assert candidate.refusal(1, (24, 32)) is None
    assert candidate.refusal(4, (24, 32)) == "it takes 1 frames at a time"
    assert candidate.refusal(1, (48, 64)) == "it takes frames of 24x32"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_shape": (4, 24, 32, 3)}, " 4 .*--batch 4"),
        ({"classes": ("a", "b", "c")}, " classes"),
        ({"resize_policy": "letterbox"}, " resize_policy"),
    ],
)
def test_models_that_cannot_be_compared_are_refused(
    candidate: Candidate, change: dict[str, object], message: str
) -> None:
    other = replace(candidate, card=replace(candidate.card, **change))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=message):
        common_geometries([candidate, other], (1, 2), ())


def test_without_images_nothing_is_made_up(candidate: Candidate) -> None:
    with pytest.raises(InputError, match="--images"):
        open_inputs(None, None, None, candidate.card.classes)


def test_a_folder_gives_its_onnx_files_before_its_engines(model: Path, engine: Path) -> None:
    half = model.with_name("tiny.fp16.onnx")
    half.write_bytes(model.read_bytes())
    assert model_files([model.parent]) == [model, half, engine]
    assert model_files([engine, model.parent]) == [engine, model, half]


def test_files_that_are_no_models_are_refused(tmp_path: Path, photos: Path) -> None:
    with pytest.raises(InputError, match=r"missing\.onnx"):
        model_files([tmp_path / "missing.onnx"])
    with pytest.raises(InputError, match=r"a\.png"):
        model_files([photos / "a.png"])
    with pytest.raises(InputError, match="/photos"):
        model_files([photos])
