"""What a server says of a model, and what is said where it says something else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_models import CARD

from runtime.errors import CardError, DeviceError, InputError
from runtime.remote.address import Address
from runtime.remote.served_model import ANY_NUMBER, from_config, served_model
from runtime.segmenter import Segmenter

ADDRESS = Address("gpu-1", 8001, "street")


def config(dims: list[str], largest: int, **changes: Any) -> dict[str, Any]:
    """As Triton gives it in JSON."""
    return {
        "backend": "onnxruntime",
        "max_batch_size": largest,
        "input": [{"name": "frames", "data_type": "TYPE_UINT8", "dims": dims}],
        "output": [{"name": "masks", "data_type": "TYPE_UINT8", "dims": dims[:-1]}],
        "instance_group": [{"kind": "KIND_GPU"}],
        "parameters": {
            "card": {"string_value": CARD.to_json()},
            "sha256": {"string_value": "ab" * 32},
            "size_bytes": {"string_value": "123"},
        },
    } | changes


def test_a_batching_model_takes_up_to_its_largest_batch() -> None:
    served = from_config(config(["360", "-1", "3"], 8), "Triton 2.51.0", ADDRESS)
    assert (served.input_shape, served.batch_limits) == ((None, 360, None, 3), (1, 8))
    assert (served.card, served.sha256, served.size_bytes) == (CARD, "ab" * 32, 123)
    assert (served.frames, served.masks, served.on_gpu) == ("frames", "masks", True)


def test_a_model_without_batching_keeps_its_own() -> None:
    assert from_config(config(["4", "8", "8", "3"], 0), "", ADDRESS).batch_limits == (4, 4)
    free = from_config(config(["-1", "8", "8", "3"], 0), "", ADDRESS)
    assert free.batch_limits == (1, ANY_NUMBER)


@pytest.mark.parametrize(
    "other",
    [
        {"input": []},
        {"input": [{"name": "x", "data_type": "TYPE_UINT8"}]},
        {"input": [{"name": "x", "data_type": "TYPE_FP32", "dims": ["3", "8", "8"]}]},
        {"input": [{"name": "x", "data_type": "TYPE_UINT8", "dims": ["3", "8", "8"]}]},
        {"output": [{"name": "x", "data_type": "TYPE_FP32", "dims": ["8", "8"]}]},
        {"input": [{"name": "x", "data_type": "TYPE_UINT8", "dims": ["8", "3"]}]},
    ],
)
def test_another_model_is_refused(other: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="triton://gpu-1:8001/street"):
        from_config(config(["8", "8", "3"], 8, **other), "", ADDRESS)


def test_a_model_without_a_card_needs_one(tmp_path: Path) -> None:
    without = config(["8", "8", "3"], 8, parameters={})
    with pytest.raises(CardError, match="--card FILE"):
        from_config(without, "", ADDRESS)
    own = tmp_path / "card.json"
    own.write_text(replace(CARD, variant="own").to_json())
    served = from_config(without, "", ADDRESS, own)
    assert (served.card.variant, served.sha256, served.size_bytes) == ("own", None, None)


def test_no_server_is_said_in_a_line() -> None:
    pytest.importorskip("tritonclient.grpc", reason="tritonclient is not installed")
    with pytest.raises(DeviceError, match=r"no server answers at 127\.0\.0\.1:1;"):
        served_model("triton://127.0.0.1:1/street")


def test_a_server_has_its_own_provider_and_threads() -> None:
    for options in ({"provider": "cpu"}, {"threads": 2}):
        with pytest.raises(InputError, match="leave provider, threads and options"):
            Segmenter.open("triton://127.0.0.1:1/street", **options)
