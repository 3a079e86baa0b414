"""Weights on disk load whole and exactly, or not at all."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from refinenet import create_model, load_model
from refinenet.checkpoints.load import (
    load_checkpoint,
    load_imagenet_backbone,
    read_weights,
    save_checkpoint,
    weights_path,
)
from refinenet.data.datasets import CAMVID, VOC
from runtime.card import CARD_KEY, Card
from runtime.errors import CardError, CheckpointError, InputError
from runtime.shipped import FOLDER as SHIPPED_FOLDER

Weights = dict[str, Tensor]
SHIPPED = "lw-mobilenetv2-camvid"


@pytest.fixture(scope="module")
def weights(published_mobile: Path) -> Weights:
    loaded: Weights = torch.load(published_mobile, weights_only=True)
    return loaded


@pytest.fixture(scope="module")
def published(published_mobile: Path) -> nn.Module:
    return load_model(published_mobile)


def message_of(error: type[Exception], path: Path) -> str:
    """What load_checkpoint says when it refuses the file: one line that names it."""
    with pytest.raises(error) as caught:
        load_checkpoint(path)
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text
    return text


def same(first: nn.Module, second: nn.Module) -> bool:
    expected = second.state_dict()
    return all(torch.equal(value, expected[key]) for key, value in first.state_dict().items())


CONTAINERS: dict[str, Callable[[Weights], Any]] = {
    "segmenter": lambda weights: {
        "segmenter": {f"module.{key}": value for key, value in weights.items()},
        "epoch_start": 7,
    },
    "model": lambda weights: {"model": weights, "epoch": 3},
    "state_dict": lambda weights: {"state_dict": weights, "best": 0.7},
    "model_state_dict": lambda weights: {"model_state_dict": weights, "epoch": 3},
    "Lightning": lambda weights: {
        "state_dict": {f"net.{key}": value for key, value in weights.items()}
        | {"criterion.weight": torch.ones(21)},
        "global_step": 100,
    },
    "compiled in parallel": lambda weights: {
        f"module._orig_mod.{key}": value for key, value in weights.items()
    },
    "parallel": lambda weights: {f"module.{key}": value for key, value in weights.items()},
    "without counters": lambda weights: {
        key: value for key, value in weights.items() if not key.endswith("num_batches_tracked")
    },
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_holds_the_same_network(
    container: str, weights: Weights, published: nn.Module, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint.pth.tar"
    torch.save(CONTAINERS[container](weights), path)
    assert same(load_model(path), published)


def test_another_bias_is_another_network(
    weights: Weights, published: nn.Module, tmp_path: Path
) -> None:
    torch.save(weights | {"segm.bias": weights["segm.bias"] + 1}, tmp_path / "other.pth")
    assert not same(load_model(tmp_path / "other.pth"), published)


def test_21_published_classes_are_those_of_voc(published_mobile: Path) -> None:
    _, card = load_checkpoint(published_mobile)
    assert (card.variant, card.classes, card.ignore_id) == ("lw-mobilenetv2", VOC.classes, 255)


def test_another_number_of_published_classes_is_numbered(weights: Weights, tmp_path: Path) -> None:
    path = tmp_path / "person_parts.pth"
    torch.save(weights | {key: weights[key][:7] for key in ("segm.weight", "segm.bias")}, path)
    model, card = load_checkpoint(path)
    assert card.classes == tuple(f"class_{index}" for index in range(7))
    assert card.ignore_id is None
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 7, 8, 8)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"conv8.weight": None}, "1 missing, blocks.0.fuse.convs.0.weight"),
        ({"layer2.0.output.0.0.weight": None}, "missing, backbone.stages.0.0.expand.0.weight"),
        ({"layer1.1.running_var": None}, "1 missing, backbone.stem.1.running_var"),
        ({"extra.weight": torch.zeros(2)}, "1 unexpected, extra.weight"),
        (
            {"conv8.weight": torch.zeros(256, 319, 1, 1)},
            "blocks.0.fuse.convs.0.weight (256, 319, 1, 1), (256, 320, 1, 1)",
        ),
        ({"segm.bias": torch.zeros(20)}, "classifier.0.bias (20,), (21,)"),
        ({"segm.weight": torch.tensor(1.0)}, "classifier.0.weight, 1 to 256 classes"),
    ],
)
def test_a_checkpoint_that_does_not_fit_names_a_key(
    change: dict[str, Tensor | None], words: str, weights: Weights, tmp_path: Path
) -> None:
    path = tmp_path / "changed.pth"
    torch.save({key: v for key, v in (weights | change).items() if v is not None}, path)
    message = message_of(CheckpointError, path)
    for word in words.split(", "):
        assert word in message


class Intruder:
    """Unpickled, it creates a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


def test_code_in_a_checkpoint_is_refused_and_not_run(weights: Weights, tmp_path: Path) -> None:
    trace, path, plain = tmp_path / "ran", tmp_path / "intruder.pth", tmp_path / "plain.pth"
    content = {**weights, "extra": Intruder(trace)}
    torch.save(content, path)
    plain.write_bytes(pickle.dumps({"extra": Intruder(trace)}, protocol=2))
    for file in (path, plain):
        assert "may be code and was not run" in message_of(CheckpointError, file)
        assert not trace.exists()
    torch.load(path, weights_only=False)
    assert trace.exists(), "the intruder is harmless, so this test shows nothing"


def test_a_numpy_scalar_beside_the_weights_is_no_code(
    weights: Weights, published: nn.Module, tmp_path: Path
) -> None:
    path = tmp_path / "scored.pth.tar"
    torch.save({"segmenter": weights, "best_val": np.float64(0.7)}, path)
    assert same(load_model(path), published)


def test_what_is_no_state_dict_is_refused(weights: Weights, tmp_path: Path) -> None:
    path = tmp_path / "odd.pth"
    for content, message in (
        ([torch.zeros(1)], "holds a list; expected a state_dict"),
        (torch.zeros(1), "holds a Tensor; expected a state_dict"),
        ({}, "nothing in it is no tensor"),
        ({"epoch": 3, **weights}, "epoch in it is no tensor"),
        ({"weight": torch.zeros(1)}, "fits no known network"),
    ):
        torch.save(content, path)
        assert message in message_of(CheckpointError, path)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_truncated_checkpoint_is_refused(
    share: float, published_mobile: Path, tmp_path: Path
) -> None:
    path, content = tmp_path / "cut.pth", published_mobile.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    message_of(CheckpointError, path)


@pytest.mark.parametrize("name", ["notes.pth", "notes.safetensors"])
def test_text_renamed_to_weights_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text("Dear diary, today I trained a network.\n" * 20, encoding="utf-8")
    message_of(InputError, path)


@pytest.mark.parametrize("name", ["none.pth", "none.safetensors"])
def test_an_empty_file_a_folder_and_a_missing_file_are_told_apart(
    name: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    assert "does not exist" in message_of(InputError, path)
    path.touch()
    assert "is empty" in message_of(InputError, path)
    path.unlink()
    path.mkdir()
    assert "is a folder" in message_of(InputError, path)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_saved_checkpoint_loads_bit_for_bit(
    dtype: torch.dtype, mobile: nn.Module, mobile_card: Card, tmp_path: Path
) -> None:
    path = tmp_path / "own.safetensors"
    save_checkpoint(path, mobile, mobile_card, dtype)
    loaded, card = load_checkpoint(path)
    assert card == mobile_card
    assert not loaded.training
    expected = mobile.state_dict()
    for key, value in loaded.state_dict().items():
        assert value.dtype == expected[key].dtype
        torch.testing.assert_close(
            value, expected[key].to(dtype).to(expected[key].dtype), rtol=0, atol=0
        )
    assert same(loaded, mobile) == (dtype == torch.float32)
    size = sum(value.numel() * dtype.itemsize for value in expected.values())
    assert abs(path.stat().st_size / size - 1) < 0.02


def test_a_truncated_safetensors_file_is_refused(
    mobile: nn.Module, mobile_card: Card, tmp_path: Path
) -> None:
    path = tmp_path / "own.safetensors"
    save_checkpoint(path, mobile, mobile_card)
    content = path.read_bytes()
    for length in (4, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        assert "not a whole safetensors file" in message_of(InputError, path)
        with pytest.raises(CheckpointError, match="not a whole safetensors file"):
            read_weights(path)


def test_safetensors_without_a_card_is_refused(mobile: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "foreign.safetensors"
    save_file(mobile.state_dict(), path)
    assert "has no card" in message_of(CardError, path)


@pytest.mark.parametrize(
    ("lie", "message"),
    [
        (
            {"classes": CAMVID.classes[:10], "palette": CAMVID.palette[:10]},
            "classifier.0.bias (11,) (expected (10,))",
        ),
        ({"variant": "lw-50"}, "(lw-50, 11 classes) does not fit the network"),
    ],
)
def test_a_card_that_lies_is_refused(
    lie: dict[str, Any], message: str, mobile: nn.Module, mobile_card: Card, tmp_path: Path
) -> None:
    path = tmp_path / "lie.safetensors"
    save_checkpoint(path, mobile, replace(mobile_card, **lie))
    assert message in message_of(CheckpointError, path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "does not hold JSON"),
        ('{"schema_version": 99}', "card schema 99"),
        ('{"schema_version": 1, "classes": ["a"], "palette": []}', "1 classes and 0 colours"),
        ('{"schema_version": 1, "variant": "x"}', "malformed card"),
    ],
)
def test_a_malformed_card_is_refused(
    text: str, message: str, mobile: nn.Module, tmp_path: Path
) -> None:
    path = tmp_path / "malformed.safetensors"
    save_file(mobile.state_dict(), path, metadata={CARD_KEY: text})
    assert message in message_of(CardError, path)


def test_a_card_of_an_unknown_variant_is_refused(
    mobile: nn.Module, mobile_card: Card, tmp_path: Path
) -> None:
    path = tmp_path / "unknown.safetensors"
    save_checkpoint(path, mobile, replace(mobile_card, variant="lw-51"))
    with pytest.raises(InputError, match="unknown variant 'lw-51'"):
        load_checkpoint(path)


def test_imagenet_weights_start_the_backbone(imagenet: Path, mobile: nn.Module) -> None:
    decoder = {k: v.clone() for k, v in mobile.state_dict().items() if "backbone." not in k}
    load_imagenet_backbone(mobile, imagenet)
    given, ours = read_weights(imagenet), mobile.state_dict()
    for key, theirs in (
        ("stem.0.weight", "0.0.weight"),
        ("stages.0.0.depthwise.0.weight", "1.conv.0.0.weight"),
        ("stages.0.0.project.1.running_var", "1.conv.2.running_var"),
        ("stages.1.0.expand.0.weight", "2.conv.0.0.weight"),
        ("stages.6.0.project.0.weight", "17.conv.2.weight"),
    ):
        assert torch.equal(ours[f"backbone.{key}"], given[f"features.{theirs}"])
    assert all(torch.equal(ours[key], value) for key, value in decoder.items())


def test_the_first_expansion_passes_on_what_a_relu6_gave(imagenet: Path, mobile: nn.Module) -> None:
    expand = mobile.get_submodule("backbone.stages.0.0.expand")
    x = 6 * torch.rand(1, 32, 9, 7, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert not torch.allclose(expand(x), x)
        load_imagenet_backbone(mobile, imagenet)
        torch.testing.assert_close(expand(x), x, rtol=1e-6, atol=0)


def test_imagenet_weights_of_another_backbone_are_refused(imagenet: Path) -> None:
    with torch.device("meta"):
        resnet = create_model("lw-50", 11)
    with pytest.raises(CheckpointError, match=r"missing, such as conv1\.weight"):
        load_imagenet_backbone(resnet, imagenet)


def test_an_unknown_shipped_name_is_a_missing_file() -> None:
    with pytest.raises(InputError, match="lw-mobilenetv2-mars does not exist"):
        weights_path("lw-mobilenetv2-mars")


def test_the_shipped_weights_load_by_name() -> None:
    file = SHIPPED_FOLDER / f"{SHIPPED}.safetensors"
    if not file.exists():
        pytest.skip(f"{SHIPPED}.safetensors is not in refinenet/weights yet")
    assert weights_path(SHIPPED) == file
    model, card = load_checkpoint(SHIPPED)
    assert (card.variant, card.classes) == ("lw-mobilenetv2", CAMVID.classes)
    assert "CamVid" in card.license_note
    assert model(torch.zeros(1, 3, 64, 96)).shape == (1, 11, 16, 24)
