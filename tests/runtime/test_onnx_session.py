"""OnnxSession: the face that it shares with Engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_models import brightest_channel, write_model

from runtime.errors import DeployError, InputError
from runtime.onnx_session import OnnxSession

Frame = NDArray[np.uint8]


@pytest.mark.parametrize("fused_int8", [True, False])
def test_a_batch_gives_its_masks(model: Path, camvid: list[Frame], fused_int8: bool) -> None:
    with OnnxSession.open(model, threads=1, fused_int8=fused_int8) as session:
        assert session.output_kind == "mask"
        assert session.input_shape == (None, None, None, 3)
        masks = session(np.stack(camvid))
    np.testing.assert_array_equal(masks, [brightest_channel(frame) for frame in camvid])


def test_a_logits_file_gives_floats(tmp_path: Path, street: Frame) -> None:
    path = write_model(tmp_path / "logits.onnx", output_kind="logits")
    with OnnxSession.open(path) as session:
        assert session.output_kind == "logits"
        logits = session(street[None])
    assert logits.dtype == np.float32
    np.testing.assert_array_equal(logits, street.transpose(2, 0, 1)[None])


def test_out_is_written_into(model: Path, street: Frame) -> None:
    out = np.empty((1, *street.shape[:2]), np.uint8)
    with OnnxSession.open(model) as session:
        assert session(street[None], out=out) is out
        np.testing.assert_array_equal(out[0], brightest_channel(street))
        with pytest.raises(InputError, match="out= is"):
            session(street[None], out=out[0])


def test_a_shape_that_the_file_does_not_take_is_refused(tmp_path: Path, street: Frame) -> None:
    path = write_model(tmp_path / "fixed.onnx", (1, 360, 480, 3))
    with OnnxSession.open(path) as session:
        assert session.batch_limits == (1, 1)
        with pytest.raises(InputError, match=r"frames of shape \(1, 370, 1226, 3\); fixed.onnx"):
            session(street[None])


def test_closing_twice_is_fine_and_using_it_afterwards_is_not(model: Path, street: Frame) -> None:
    session = OnnxSession.open(model)
    session.close()
    session.close()
    with pytest.raises(DeployError, match="was closed"):
        session(street[None])
