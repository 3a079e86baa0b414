"""A recipe holds every number, presets are the published ones, and options change any of them."""

from __future__ import annotations

import argparse
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest

from refinenet.data.augmentation import Augmentation
from refinenet.training.recipes.recipe import PRESETS, Recipe, learning_rate_factor
from refinenet.training.recipes.recipe_options import add_recipe_options, take_recipe
from runtime.errors import InputError

ROOT = Path(__file__).resolve().parents[4]


def recipe_of(*arguments: str, variant: str = "lw-mobilenetv2") -> Recipe:
    parser = argparse.ArgumentParser()
    add_recipe_options(parser)
    given = vars(parser.parse_args(arguments))
    given["variant"] = variant
    recipe, _ = take_recipe(given)
    assert given == {"variant": variant}  # nothing else is left over
    return recipe


def rates(recipe: Recipe, progress: float) -> tuple[float, float]:
    factor = learning_rate_factor(progress, recipe)
    return recipe.backbone_lr * factor, recipe.decoder_lr * factor


def test_the_default_recipe_is_that_of_the_shipped_weights() -> None:
    recipe = recipe_of()
    assert recipe == Recipe() == PRESETS["camvid-mobilenet"]
    assert (recipe.epochs, recipe.batch, recipe.optimizer) == (26, 8, "adamw")
    assert (recipe.backbone_lr, recipe.decoder_lr, recipe.weight_decay) == (3e-4, 1e-3, 1e-2)
    assert (recipe.schedule, recipe.warmup, recipe.ema) == ("poly", 0.03, 0.99)
    assert recipe.augmentation == Augmentation(320, (0.5, 2.0), 0, 0.5, 0.3)


def unasked(*arguments: str) -> frozenset[str]:
    parser = argparse.ArgumentParser()
    add_recipe_options(parser)
    return take_recipe(vars(parser.parse_args(arguments)) | {"variant": "lw-50"})[1]


def test_what_is_given_is_asked_for_and_a_preset_asks_for_all() -> None:
    entries = {field.name for kind in (Recipe, Augmentation) for field in fields(kind)}
    assert unasked() == entries
    assert unasked("--batch", "4", "--scale-range", "1", "1") == entries - {"batch", "scales"}
    assert unasked("--preset", "camvid-mobilenet") == frozenset()
    assert unasked("--preset", "paper", "--batch", "4") == frozenset()


def test_light_weight_has_three_stages_with_rates_of_their_own() -> None:
    recipe = recipe_of("--preset", "light-weight")
    stages = [rates(recipe, (epoch + 0.5) / 300) for epoch in (0, 99, 100, 199, 200, 299)]
    first, second, third = (5e-4, 5e-3), (2.5e-4, 2.5e-3), (1e-4, 1e-3)
    expected = [first, first, second, second, third, third]
    assert [pytest.approx(stage) for stage in stages] == expected
    assert (recipe.epochs, recipe.batch, recipe.momentum) == (300, 6, 0.9)
    assert (recipe.weight_decay, recipe.ema, recipe.loss_at) == (1e-5, 0, "image")
    assert recipe.augmentation == Augmentation(500, (0.5, 2.0), 350, 0.5, 0)


def test_refinenet_paper_is_the_authors_recipe() -> None:
    recipe = recipe_of("--preset", "refinenet-paper")
    assert (recipe.optimizer, recipe.momentum, recipe.weight_decay) == ("sgd", 0.9, 5e-4)
    assert rates(recipe, 0) == pytest.approx((5e-5, 5e-4))
    assert rates(recipe, 0.9) == pytest.approx((5e-6, 5e-5))
    assert (recipe.epochs, recipe.batch, recipe.loss_at) == (600, 1, "output")
    assert recipe.augmentation == Augmentation(400, (0.7, 1.3), 0, 0.5, 0)


@pytest.mark.parametrize(
    ("variant", "preset"),
    [("lw-101", "light-weight"), ("refinenet-50+conv-pool", "refinenet-paper")],
)
def test_paper_is_the_recipe_of_the_variants_paper(variant: str, preset: str) -> None:
    assert recipe_of("--preset", "paper", variant=variant) == PRESETS[preset]


def test_every_entry_of_a_recipe_has_an_option() -> None:
    parser = argparse.ArgumentParser()
    add_recipe_options(parser)
    options = {action.dest for action in parser._actions}
    entries = {field.name for kind in (Recipe, Augmentation) for field in fields(kind)}
    assert options - {"help", "preset"} == entries - {"augmentation"}


@pytest.mark.parametrize("preset", PRESETS)
def test_an_option_changes_its_number_alone(preset: str) -> None:
    given = ("--clip-norm", "2.5", "--scale-range", "0.8", "1.2", "--step-factors", "1,0.1,0.01")
    given = (*given, "--class-weights", "median")
    base, recipe = PRESETS[preset], recipe_of("--preset", preset, *given)
    assert recipe == replace(
        base,
        clip_norm=2.5,
        step_factors=(1, 0.1, 0.01),
        class_weights="median",
        augmentation=replace(base.augmentation, scales=(0.8, 1.2)),
    )
    assert type(asdict(recipe)["augmentation"]["scales"]) is tuple  # as a saved state has it


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("momentum", 1.5),
        ("clip_norm", -1),
        ("clip_norm", float("nan")),
        ("poly_power", float("inf")),
        ("patience", -1),
        ("step_factors", ()),
        ("step_factors", (1, 2)),
    ],
)
def test_a_number_out_of_range_is_refused(option: str, value: Any) -> None:
    with pytest.raises(InputError, match=option):
        Recipe(**{option: value})


@pytest.mark.parametrize("factors", [(1.0,), (1.0, 0.5, 0.2), (1.0, 0.1, 0.01, 0.001)])
def test_step_factors_share_the_training_evenly(factors: tuple[float, ...]) -> None:
    recipe = Recipe(schedule="step", step_factors=factors, warmup=0)
    steps = [learning_rate_factor(step / 120, recipe) for step in range(120)]
    length = 120 // len(factors)
    assert steps == [factor for factor in factors for _ in range(length)]


def shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def preset_table() -> str:
    """The presets as docs/training.md shows them."""
    lines = [
        "| option | " + " | ".join(f"`{name}`" for name in PRESETS) + " |",
        "|---|" + "---|" * len(PRESETS),
    ]
    recipes = [asdict(recipe) for recipe in PRESETS.values()]
    flat = [recipe | recipe.pop("augmentation") for recipe in recipes]
    for name in flat[0]:
        option = name.replace("_", "-")
        values = [shown(recipe[name]) for recipe in flat]
        if name == "scales":
            option, values = "scale-range", [value.replace(",", " ") for value in values]
        lines.append(f"| `--{option}` | " + " | ".join(values) + " |")
    return "\n".join(lines) + "\n"


def test_the_documented_presets_are_the_presets() -> None:
    text = (ROOT / "docs/training.md").read_text(encoding="utf-8")
    _, _, rest = text.partition("<!-- presets:begin -->\n")
    assert sorted(rest.partition("<!-- presets:end -->")[0].splitlines()) == sorted(
        preset_table().splitlines()
    )
