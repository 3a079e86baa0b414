"""Segmenter on ONNX files: masks, sizes, streams, and what it refuses."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from in_threads import in_four_threads
from numpy.typing import NDArray
from tiny_models import CARD, brightest_channel, write_model

from runtime import Segmenter
from runtime.card import parse_card
from runtime.errors import CardError, DeployError, DeviceError, InputError
from runtime.mask_stream import with_masks
from runtime.resize import fit

Frame = NDArray[np.uint8]


def workers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("segmenter")]


def test_a_frame_gives_its_mask(segmenter: Segmenter, street: Frame) -> None:
    mask = segmenter(street)
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, brightest_channel(street))


def test_the_description_says_what_runs(segmenter: Segmenter) -> None:
    assert segmenter.description.startswith("ONNX Runtime ")
    assert segmenter.description.endswith(", CPU")
    assert segmenter.classes == CARD.classes
    assert segmenter.palette == CARD.palette


def test_every_mask_is_a_fresh_array(segmenter: Segmenter, camvid: list[Frame]) -> None:
    first = segmenter(camvid[0])
    before = first.copy()
    segmenter(camvid[1])
    np.testing.assert_array_equal(first, before)


def test_out_is_written_into_and_returned(segmenter: Segmenter, street: Frame) -> None:
    out = np.empty(street.shape[:2], np.uint8)
    assert segmenter(street, out=out) is out
    np.testing.assert_array_equal(out, brightest_channel(street))


def test_a_wrong_out_is_refused(segmenter: Segmenter, street: Frame) -> None:
    with pytest.raises(InputError, match=r"out= is \(2, 2\) uint8; expected \(370, 1226\) uint8"):
        segmenter(street, out=np.empty((2, 2), np.uint8))


def test_a_view_with_strides_is_a_frame(segmenter: Segmenter, street: Frame) -> None:
    view = street[::2, ::-1]
    np.testing.assert_array_equal(segmenter(view), brightest_channel(view))


@pytest.mark.parametrize(
    ("frame", "found"),
    [
        (np.zeros((4, 4, 3), np.float32), r"\(4, 4, 3\) float32"),
        (np.zeros((4, 4), np.uint8), r"\(4, 4\) uint8"),
        (np.zeros((4, 4, 4), np.uint8), r"\(4, 4, 4\) uint8"),
        (np.zeros((0, 4, 3), np.uint8), r"\(0, 4, 3\) uint8"),
        (None, "type NoneType"),
    ],
)
def test_what_is_no_frame_is_refused(segmenter: Segmenter, frame: Any, found: str) -> None:
    with pytest.raises(InputError, match=f"a frame is (of )?{found}; expected"):
        segmenter(frame)


@pytest.mark.parametrize("policy", ["stretch", "letterbox"])
def test_another_size_is_resized_there_and_back(tmp_path: Path, street: Frame, policy: str) -> None:
    card = replace(CARD, resize_policy=policy)
    path = write_model(tmp_path / "fixed.onnx", (1, 96, 320, 3), card)
    with Segmenter.open(path) as segmenter:
        mask = segmenter(street)
    assert mask.shape == street.shape[:2]
    assert np.mean(mask == brightest_channel(street)) > 0.5


@pytest.mark.parametrize("policy", ["stretch", "letterbox"])
def test_frames_are_resized_to_multiples_where_the_card_asks_for_them(
    tmp_path: Path, street: Frame, policy: str
) -> None:
    card = replace(CARD, resize_policy=policy, size_multiple=64)
    path = write_model(tmp_path / "multiples.onnx", card=card)
    frame = street[:250, :333]
    assert fit(frame, card).shape == (256, 384, 3)
    with Segmenter.open(path) as segmenter:
        masks = [segmenter(frame), *segmenter.segment_batch([frame]), *segmenter.stream([frame])]
    for mask in masks:
        assert mask.shape == (250, 333)
        assert np.mean(mask == brightest_channel(frame)) > 0.8


@pytest.mark.parametrize("multiple", [0, -32, True, 1.5, "32"])
def test_a_card_with_no_such_multiple_is_refused(multiple: object) -> None:
    text = json.dumps(json.loads(CARD.to_json()) | {"size_multiple": multiple})
    with pytest.raises(CardError, match=r"toy\.json: malformed card"):
        parse_card(text, Path("toy.json"))


@pytest.mark.parametrize("batch", [1, 2, 4, None])
def test_a_batch_is_cut_and_filled_to_fit_the_file(
    tmp_path: Path, camvid: list[Frame], batch: int | None
) -> None:
    path = write_model(tmp_path / "batch.onnx", (batch, 360, 480, 3))
    with Segmenter.open(path) as segmenter:
        masks = segmenter.segment_batch(camvid[:5])
    assert len(masks) == 5
    for mask, frame in zip(masks, camvid, strict=False):
        np.testing.assert_array_equal(mask, brightest_channel(frame))


def test_an_empty_batch_gives_no_mask(segmenter: Segmenter) -> None:
    assert segmenter.segment_batch([]) == []


def test_a_batch_of_two_sizes_is_refused(
    segmenter: Segmenter, street: Frame, camvid: list[Frame]
) -> None:
    with pytest.raises(InputError, match="frames of 2 sizes in one batch"):
        segmenter.segment_batch([street, camvid[0]])


def test_a_stream_keeps_the_order(segmenter: Segmenter, camvid: list[Frame]) -> None:
    masks = list(segmenter.stream(camvid))
    assert len(masks) == len(camvid)
    for mask, frame in zip(masks, camvid, strict=True):
        np.testing.assert_array_equal(mask, brightest_channel(frame))
    assert workers() == []


def test_a_stream_pairs_masks_with_frames(segmenter: Segmenter, camvid: list[Frame]) -> None:
    pairs = list(with_masks(segmenter, camvid, lambda frame: frame))
    assert [id(frame) for frame, _ in pairs] == [id(frame) for frame in camvid]
    for frame, mask in pairs:
        np.testing.assert_array_equal(mask, brightest_channel(frame))


def test_a_stream_reads_no_further_ahead_than_it_says(
    segmenter: Segmenter, camvid: list[Frame]
) -> None:
    produced = 0

    def source() -> Iterator[Frame]:
        nonlocal produced
        for frame in camvid:
            produced += 1
            yield frame

    for consumed, _ in enumerate(segmenter.stream(source()), start=1):
        assert produced <= consumed + 1


def test_an_empty_stream_gives_no_mask(segmenter: Segmenter) -> None:
    assert list(segmenter.stream([])) == []


def test_an_error_of_the_source_comes_after_the_masks_before_it(
    segmenter: Segmenter, camvid: list[Frame]
) -> None:
    def source() -> Iterator[Frame]:
        yield from camvid[:3]
        raise OSError("the camera was unplugged")

    masks = []
    with pytest.raises(OSError, match="unplugged"):
        masks.extend(segmenter.stream(source()))
    assert len(masks) == 3
    assert workers() == []


def test_a_bad_frame_comes_after_the_masks_before_it(
    segmenter: Segmenter, camvid: list[Frame]
) -> None:
    frames: list[Any] = [camvid[0], camvid[1].astype(np.float32), camvid[2]]
    masks: list[Frame] = []
    with pytest.raises(InputError, match="float32"):
        masks.extend(segmenter.stream(frames))
    assert len(masks) == 1
    assert workers() == []


def test_a_stream_closed_early_leaves_no_thread(segmenter: Segmenter, camvid: list[Frame]) -> None:
    masks = segmenter.stream(camvid)
    next(masks)
    assert len(workers()) == 1
    masks.close()
    assert workers() == []


def test_several_threads_share_one_segmenter(segmenter: Segmenter, camvid: list[Frame]) -> None:
    masks: dict[int, Frame] = {}

    def work(index: int) -> None:
        masks[index] = segmenter(camvid[index])

    in_four_threads(work)
    for index, mask in masks.items():
        np.testing.assert_array_equal(mask, brightest_channel(camvid[index]))


def test_closing_twice_is_fine_and_using_it_afterwards_is_not(model: Path, street: Frame) -> None:
    segmenter = Segmenter.open(model)
    segmenter.close()
    segmenter.close()
    with pytest.raises(DeployError, match="Segmenter"):
        segmenter(street)
    with pytest.raises(DeployError, match="Segmenter"):
        segmenter.stream([street])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.onnx", None, r"missing\.onnx"),
        ("empty.onnx", b"", r"empty\.onnx"),
        ("text.onnx", b"just some text\n", r"text\.onnx"),
        ("weights.pth", b"x", r"weights\.pth .*\.onnx .*\.engine .*refinenet export "),
    ],
)
def test_what_is_no_model_is_refused_in_one_line(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        Segmenter.open(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.9])
def test_a_truncated_onnx_file_is_refused(model: Path, kept: float) -> None:
    data = model.read_bytes()
    model.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(InputError) as caught:
        Segmenter.open(model)
    assert "\n" not in str(caught.value)


def test_a_damaged_graph_is_refused_by_onnx_runtime(model: Path) -> None:
    model.write_bytes(model.read_bytes().replace(b"ArgMax", b"ArgMux"))
    with pytest.raises(InputError, match=r"ONNX Runtime cannot load .*ArgMux") as caught:
        Segmenter.open(model)
    assert "\n" not in str(caught.value)


def test_a_foreign_onnx_file_needs_a_card(tmp_path: Path, street: Frame) -> None:
    path = write_model(tmp_path / "foreign.onnx", (1, 370, 1226, 3), card=None)
    with pytest.raises(CardError, match="--card FILE"):
        Segmenter.open(path)
    card = tmp_path / "card.json"
    card.write_text(replace(CARD, input_shape=None, output_kind=None).to_json())
    with Segmenter.open(path, card=card) as segmenter:
        np.testing.assert_array_equal(segmenter(street), brightest_channel(street))
        assert segmenter.card.frame_size == (370, 1226)


def test_a_card_of_another_size_is_refused(tmp_path: Path) -> None:
    path = write_model(tmp_path / "foreign.onnx", (1, 64, 64, 3), card=None)
    card = tmp_path / "card.json"
    contents = json.loads(CARD.to_json()) | {"input_shape": [1, 32, 64, 3]}
    card.write_text(json.dumps(contents))
    with pytest.raises(CardError, match="the file takes"):
        Segmenter.open(path, card=card)


def test_a_logits_file_is_refused_with_the_reason(tmp_path: Path) -> None:
    path = write_model(tmp_path / "logits.onnx", output_kind="logits")
    with pytest.raises(InputError, match="this file gives logits"):
        Segmenter.open(path)


def test_a_missing_provider_is_an_error_and_no_fallback(
    model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from runtime.tensorrt_api import gpu_present

    if gpu_present():
        pytest.skip("this machine has a GPU: the CUDA provider may start")
    with pytest.raises(DeviceError, match="CUDAExecutionProvider"):
        Segmenter.open(model, provider="cuda")
    assert capfd.readouterr().err == ""


def test_an_unknown_provider_is_refused(model: Path) -> None:
    with pytest.raises(InputError, match="provider 'gpu' is unknown"):
        Segmenter.open(model, provider="gpu")
