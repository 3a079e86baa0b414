"""The state knows the best epoch and when to stop, and steps as the recipe says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from refinenet.backbones.backbone import Backbone
from refinenet.network import SegmentationNetwork
from refinenet.training.recipes.recipe import Recipe
from refinenet.training.run.state import EpochRecord, TrainingState, make_optimizer

CPU = torch.device("cpu")
RECIPE = Recipe(epochs=10, optimizer="sgd", momentum=0, weight_decay=0, warmup=0, ema=0)
NAN = float("nan")


class OneWeight(Backbone):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1, bias=False)


class Tiny(SegmentationNetwork):
    """One weight of 0 in the backbone, one of 0 outside."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = OneWeight()
        self.head = nn.Linear(1, 1, bias=False)
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    @property
    def pretrained_backbones(self) -> tuple[Backbone, ...]:
        return (self.backbone,)


def state_with(recipe: Recipe, *mious: float | None) -> TrainingState:
    state = TrainingState(Tiny(), recipe, CPU)
    state.records = [EpochRecord(i + 1, 1.0, miou, 0.9, 2.0, 0.5) for i, miou in enumerate(mious)]
    return state


@pytest.mark.parametrize(
    ("mious", "best"),
    [
        ((), None),
        ((None, None), None),
        ((0.3, 0.5, 0.4), 2),
        ((0.5, None, 0.5), 1),  # equally good later is no better
        ((NAN, 0.0, NAN), 2),
        ((NAN, NAN), 1),
    ],
)
def test_the_best_epoch_is_the_first_of_the_highest(
    mious: tuple[float | None, ...], best: int | None
) -> None:
    found = state_with(RECIPE, *mious).best
    assert (found and found.epoch) == best


@pytest.mark.parametrize(
    ("mious", "finished"),
    [
        ((0.5, 0.4, 0.4), False),
        ((0.5, 0.4, 0.4, 0.4), True),
        ((0.5, 0.4, 0.6, 0.4, 0.4), False),
        ((0.5, None, None, None), False),  # not validated is not worse
        ((0.5, None, None, 0.4), True),
        ((None,) * 10, True),
    ],
)
def test_patience_ends_a_training_that_gets_no_better(
    mious: tuple[float | None, ...], finished: bool
) -> None:
    assert state_with(replace(RECIPE, patience=3), *mious).finished is finished


def test_without_patience_all_epochs_are_trained() -> None:
    assert not state_with(RECIPE, 0.5, *[0.1] * 8).finished
    assert state_with(RECIPE, 0.5, *[0.1] * 9).finished


def step(recipe: Recipe, gradient: tuple[float, float], progress: float = 0) -> list[float]:
    """What one step makes of the two weights."""
    state = TrainingState(Tiny(), recipe, CPU)
    for parameter, value in zip(state.model.parameters(), gradient, strict=True):
        parameter.grad = torch.full_like(parameter, value)
    state.step(progress)
    assert all(parameter.grad is None for parameter in state.model.parameters())
    return [parameter.item() for parameter in state.model.parameters()]


def test_a_step_follows_the_gradient_at_the_rates_of_the_schedule() -> None:
    recipe = replace(RECIPE, backbone_lr=0.1, decoder_lr=0.5, poly_power=1)
    assert step(recipe, (3, 4)) == pytest.approx([-0.3, -2])
    assert step(recipe, (3, 4), progress=0.75) == pytest.approx([-0.075, -0.5])


def test_clipping_bounds_the_norm_of_all_gradients_together() -> None:
    recipe = replace(RECIPE, backbone_lr=1, decoder_lr=1, clip_norm=1)
    assert step(recipe, (3, 4)) == pytest.approx([-0.6, -0.8])
    assert step(recipe, (0.3, 0.4)) == pytest.approx([-0.3, -0.4])


@pytest.mark.parametrize("decay", [0.5, 0.99])
def test_the_decay_of_the_average_rises_with_the_steps(decay: float) -> None:
    recipe = replace(RECIPE, backbone_lr=1, ema=decay, epochs=1)
    state = TrainingState(Tiny(), recipe, CPU)
    assert state.averaged is not None
    expected = 0.0
    for n in range(40):
        for parameter in state.model.parameters():
            parameter.grad = torch.full_like(parameter, -1)
        state.step(0)
        share = min(decay, (1 + n) / (10 + n))
        expected = share * expected + (1 - share) * (n + 1)  # a weight grows by one in each step
        assert next(state.kept.parameters()).item() == pytest.approx(expected, rel=1e-5)
    assert int(state.to_dict()["averaged"]["n_averaged"]) == 40


def test_the_average_of_an_earlier_version_goes_on_with_the_steps_that_it_has() -> None:
    recipe = replace(RECIPE, ema=0.99)
    earlier = AveragedModel(Tiny(), multi_avg_fn=get_ema_multi_avg_fn(0.99))  # type: ignore[no-untyped-call]
    for _ in range(30):
        earlier.update_parameters(Tiny())
    state = TrainingState(Tiny(), recipe, CPU)
    saved = {**state.to_dict(), "averaged": earlier.state_dict()}
    assert saved["averaged"].keys() == state.to_dict()["averaged"].keys()
    state.restore(saved)
    assert state.averaged is not None
    assert state.averaged.steps == 30
    with torch.no_grad():
        for parameter in state.model.parameters():
            parameter.fill_(1)
    state.averaged.update(state.model)
    assert next(state.kept.parameters()).item() == pytest.approx(1 - 31 / 40)


class Normed(Tiny):
    """A norm and biases beside the two weights."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.convolution = nn.Conv2d(3, 2, 1)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize(("decayed", "decay"), [("weights", 0.0), ("all", 0.5)])
def test_biases_and_norms_decay_only_where_the_recipe_says_all(
    optimizer: Any, decayed: Any, decay: float
) -> None:
    recipe = replace(RECIPE, optimizer=optimizer, weight_decay=0.5, decayed=decayed)
    model = Normed()
    found = {
        id(parameter): group["weight_decay"]
        for group in make_optimizer(model, recipe).param_groups
        for parameter in group["params"]
    }
    decays = {name: found[id(parameter)] for name, parameter in model.named_parameters()}
    assert decays == {
        "backbone.layer.weight": 0.5,
        "head.weight": 0.5,
        "convolution.weight": 0.5,
        "convolution.bias": decay,
        "norm.weight": decay,
        "norm.bias": decay,
    }


def test_without_averaging_the_network_itself_is_kept() -> None:
    state = TrainingState(Tiny(), RECIPE, CPU)
    assert state.averaged is None
    assert state.kept is state.model
    averaging = TrainingState(Tiny(), replace(RECIPE, ema=0.9), CPU)
    assert averaging.kept is not averaging.model
