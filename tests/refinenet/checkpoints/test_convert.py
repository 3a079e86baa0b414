"""refinenet convert: what is loaded from the result is what was in the checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_outputs import TOLERANCE, VARIANTS, Golden
from torch import nn

from refinenet import load_model
from refinenet.__main__ import main
from refinenet.checkpoints.convert import ConvertOptions, convert
from refinenet.checkpoints.load import load_checkpoint, save_checkpoint
from refinenet.data.datasets import CAMVID, VOC
from runtime.card import Card, read_card
from runtime.errors import CheckpointError, InputError
from runtime.files import sha256_of

CASE = "1x97x129"


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "converted.safetensors"


def scores(model: nn.Module) -> torch.Tensor:
    image = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found: torch.Tensor = model(image)
    return found


@pytest.mark.parametrize("name", [pytest.param("rf101", marks=pytest.mark.slow), "rf_lw50", "mbv2"])
def test_a_converted_checkpoint_gives_the_golden_outputs(
    name: str, golden: Golden, output: Path, tmp_path: Path
) -> None:
    published = tmp_path / "weights.pth.tar"
    torch.save(golden.weights(name), published)
    assert convert(published, output, ConvertOptions()) == output
    model, card = load_checkpoint(output)
    assert card.variant == VARIANTS[name]
    assert card.parents == {"weights": sha256_of(published)}
    assert torch.equal(scores(model), scores(load_model(published)))
    assert golden.error(model, CASE, golden.logits(name)[CASE]) <= TOLERANCE
    published.unlink()
    output.unlink()  # up to half a gigabyte


def test_averaged_weights_are_taken_by_their_key(
    mobile: nn.Module, output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    averaged = {key: value * 0.5 for key, value in mobile.state_dict().items()}
    given = tmp_path / "run.ckpt"
    torch.save({"model": mobile.state_dict(), "model_ema": averaged, "epoch": 3}, given)
    assert main(["convert", str(given), str(output)]) == 0
    assert "--weights-key model_ema" in capsys.readouterr().err
    assert torch.equal(scores(load_model(output)), scores(mobile.eval()))
    assert main(["convert", str(given), str(output), "--weights-key", "model_ema"]) == 0
    assert capsys.readouterr().err == ""
    assert read_card(output).details["taken_from"] == "model_ema"
    bias = load_model(output).state_dict()["classifier.0.bias"]
    assert torch.equal(bias, averaged["classifier.0.bias"])


def test_the_variant_can_be_said_where_no_key_tells(
    mobile: nn.Module, output: Path, tmp_path: Path
) -> None:
    given = tmp_path / "given.pth"
    torch.save(mobile.state_dict(), given)
    variant = "lw-mobilenetv2+conv-pool"
    assert main(["convert", str(given), str(output), "--variant", variant]) == 0
    assert read_card(output).variant == variant
    assert torch.equal(scores(load_model(output)), scores(load_model(given, variant)))
    assert not torch.equal(scores(load_model(output)), scores(load_model(given)))
    with pytest.raises(CheckpointError, match="lw-50"):
        load_model(given, "lw-50")


def test_a_note_joins_what_the_card_says(
    mobile: nn.Module, mobile_card: Card, output: Path, tmp_path: Path
) -> None:
    given = tmp_path / "given.safetensors"
    save_checkpoint(given, mobile, replace(mobile_card, details={"dataset": "camvid"}))
    convert(given, output, ConvertOptions(note="the second of two runs"))
    assert read_card(output).details == {"dataset": "camvid", "note": "the second of two runs"}


def test_half_the_bytes_keep_the_outputs_nearly(
    published_mobile: Path, golden: Golden, tmp_path: Path
) -> None:
    full, half = tmp_path / "full.safetensors", tmp_path / "half.safetensors"
    convert(published_mobile, full, ConvertOptions())
    convert(published_mobile, half, ConvertOptions(half=True))
    assert 0.49 < half.stat().st_size / full.stat().st_size < 0.52
    error = golden.error(load_model(half), CASE, golden.logits("mbv2")[CASE])
    assert TOLERANCE < error < 0.1


def test_a_value_too_large_for_half_is_refused(
    mobile: nn.Module, mobile_card: Card, output: Path
) -> None:
    weight = mobile.get_buffer("backbone.stem.1.running_var")
    weight[3] = 65_504  # the largest float16
    save_checkpoint(output, mobile, mobile_card, torch.float16)
    weight[3] = 70_000
    with pytest.raises(InputError, match=r"stem\.1\.running_var holds values too large"):
        save_checkpoint(output, mobile, mobile_card, torch.float16)


def test_a_state_dict_of_our_own_keys_is_recognized(mobile: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "mine.pth"
    torch.save(mobile.state_dict(), path)
    model, card = load_checkpoint(path)
    assert (card.variant, len(card.classes)) == ("lw-mobilenetv2", len(CAMVID.classes))
    assert torch.equal(scores(model), scores(mobile))


def test_optimizer_counters_and_a_numpy_score_may_lie_beside_the_weights(
    published_mobile: Path, tmp_path: Path
) -> None:
    weights = torch.load(published_mobile, weights_only=True)
    optimizer = {
        "state": {0: {"momentum_buffer": torch.ones(3)}},
        "param_groups": [{"lr": 5e-4, "nesterov": False, "foreach": None, "params": [0]}],
    }
    path, expected = tmp_path / "checkpoint.pth.tar", scores(load_model(published_mobile))
    for best in (np.float64(0.7), np.float32(0.7), np.int64(70), 0.7):
        content = {
            "segmenter": {f"module.{key}": value for key, value in weights.items()},
            "optimizer": optimizer,
            "epoch_start": 7,
            "best_val": best,
        }
        torch.save(content, path)
        assert torch.equal(scores(load_model(path)), expected)
    torch.save(content | {"best_val": np.array([None])}, path)  # may hold any object
    with pytest.raises(CheckpointError, match="may be code and was not run"):
        load_model(path)


def test_a_mismatch_names_the_nearest_variant(golden: Golden, tmp_path: Path) -> None:
    path = tmp_path / "odd.pth"
    weights = golden.weights("mbv2")
    for number in (8, 7, 6, 5):
        weights[f"strange{number}.weight"] = weights.pop(f"conv{number}.weight")
    torch.save(weights, path)
    with pytest.raises(CheckpointError) as error:
        load_model(path)
    assert str(error.value) == (
        f"{path} (lw-mobilenetv2, 21 classes) does not fit the network: keys 4 missing, such as "
        "blocks.0.fuse.convs.0.weight, blocks.0.fuse.convs.1.weight, blocks.1.fuse.convs.0.weight; "
        "4 unexpected, such as strange8.weight, strange7.weight, strange6.weight; "
        "the nearest variant is lw-mobilenetv2"
    )


def test_names_and_colours_come_from_a_dataset_or_a_file(
    mobile: nn.Module, output: Path, tmp_path: Path
) -> None:
    weights, names = tmp_path / "mine.pth", tmp_path / "names.txt"
    torch.save(mobile.state_dict(), weights)
    camvid = read_card(convert(weights, output, ConvertOptions(dataset="camvid")))
    assert (camvid.classes, camvid.palette, camvid.ignore_id) == (
        *(CAMVID.classes, CAMVID.palette, CAMVID.ignore_id),
    )
    assert "CamVid" in camvid.license_note
    names.write_text("\n".join(f"thing {index}" for index in range(11)) + "\n\n", encoding="utf-8")
    named = read_card(convert(weights, output, ConvertOptions(classes=names)))
    assert named.classes == tuple(f"thing {index}" for index in range(11))
    assert named.palette == VOC.palette[:11]


def test_the_order_of_the_pooling_is_what_the_user_says(
    published_mobile: Path, tmp_path: Path
) -> None:
    outputs = {}
    for order in ("pool-conv", "conv-pool"):
        path = convert(
            published_mobile, tmp_path / f"{order}.safetensors", ConvertOptions(pooling=order)
        )
        outputs[order] = scores(load_model(path))
    assert torch.equal(outputs["pool-conv"], scores(load_model(published_mobile)))
    assert not torch.allclose(outputs["conv-pool"], outputs["pool-conv"])
    assert read_card(tmp_path / "conv-pool.safetensors").variant == "lw-mobilenetv2+conv-pool"
    assert read_card(tmp_path / "pool-conv.safetensors").variant == "lw-mobilenetv2"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dataset", "camvid"], "camvid names 11 classes; {weights} has 21"),
        (["--dataset", "mars"], "unknown dataset 'mars'; expected one of camvid, "),
        (["--classes", "{names}"], "{names} names 2 classes; {weights} has 21"),
        (["--classes", "{weights}"], "is not a text file in UTF-8"),
        (["--classes", "{names}", "--dataset", "voc"], "not allowed with argument"),
        (["--pooling", "conv"], "invalid choice: 'conv'"),
    ],
)
def test_names_that_do_not_fit_are_refused_and_nothing_is_written(
    options: list[str],
    message: str,
    published_mobile: Path,
    output: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = tmp_path / "names.txt"
    names.write_text("cat\ndog\n", encoding="utf-8")
    places = {"names": names, "weights": published_mobile}
    given = [option.format(**places) for option in options]
    assert main(["convert", str(published_mobile), str(output), *given]) == 2
    said = capsys.readouterr().err
    assert message.format(**places) in said
    assert said.count("\n") == 1
    assert not output.exists()


def test_the_command_writes_and_says_so(
    published_mobile: Path, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["convert", str(published_mobile), str(output), "--dataset", "voc", "--half"]) == 0
    assert capsys.readouterr().out.startswith(f"{output}  6.")
    assert read_card(output).license_note == VOC.license_note


def test_another_ending_is_refused(published_mobile: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"does not end in \.safetensors"):
        convert(published_mobile, tmp_path / "out.pth", ConvertOptions())
