"""The weights in a checkpoint are found whatever wraps them; where there is a choice it is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from refinenet.checkpoints import containers
from refinenet.checkpoints.containers import fitting, readings, weights_in
from refinenet.checkpoints.load import load_plain, read_weights
from runtime.errors import CheckpointError

Weights = dict[str, Tensor]
PATH = Path("run.pth")


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 3, 1))


def raw() -> Weights:
    return dict(network().state_dict())


def other() -> Weights:
    """An average of the same network."""
    return {key: value + 1 for key, value in raw().items()}


def prefixed(prefix: str, weights: Weights) -> Weights:
    return {prefix + key: value for key, value in weights.items()}


@pytest.fixture(autouse=True)
def every_note_again() -> None:
    """A note is given once a process."""
    containers._say.cache_clear()


def same(found: Any, expected: Weights) -> bool:
    return found.keys() == expected.keys() and all(
        torch.equal(value, expected[key]) for key, value in found.items()
    )


WRAPPED: dict[str, Callable[[], Any]] = {
    "bare": raw,
    "DataParallel": lambda: prefixed("module.", raw()),
    "compiled": lambda: prefixed("_orig_mod.", raw()),
    "compiled in DataParallel": lambda: prefixed("module._orig_mod.", raw()),
    "a compiled part": lambda: {k.replace("1.", "1._orig_mod."): v for k, v in raw().items()},
    "Lightning": lambda: {
        "state_dict": prefixed("model.", raw()),
        "pytorch-lightning_version": "2.4.0",
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(3)}}}],
    },
    "Lightning of a compiled network": lambda: {"state_dict": prefixed("net._orig_mod.", raw())},
    "model_state_dict": lambda: {
        "model_state_dict": raw(),
        "optimizer_state_dict": {"state": {}, "param_groups": [{"lr": 0.1}]},
        "epoch": 3,
    },
    "swa_utils.AveragedModel": lambda: {
        "n_averaged": torch.tensor(7),
        **prefixed("module.", raw()),
    },
    "an unknown name": lambda: {"my_weights": raw(), "step": 8},
    "two levels": lambda: {"checkpoint": {"generator": raw()}, "args": {"lr": 0.1}},
}


@pytest.mark.parametrize("wrapping", WRAPPED)
def test_one_set_of_weights_is_found_without_a_word(
    wrapping: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(WRAPPED[wrapping](), tmp_path / "run.pth")
    weights = read_weights(tmp_path / "run.pth")
    assert same(fitting(weights, raw(), PATH), raw())
    assert capsys.readouterr().err == ""


def test_an_attribute_called_module_keeps_its_name() -> None:
    own = prefixed("module.", raw())
    assert same(fitting(own, own, PATH), own)
    assert same(fitting(prefixed("module.", own), own, PATH), own)


CHOICES: dict[str, tuple[Callable[[], Any], str]] = {
    "beside": (lambda: {"model": raw(), "model_ema": other()}, "model_ema"),
    "averaged first": (lambda: {"ema": other(), "net": raw()}, "ema"),
    "deep": (lambda: {"state": {"raw": raw(), "swa": other()}}, "state.swa"),
    "one state_dict": (
        lambda: {"state_dict": {**prefixed("ema_model.", other()), **prefixed("model.", raw())}},
        "ema_model",
    ),
}


@pytest.mark.parametrize("kind", CHOICES)
def test_of_raw_and_averaged_weights_the_raw_are_taken_and_both_can_be(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make, key = CHOICES[kind]
    content = make()
    assert same(fitting(weights_in(content, PATH), raw(), PATH), raw())
    (note,) = capsys.readouterr().err.splitlines()
    assert f"--weights-key {key}" in note
    assert same(fitting(weights_in(content, PATH, key), raw(), PATH, key), other())
    assert capsys.readouterr().err == ""


def test_a_key_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(CheckpointError, match="'averaged'; it holds model, ema"):
        weights_in({"model": raw(), "ema": other()}, PATH, "averaged")


def test_what_belongs_to_no_network_is_left_out_and_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    weights = {**prefixed("model.", raw()), "criterion.weight": torch.ones(3)}
    assert same(fitting(weights, raw(), PATH), raw())
    assert "criterion.weight" in capsys.readouterr().err


def test_weights_of_another_network_are_given_as_they_are() -> None:
    expected = {"other.weight": torch.zeros(2), "other.bias": torch.zeros(2)}
    assert same(fitting(raw(), expected, PATH), raw())


def test_no_reading_has_part_of_a_name() -> None:
    assert all(
        "module" not in key for _, part in readings(prefixed("module.", raw()))[1:] for key in part
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_torchscript_archive_is_refused_with_the_way_out(tmp_path: Path) -> None:
    torch.jit.script(network()).save(tmp_path / "traced.pt")  # type: ignore[no-untyped-call]
    with pytest.raises(CheckpointError, match=r"TorchScript .*jit\.load\('traced\.pt', 'cpu'\)"):
        load_plain(tmp_path / "traced.pt")


def test_a_program_of_torch_export_is_refused_with_the_way_out(tmp_path: Path) -> None:
    program = torch.export.export(network().eval(), (torch.zeros(1, 3, 8, 8),))
    torch.export.save(program, tmp_path / "program.pt2")
    with pytest.raises(CheckpointError, match=r"torch\.export\.load\('program\.pt2'\)"):
        load_plain(tmp_path / "program.pt2")


def test_a_pickled_network_is_named_and_not_run(tmp_path: Path) -> None:
    torch.save(network(), tmp_path / "whole.pth")
    with pytest.raises(CheckpointError, match=r"torch\.nn\.modules\.container\.Sequential"):
        load_plain(tmp_path / "whole.pth")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_any_precision_fill_a_network(dtype: torch.dtype, tmp_path: Path) -> None:
    torch.save(network().to(dtype).state_dict(), tmp_path / "half.pth")
    filled = network()
    filled.load_state_dict(dict(fitting(read_weights(tmp_path / "half.pth"), raw(), PATH)))
    for key, value in filled.state_dict().items():
        torch.testing.assert_close(value, raw()[key], atol=1e-2, rtol=1e-2)


def test_a_checkpoint_inside_itself_is_refused(tmp_path: Path) -> None:
    content: dict[str, object] = {"epoch": 1}
    content["model"] = content
    with pytest.raises(CheckpointError, match=r"loop\.pth"):
        weights_in(content, tmp_path / "loop.pth")
