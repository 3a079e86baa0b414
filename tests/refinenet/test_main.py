"""The command starts quickly, explains itself, and answers a mistake with one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from refinenet.__main__ import COMMANDS, main

HEAVY = ("torch", "onnx", "onnxruntime", "tensorrt", "tensorrt_rtx", "safetensors", "cv2")


def started(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The command as a user starts it."""
    command = [sys.executable, "-m", "refinenet", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def heavy_after(statement: str) -> set[str]:
    """The heavy packages that a fresh interpreter holds after the statement."""
    program = f"import sys; {statement}; print(*(set(sys.modules) & set({HEAVY})))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "statement",
    [
        "import refinenet",
        "from refinenet.__main__ import main; main(['--help'])",
        "from refinenet.__main__ import main; main(['--version'])",
        "from refinenet.__main__ import main; main(['trian'])",
    ],
)
def test_what_needs_no_torch_loads_none(statement: str) -> None:
    assert heavy_after(statement) == set()


def test_the_check_sees_torch() -> None:
    assert "torch" in heavy_after("from refinenet import create_model")


def test_an_unknown_name_of_the_package_is_an_attribute_error() -> None:
    import refinenet

    with pytest.raises(AttributeError, match="no attribute 'create_modle'"):
        _ = refinenet.create_modle


@pytest.mark.parametrize("arguments", [(), ("-h",), ("--help",)])
def test_help_lists_every_command(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    for name, command in COMMANDS.items():
        assert f"  {name:<13} {command.summary}\n" in shown.out
    assert "example:\n  refinenet " in shown.out


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_every_command_shows_an_example(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr()
    assert f"example:\n  refinenet {name}" in shown.out
    assert "--quiet" in shown.out
    assert shown.err == ""


def test_the_help_of_every_command_needs_only_the_base_packages() -> None:
    program = (
        "import sys\n"
        f"for name in {(*HEAVY[:-1], 'PIL', 'yaml', 'cuda', 'pycuda')}: sys.modules[name] = None\n"
        "from refinenet.__main__ import COMMANDS, main\n"
        "for name in COMMANDS:\n"
        "    try: print(name, main([name, '--help']), file=sys.stderr)\n"
        "    except SystemExit: pass\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    for name in COMMANDS:
        assert f"usage: refinenet {name}" in done.stdout


def test_a_mistake_is_one_line_and_exit_code_2(tiny_camvid: Path, tmp_path: Path) -> None:
    done = started("evaluate", tmp_path / "none.pth", "--data", tiny_camvid)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"refinenet evaluate: InputError: {tmp_path}/none.pth ")
    assert done.stderr.count("\n") == 1


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What stands on stderr: one line, and nothing on stdout."""
    assert main([str(argument) for argument in arguments]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert "Traceback" not in shown.err
    return shown.err


def test_an_unknown_command_points_to_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert "'trian'; did you mean train?" in refused(capsys, "trian")
    assert "did you mean" not in refused(capsys, "xyzzy")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (("segment", "a.png", "--modle", "x", "--output", "y"), "--model"),
        (("segment", "a.png", "--model", "x", "--output", "y", "--skip_broken"), "--skip-broken"),
        (("segment", "a.png", "--model", "x", "--output", "y", "--ovelray=1"), "--overlay"),
        (("export", "w", "--output", "o", "--calib", "x"), "--calibration"),
        (("build", "a.onnx", "-card", "x"), "--card"),
    ],
)
def test_an_option_that_does_not_exist_suggests_the_nearest(
    capsys: pytest.CaptureFixture[str], typed: tuple[str, ...], meant: str
) -> None:
    assert f"did you mean {meant} " in refused(capsys, *typed)


def test_what_is_near_no_option_suggests_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean" not in refused(capsys, "doctor", "--xyzzy")
    typed = ("segment", "a.png", "--model", "x", "--output", "-")
    assert "did you mean" not in refused(capsys, *typed)


@pytest.mark.parametrize("name", COMMANDS)
def test_an_unknown_option_points_to_the_commands_help(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = refused(capsys, name, "--colour-blind")
    assert f"refinenet {name} --help" in shown


def test_wrong_input_of_train_is_named(
    camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = {"--variant": "lw-mobilenetv2", "--data": camvid, "--output": tmp_path / "run"}
    for change, words in (
        ({"--variant": "lw-51"}, "'lw-51'"),
        ({"--data": tmp_path / "nowhere"}, "/nowhere"),
        ({"--data": tmp_path}, "train.txt"),
        ({"--dataset": "kitti"}, "'kitti'"),
        ({"--weights": tmp_path / "none.pth"}, "/none.pth"),
        ({"--backbone-weights": tmp_path}, f"{tmp_path} "),
        ({"--output": camvid / "val.txt"}, "val.txt"),
        ({"--device": "nonsense"}, "'nonsense'"),
        ({"--workers": "-1"}, "--workers"),
        ({"--epochs": "0"}, "--epochs"),
        ({"--ema": "2"}, " 2.0; "),
        ({"--optimizer": "adam"}, "adam"),
    ):
        given = whole | change
        shown = refused(capsys, "train", *(part for pair in given.items() for part in pair))
        assert words in shown, change
    assert "--variant" in refused(capsys, "train", "--data", camvid)
    assert not (tmp_path / "run/state.pt").exists()


def test_wrong_input_of_evaluate_is_named(
    tiny_camvid: Path, published_mobile: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "notes.pth"
    text.write_text("Dear diary", encoding="utf-8")
    for model, options, words in (
        (text, (), "notes.pth"),
        (published_mobile, (), " 21 "),
        (published_mobile, ("--dataset", "kitti"), "'kitti'"),
        (published_mobile, ("--split", "minival"), "minival"),
        (published_mobile, ("--scales", "1,x"), "0.1 to 4"),
        (published_mobile, ("--limit", "none"), "--limit"),
        (tmp_path / "none.onnx", (), "none.onnx"),
    ):
        assert words in refused(capsys, "evaluate", model, "--data", tiny_camvid, *options)
