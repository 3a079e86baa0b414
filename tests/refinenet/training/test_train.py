"""A training ends where its recipe leads, whether or not it was interrupted on the way."""

from __future__ import annotations

import csv
import multiprocessing
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from training_states import equal, state_of

from refinenet.checkpoints.load import load_checkpoint, load_model, read_weights
from refinenet.data.augmentation import Augmentation
from refinenet.data.datasets import CAMVID, LabelledImages, open_dataset
from refinenet.training import batches
from refinenet.training.loss import class_weights, label_counts
from refinenet.training.recipes.recipe import Recipe, learning_rate_factor
from refinenet.training.run.state import make_optimizer
from refinenet.training.start import initial_model
from refinenet.training.train import TrainOptions, train
from runtime.card import read_card
from runtime.errors import CheckpointError, DeviceError, InputError
from runtime.files import sha256_of

RECIPE = Recipe(epochs=2, batch=2, seed=1, augmentation=Augmentation(crop=64))
FROZEN = replace(RECIPE, epochs=1, backbone_lr=0, decoder_lr=0)
RESULTS = ("epoch", "loss", "val_miou", "val_pixel_accuracy")


@pytest.fixture(scope="module")
def options(small_camvid: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainOptions:
    """Two epochs of two steps each, in a folder of their own."""
    return TrainOptions(
        variant="lw-mobilenetv2",
        data=small_camvid,
        output=tmp_path_factory.mktemp("whole_run"),
        recipe=RECIPE,
        workers=0,
        device="cpu",
        quiet=True,
    )


@pytest.fixture(scope="module")
def best(options: TrainOptions) -> Path:
    """The best weights of a run from start to end; its folder is for reading only."""
    return train(options)


def results(folder: Path) -> list[list[str]]:
    """The log without the times, which no two runs share."""
    with (folder / "log.csv").open(newline="", encoding="utf-8") as file:
        return [[row[name] for name in RESULTS] for row in csv.DictReader(file)]


def interrupt_at(sample: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while this training sample, counted from 1, is made."""
    count, augment = 0, batches.augment

    def counting(*arguments: Any) -> Any:
        nonlocal count
        count += 1
        if count == sample:
            raise KeyboardInterrupt
        return augment(*arguments)

    monkeypatch.setattr(batches, "augment", counting)


def test_an_interrupted_run_resumes_bit_for_bit(
    options: TrainOptions, best: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = replace(options, output=tmp_path)
    with monkeypatch.context() as patch:
        interrupt_at(4 + 3, patch)  # in the second epoch, after its first step
        with pytest.raises(KeyboardInterrupt):
            train(mine)
    halfway, whole = state_of(tmp_path), state_of(best.parent)
    assert results(tmp_path) == results(best.parent)[:1]
    for part in ("model", "averaged", "optimizer"):
        assert not equal(halfway[part], whole[part])
    assert {path.name for path in tmp_path.iterdir()} == {"state.pt", "best.safetensors", "log.csv"}

    torch.manual_seed(999)  # another process has another generator
    assert train(replace(mine, resume=True)) == tmp_path / best.name
    resumed = state_of(tmp_path)
    assert resumed.keys() == whole.keys()
    for part in resumed.keys() - {"records"}:
        assert equal(resumed[part], whole[part]), part
    assert results(tmp_path) == results(best.parent)
    assert (tmp_path / best.name).read_bytes() == best.read_bytes()


def test_a_resumed_run_keeps_where_it_came_from(
    options: TrainOptions, best: Path, tmp_path: Path
) -> None:
    mine = replace(options, output=tmp_path, weights=best, recipe=FROZEN, note="a trial")
    card = read_card(train(mine))
    assert read_card(train(replace(mine, resume=True, weights=None, note=None))) == card


def test_a_run_interrupted_in_its_first_epoch_starts_again(
    options: TrainOptions, best: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = replace(options, output=tmp_path, resume=True, recipe=replace(RECIPE, epochs=1))
    with monkeypatch.context() as patch:
        interrupt_at(3, patch)
        with pytest.raises(KeyboardInterrupt):
            train(mine)
    assert list(tmp_path.iterdir()) == []
    train(mine)
    assert (tmp_path / best.name).is_file()


def test_resuming_a_finished_run_changes_nothing(options: TrainOptions, best: Path) -> None:
    files = {path: path.read_bytes() for path in best.parent.iterdir()}
    assert train(replace(options, resume=True)) == best
    assert {path: path.read_bytes() for path in best.parent.iterdir()} == files


@pytest.fixture(scope="module")
def other(options: TrainOptions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights of one epoch with another seed and a quick moving average."""
    recipe = replace(RECIPE, epochs=1, seed=2, ema=0.5)
    return train(replace(options, output=tmp_path_factory.mktemp("other_run"), recipe=recipe))


def test_another_seed_is_another_training(best: Path, other: Path) -> None:
    assert results(other.parent)[0] != results(best.parent)[0]


def test_the_log_has_a_row_per_epoch(best: Path) -> None:
    rows = results(best.parent)
    assert [row[0] for row in rows] == ["1", "2"]
    for _, loss, miou, accuracy in rows:
        assert 0 < float(loss) < 20
        assert 0 <= float(miou) <= 1
        assert 0 <= float(accuracy) <= 1


def test_the_best_weights_carry_recipe_and_result(best: Path) -> None:
    model, card = load_checkpoint(best)
    assert (card.variant, card.classes) == ("lw-mobilenetv2", CAMVID.classes)
    assert card.details["dataset"] == "camvid"
    assert card.details["recipe"].keys() == asdict(RECIPE).keys()
    assert card.details["recipe"]["augmentation"]["crop"] == 64
    highest = max(float(row[2]) for row in results(best.parent))
    assert card.details["result"]["val_miou"] == highest
    assert "research use" in card.license_note
    assert not model.training


def test_the_averaged_weights_are_kept(other: Path) -> None:
    kept, state, key = read_weights(other), state_of(other.parent), "classifier.0.weight"
    assert torch.equal(kept[key], state["averaged"][f"module.{key}"])
    assert not torch.equal(kept[key], state["model"][key])


def test_training_leaves_the_batch_norm_statistics_alone(best: Path) -> None:
    trained = read_weights(best)
    means = [value for key, value in trained.items() if key.endswith("running_mean")]
    variances = [value for key, value in trained.items() if key.endswith("running_var")]
    scales = [value for key, value in trained.items() if key.endswith("expand.1.weight")]
    assert means
    assert all((mean == 0).all() for mean in means)
    assert all((variance == 1).all() for variance in variances)
    assert not all((scale == 1).all() for scale in scales)


def test_half_weights_are_half_the_size(options: TrainOptions, best: Path, tmp_path: Path) -> None:
    half = train(replace(options, output=tmp_path, recipe=FROZEN, weights=best, half=True))
    assert half.stat().st_size < 0.55 * best.stat().st_size
    assert equal(dict(read_weights(half)), {k: v.half() for k, v in read_weights(best).items()})


def test_an_existing_run_is_not_overwritten(options: TrainOptions, best: Path) -> None:
    content = best.read_bytes()
    with pytest.raises(InputError, match="already holds a training run; add --resume"):
        train(options)
    assert best.read_bytes() == content


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 5}, ("seed", "1, now 5")),
        ({"optimizer": "sgd", "epochs": 3}, ("optimizer", "adamw, now sgd", "epochs", "2, now 3")),
        ({"augmentation": Augmentation(crop=96)}, ("crop", "64", "now", "96")),
    ],
)
def test_resuming_with_another_recipe_names_the_change(
    change: dict[str, Any], words: tuple[str, ...], options: TrainOptions, best: Path
) -> None:
    with pytest.raises(InputError, match=str(best.parent)) as error:
        train(replace(options, resume=True, recipe=replace(RECIPE, **change)))
    assert all(word in str(error.value) for word in words)


def test_resuming_another_network_or_other_data_is_refused(
    options: TrainOptions, best: Path, camvid: Path
) -> None:
    for change in ({"variant": "lw-50"}, {"data": camvid}):
        with pytest.raises(InputError, match=str(best.parent)) as error:
            train(replace(options, resume=True, **change))
        assert "\n" not in str(error.value)


def test_a_broken_state_is_refused(options: TrainOptions, best: Path, tmp_path: Path) -> None:
    mine, whole = replace(options, output=tmp_path, resume=True), best.with_name("state.pt")
    for content in (whole.read_bytes()[:100_000], b"no state"):
        (tmp_path / "state.pt").write_bytes(content)
        with pytest.raises(CheckpointError, match=r"state\.pt is not a (whole|plain)"):
            train(mine)
    torch.save({"epoch": 3}, tmp_path / "state.pt")
    with pytest.raises(InputError, match="is not the state of a training"):
        train(mine)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_backbone_and_decoder_have_learning_rates_of_their_own(
    optimizer: Any, mobile: nn.Module
) -> None:
    recipe = replace(RECIPE, optimizer=optimizer, backbone_lr=1e-4, decoder_lr=2e-3)
    groups = make_optimizer(mobile, recipe).param_groups
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert sum(len(group["params"]) for group in groups) == len(rates)
    assert {name: rates[id(p)] for name, p in mobile.named_parameters()} == {
        name: 1e-4 if name.startswith("backbone.") else 2e-3
        for name, _ in mobile.named_parameters()
    }


@pytest.mark.parametrize(
    ("schedule", "warmup", "progress", "factor"),
    [
        ("poly", 0, 0, 1),
        ("poly", 0, 0.5, 0.5**0.9),
        ("poly", 0, 1, 0),
        ("poly", 0.1, 0, 0),
        ("poly", 0.1, 0.05, 0.5 * 0.95**0.9),
        ("poly", 0.1, 0.1, 0.9**0.9),
        ("step", 0, 0, 1),
        ("step", 0, 0.33, 1),
        ("step", 0, 0.34, 0.5),
        ("step", 0, 0.67, 0.2),
        ("step", 0, 1, 0.2),
        ("step", 0.1, 0.02, 0.2),
    ],
)
def test_the_learning_rates_follow_the_schedule(
    schedule: Any, warmup: float, progress: float, factor: float
) -> None:
    recipe = replace(RECIPE, schedule=schedule, warmup=warmup)
    assert learning_rate_factor(progress, recipe) == pytest.approx(factor)


def test_the_optimizer_steps_at_the_rates_of_the_schedule(best: Path) -> None:
    groups = state_of(best.parent)["optimizer"]["param_groups"]
    factor = learning_rate_factor(3 / 4, RECIPE)  # of the last of four steps
    assert [group["lr"] for group in groups] == pytest.approx(
        [rate * factor for rate in (RECIPE.backbone_lr, RECIPE.decoder_lr) for _ in range(2)]
    )


@pytest.fixture
def known_labels(camvid: Path, tmp_path: Path) -> LabelledImages:
    """Half sky, a quarter building, an eighth each of pole and void."""
    label, path = np.zeros((360, 480), np.uint8), tmp_path / "label.png"
    label[180:270] = 1
    label[270:315] = 2
    label[315:] = CAMVID.ignore_id
    Image.fromarray(label).save(path)
    image = next((camvid / "images/val").glob("*.jpg"))
    return LabelledImages(CAMVID, ((image, path),))


@pytest.mark.parametrize(("kind", "power"), [("sqrt", 0.5), ("median", 1)])
def test_class_weights_are_a_power_of_median_frequency_over_frequency(
    kind: Any, power: float, known_labels: LabelledImages
) -> None:
    weights = class_weights(label_counts(known_labels), 11, kind)
    assert weights.dtype == torch.float32
    assert weights.tolist() == pytest.approx([0.5**power, 1, 2**power, *[1] * 8])


def test_class_weights_none_is_one_each(known_labels: LabelledImages) -> None:
    assert class_weights(label_counts(known_labels), 11, "none").tolist() == [1] * 11


def losses(options: TrainOptions, **changes: Any) -> list[float]:
    """The mean loss of each epoch; the images are whole and differ by a mirror at most."""
    whole_images = Augmentation(crop=128, scales=(1, 1), colour=0)
    recipe = Recipe(batch=2, decoder_lr=3e-3, warmup=0, augmentation=whole_images)
    recipe = replace(recipe, **changes)
    train(replace(options, recipe=recipe, validate_every=recipe.epochs))
    return [float(row[1]) for row in results(options.output)]


def test_the_loss_goes_down_on_the_same_few_images(
    options: TrainOptions, imagenet: Path, tmp_path: Path
) -> None:
    mine = replace(options, backbone_weights=imagenet)
    learning = losses(replace(mine, output=tmp_path / "learning"), epochs=6)
    assert learning[-1] < 0.6 * learning[0]
    idle = replace(mine, output=tmp_path / "idle")
    frozen = losses(idle, epochs=2, backbone_lr=0, decoder_lr=0)
    assert frozen[1] == pytest.approx(frozen[0], rel=0.1)
    assert read_card(idle.output / "best.safetensors").parents == {"backbone": sha256_of(imagenet)}
    stem = read_weights(idle.output / "best.safetensors")["backbone.stem.0.weight"]
    assert torch.equal(stem, read_weights(imagenet)["features.0.0.weight"])


def test_fine_tuning_starts_from_the_given_weights(
    options: TrainOptions, best: Path, tmp_path: Path
) -> None:
    tuned = train(replace(options, output=tmp_path, weights=best, recipe=FROZEN, note="a trial"))
    assert equal(dict(read_weights(tuned)), dict(read_weights(best)))
    card = read_card(tuned)
    assert card.parents == {"weights": sha256_of(best)}
    assert card.details["note"] == "a trial"


def test_fine_tuning_for_other_classes_asks_for_a_new_classifier(
    options: TrainOptions, published_mobile: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"21 classes; expected the 11 of .*--new-classifier"):
        train(replace(options, output=tmp_path, weights=published_mobile))


def test_a_new_classifier_keeps_everything_but_the_last_convolution(
    options: TrainOptions, published_mobile: Path, tmp_path: Path
) -> None:
    given = load_model(published_mobile).state_dict()
    options = replace(
        options, output=tmp_path, weights=published_mobile, new_classifier=True, recipe=FROZEN
    )
    tuned = read_weights(train(options))
    assert tuned["classifier.0.weight"].shape[0] == 11
    assert all(
        torch.equal(value, given[key])
        for key, value in tuned.items()
        if not key.startswith("classifier.")
    )


def test_of_several_sets_of_weights_the_named_one_is_fine_tuned(
    options: TrainOptions, published_mobile: Path, tmp_path: Path
) -> None:
    images = open_dataset("camvid", options.data, "train")
    raw = torch.load(published_mobile, weights_only=True)
    averaged = {key: value + 1 for key, value in raw.items()}
    path = tmp_path / "run.pth"
    torch.save({"model": raw, "ema": averaged}, path)
    chosen = replace(options, weights=path, weights_key="ema", new_classifier=True)
    start = initial_model(chosen, images).state_dict()
    assert torch.equal(start["backbone.stem.0.weight"], averaged["layer1.0.weight"])
    with pytest.raises(InputError, match="--weights FILE"):
        initial_model(replace(options, weights_key="ema"), images)


def test_a_new_classifier_needs_weights(options: TrainOptions, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--new-classifier is for trained weights"):
        train(replace(options, output=tmp_path, new_classifier=True))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("backbone_lr", -1e-3),
        ("decoder_lr", float("nan")),
        ("weight_decay", -1),
        ("warmup", 2),
        ("ema", 1.5),
        ("seed", -1),
    ],
)
def test_a_recipe_out_of_range_is_refused(option: str, value: float) -> None:
    with pytest.raises(InputError, match=f"{option} is {value}; expected 0 to"):
        replace(RECIPE, **{option: value})


@pytest.mark.parametrize("scales", [(0, 1), (2, 1), (float("nan"), 1), (1, float("inf"))])
def test_scales_that_are_no_range_are_refused(scales: tuple[float, float]) -> None:
    with pytest.raises(InputError, match=r"expected a range within 0\.1 to 10"):
        Augmentation(scales=scales)


def test_too_few_images_for_a_batch_are_refused(options: TrainOptions, tmp_path: Path) -> None:
    recipe = replace(RECIPE, batch=5)
    with pytest.raises(InputError, match="4 training images for batches of 5"):
        train(replace(options, output=tmp_path, recipe=recipe))


@pytest.mark.parametrize("device", ["nonsense", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(
    device: str, options: TrainOptions, tmp_path: Path
) -> None:
    with pytest.raises(DeviceError, match=f"'{device}'") as error:
        train(replace(options, output=tmp_path / "run", device=device))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_label_is_one_line_wherever_it_is_read(
    workers: int, options: TrainOptions, tiny_camvid: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    (data / "labels/train").mkdir(parents=True)
    for name in ("images", "train.txt", "val.txt", "labels/val"):
        (data / name).symlink_to(tiny_camvid / name)
    for name in (data / "train.txt").read_text(encoding="utf-8").split():
        Image.new("RGB", (480, 360), (1, 2, 3)).save(data / f"labels/train/{name}.png")
    recipe = replace(RECIPE, class_weights="none")  # or the labels would be read before
    with pytest.raises(InputError) as error:
        train(replace(options, data=data, output=tmp_path, recipe=recipe, workers=workers))
    assert str(error.value).startswith(f"{data}/labels/train/")
    assert "[1, 2, 3]" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("moment", ["validate", "epoch_record"])
def test_a_loader_that_dies_between_two_passes_is_one_line(
    moment: str, options: TrainOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = multiprocessing.active_children()

    def killing(*_: object) -> None:
        for child in set(multiprocessing.active_children()) - set(before):
            child.kill()
        for _ in range(100):  # in one of these lines the signal comes
            time.sleep(0.01)

    monkeypatch.setattr(f"refinenet.training.train.{moment}", killing)
    with pytest.raises(InputError, match="--workers 1") as error:
        train(replace(options, output=tmp_path, workers=1))
    assert "--resume" in str(error.value)
    assert "\n" not in str(error.value)
