"""ONNX to engines, with the real TensorRT-RTX, which builds without a GPU."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from graphs import edit
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tiny_models import write_model

import export.to_engine as to_engine_module
from export.to_engine import EngineOptions, Profile, to_engine
from export.to_int8 import to_int8
from export.to_onnx import save
from refinenet.__main__ import main
from refinenet.activation_ranges import load_ranges
from runtime import tensorrt_api
from runtime.arguments import one_line
from runtime.card import Card, Sidecar, check_hash, read_card, sidecar_path, write_sidecar
from runtime.errors import CardError, DeviceError, InputError, MissingPackage
from runtime.files import sha256_of

trt = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")

RTX = EngineOptions(runtime="rtx", quiet=True)
SHAPE = (1, 64, 64, 3)
HEAVY = ("torch", "onnx", "onnxruntime", "safetensors")


def toy(path: Path, card: Card, between: list[onnx.NodeProto] | None = None) -> Path:
    """Frames to masks of the brightest channel; `between` leads from `levels` to `scores`."""
    frames = helper.make_tensor_value_info("frames", TensorProto.UINT8, SHAPE)
    masks = helper.make_tensor_value_info("masks", TensorProto.UINT8, SHAPE[:3])
    nodes = [
        helper.make_node("Cast", ["frames"], ["levels"], to=TensorProto.FLOAT),
        *(between or [helper.make_node("Relu", ["levels"], ["scores"])]),
        helper.make_node("ArgMax", ["scores"], ["id"], axis=3, keepdims=0),
        helper.make_node("Cast", ["id"], ["float_id"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["float_id"], ["masks"], to=TensorProto.UINT8),
    ]
    weight = numpy_helper.from_array(np.full((3, 3), 1e-30, np.float32), "weight")
    graph = helper.make_graph(nodes, "toy", [frames], [masks], [weight])
    opsets = [helper.make_opsetid("", 19)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    save(model, path, replace(card, input_shape=SHAPE, output_kind="mask", channel_order="BGR"))
    return path


def told(engine: Path) -> Sidecar:
    """The sidecar of a whole engine."""
    return check_hash(engine)


def heavy_after(program: str) -> list[str]:
    """The heavy packages that a fresh interpreter holds after the program."""
    program = f"import sys; {program}; print(*(set(sys.modules) & set({HEAVY})))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return sorted(done.stdout.split())


def test_a_file_of_another_tool_is_built_with_a_card(
    tmp_path: Path, shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, card = tmp_path / "other.onnx", tmp_path / "card.json"
    write_model(path, SHAPE, card=None)
    card.write_text('{"classes": ["a", "b", "c"]}')
    assert main(["build", str(path), "--runtime", "rtx"]) == 2
    assert "--card" in capsys.readouterr().err
    assert main(["build", str(path), "--runtime", "rtx", "--card", str(card)]) == 0
    found = told(path.with_suffix(".rtx.engine")).card
    assert (found.classes, found.input_shape) == (("a", "b", "c"), SHAPE)
    for name, said in (("nhwc_int64", "int64"), ("nhwc_u8_4d", "(1, 1, 96, 128)")):
        other = tmp_path / f"{name}.onnx"
        shutil.copy(shared / f"field/{name}.onnx", other)
        assert main(["build", str(other), "--runtime", "rtx", "--card", str(card)]) == 2
        assert said in capsys.readouterr().err
        assert not other.with_suffix(".rtx.engine").exists()


def int8_for_tensorrt(built: Path, output: Path) -> Path:
    """An INT8 file whose scales per output channel TensorRT-RTX warns of."""
    ranges = load_ranges(built / "street.ranges.json")
    return to_int8(built / "street.fp32.onnx", output, ranges, int8_for="tensorrt")


def test_build_prints_the_warnings_that_go_into_the_card(
    built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = int8_for_tensorrt(built, tmp_path / "street.int8.onnx")
    assert main(["build", str(path), "--runtime", "rtx", "--quiet"]) == 0
    warnings = told(path.with_suffix(".rtx.engine")).build["warnings"]
    said = capsys.readouterr().err
    assert warnings
    assert all(one_line(warning) in said for warning in warnings)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_every_precision_becomes_an_engine_with_its_card(precision: str, built: Path) -> None:
    onnx_file = built / f"street.{precision}.onnx"
    sidecar = told(built / f"street.{precision}.rtx.engine")
    assert sidecar.card == replace(read_card(onnx_file), parents={"onnx": sha256_of(onnx_file)})
    assert sidecar.card.precision == precision
    build = dict(sidecar.build)
    assert build.pop("seconds") > 0
    assert isinstance(build.pop("warnings"), list)
    assert build.pop("plan")["bytes"] > 0
    assert build == {
        "package": "rtx",
        "version": trt.__version__,
        "compute_capabilities": [],
        "hardware": "none",
        "version_compatible": False,
        "weights": "embedded",
        "optimization_level": 3,
        "workspace_mb": None,
        "tf32": False,
        "profile": [[1, 120, 160]] * 3,
        "further_profiles": [],
    }


def test_lower_precision_makes_smaller_engines(built: Path) -> None:
    size = {p: (built / f"street.{p}.rtx.engine").stat().st_size for p in ("fp32", "fp16", "int8")}
    assert max(size["fp16"], size["int8"]) < size["fp32"]


def test_a_changed_engine_is_no_longer_the_one_described(built: Path, tmp_path: Path) -> None:
    engine = Path(shutil.copy(built / "street.fp16.rtx.engine", tmp_path))
    shutil.copy(sidecar_path(built / engine.name), tmp_path)
    told(engine)
    with engine.open("r+b") as file:
        file.seek(1000)
        file.write(b"\x00\xff")
    with pytest.raises(Exception, match="SHA-256"):
        told(engine)


def test_a_dynamic_engine_takes_the_shapes_of_its_profile(dynamic: Path, tmp_path: Path) -> None:
    for file in (dynamic, sidecar_path(dynamic)):
        shutil.copy(file, tmp_path)
    profile = Profile((1, 64, 64), (1, 120, 160), (2, 240, 320))
    engine = to_engine(tmp_path / dynamic.name, replace(RTX, profile=profile))
    expected = [[1, 64, 64], [1, 120, 160], [2, 240, 320]]
    assert told(engine).build["profile"] == expected
    assert told(engine).card.frame_size is None


def test_a_profile_holds_the_sizes_that_frames_are_resized_to() -> None:
    assert Profile().of_multiples(1) == Profile()
    assert Profile().of_multiples(32).largest == (1, 1088, 1920)


def test_a_dynamic_engine_may_have_several_profiles(dynamic: Path, tmp_path: Path) -> None:
    for file in (dynamic, sidecar_path(dynamic)):
        shutil.copy(file, tmp_path)
    shape, double = (1, 120, 160), (2, 120, 160)
    profiles = replace(
        RTX,
        profile=Profile(shape, shape, shape),
        further_profiles=(Profile(double, double, double),),
    )
    build = told(to_engine(tmp_path / dynamic.name, profiles)).build
    assert build["profile"] == [[1, 120, 160]] * 3
    assert build["further_profiles"] == [[[2, 120, 160]] * 3]


@pytest.mark.parametrize(
    "options",
    [replace(RTX, profile=Profile()), replace(RTX, further_profiles=(Profile(),))],
    ids=["--min-shape", "--profile"],
)
def test_a_static_file_takes_no_profile(options: EngineOptions, tmp_path: Path, card: Card) -> None:
    path = toy(tmp_path / "toy.fp32.onnx", card)
    with pytest.raises(InputError, match=r"has one shape, its own; leave --min-shape, .* out"):
        to_engine(path, options)


def test_rtx_keeps_no_times(tmp_path: Path, card: Card) -> None:
    path = toy(tmp_path / "toy.fp32.onnx", card)
    with pytest.raises(InputError, match=r"--timing-cache .*TensorRT-RTX"):
        to_engine(path, replace(RTX, timing_cache=tmp_path / "times"))
    assert not (tmp_path / "times").exists()


def test_fp32_stays_fp32_unless_tf32_is_asked_for(tmp_path: Path, card: Card) -> None:
    path = toy(tmp_path / "toy.fp32.onnx", card)
    assert b"tf32=0" in to_engine(path, RTX).read_bytes()
    assert b"tf32=1" in to_engine(path, replace(RTX, tf32=True)).read_bytes()


def test_a_profile_in_the_wrong_order_is_refused(dynamic: Path) -> None:
    profile = Profile((1, 240, 320), (1, 120, 160), (1, 64, 64))
    with pytest.raises(InputError, match="expected smallest ≤ tuned ≤ largest"):
        to_engine(dynamic, replace(RTX, profile=profile))
    assert not list(dynamic.parent.glob("*.engine"))


def test_targets_are_kept_in_the_card(tmp_path: Path, card: Card) -> None:
    engine = to_engine(
        toy(tmp_path / "toy.fp32.onnx", card), replace(RTX, targets=("sm_86", "sm_89"))
    )
    assert told(engine).build["compute_capabilities"] == ["sm_86", "sm_89"]


@pytest.mark.parametrize("target", ["sm_12", "86", "SM_86", "none", ""])
def test_an_unknown_target_is_refused(target: str, tmp_path: Path, card: Card) -> None:
    path = toy(tmp_path / "toy.fp32.onnx", card)
    with pytest.raises(
        InputError, match=rf"target '{target}' is unknown; expected some of sm_75, .*, current"
    ):
        to_engine(path, replace(RTX, targets=(target,)))
    assert not list(tmp_path.glob("*.engine*"))


def test_each_card_holds_the_warnings_of_its_own_build(built: Path, tmp_path: Path) -> None:
    onnx_files = [
        int8_for_tensorrt(built, tmp_path / "0.int8.onnx"),
        Path(shutil.copy(built / "street.fp16.onnx", tmp_path / "1.fp16.onnx")),
        int8_for_tensorrt(built, tmp_path / "2.int8.onnx"),
    ]
    first, clean, again = (told(to_engine(file, RTX)).build["warnings"] for file in onnx_files)
    assert any("scales to fp32" in warning for warning in first)
    assert clean == []
    assert again == first


def test_a_node_that_tensorrt_does_not_know_is_named(tmp_path: Path, card: Card) -> None:
    unknown = [
        helper.make_node("Det", ["weight"], ["number"], name="the_determinant"),
        helper.make_node("Add", ["levels", "number"], ["scores"]),
    ]
    path = toy(tmp_path / "toy.fp32.onnx", card, unknown)
    with pytest.raises(
        InputError,
        match=r"cannot parse .*toy\.fp32\.onnx: node the_determinant \(Det of weight \(3, 3\)\): "
        "TensorRT does not support this operator",
    ):
        to_engine(path, RTX)
    assert not list(tmp_path.glob("*.engine*"))


def test_a_node_whose_shapes_do_not_fit_is_named_with_them(tmp_path: Path, card: Card) -> None:
    path = toy(tmp_path / "toy.fp32.onnx", card)

    def multiply_by_another_shape(model: onnx.ModelProto) -> None:
        misfit = numpy_helper.from_array(np.ones((1, 64, 64, 5), np.float32), "misfit")
        model.graph.initializer.append(misfit)
        product = helper.make_node("Mul", ["levels", "misfit"], ["product"], "the_product")
        model.graph.node.insert(1, product)
        model.graph.node[2].input[0] = "product"

    model = onnx.load(path)
    multiply_by_another_shape(model)
    onnx.save(model, path)  # onnx's own check would refuse it
    sidecar_path(path).unlink()
    with pytest.raises(
        InputError,
        match=r"node the_product \(Mul of levels \(1, 64, 64, 3\), misfit \(1, 64, 64, 5\)\): \w+",
    ):
        to_engine(path, RTX)


def test_the_first_operation_on_bytes_must_be_cast(tmp_path: Path, card: Card) -> None:
    path = toy(tmp_path / "toy.fp32.onnx", card)

    def transpose_the_bytes(model: onnx.ModelProto) -> None:
        turn = helper.make_node("Transpose", ["frames"], ["turned"], "turn", perm=[0, 2, 1, 3])
        model.graph.node[0].input[0] = "turned"
        model.graph.node.insert(0, turn)

    edit(path, transpose_the_bytes)
    with pytest.raises(InputError, match=r"node turn .*UInt8"):
        to_engine(path, RTX)


def test_a_build_that_fails_says_why_and_leaves_nothing(tmp_path: Path, card: Card) -> None:
    path = toy(tmp_path / "toy.fp32.onnx", card)

    def free_the_batch(model: onnx.ModelProto) -> None:
        for value in (*model.graph.input, *model.graph.output):
            value.type.tensor_type.shape.dim[0].dim_param = "N"

    edit(path, free_the_batch)  # and its card still says that the shape is fixed
    with pytest.raises(DeviceError, match=r"could not build toy\.fp32\.onnx: .*profile"):
        to_engine(path, RTX)
    assert not list(tmp_path.glob("*.engine*"))


def test_a_file_without_a_card_is_refused(tmp_path: Path, card: Card) -> None:
    path = toy(tmp_path / "toy.fp32.onnx", card)
    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.save(model, path)
    sidecar_path(path).unlink()
    with pytest.raises(CardError, match=r"toy\.fp32\.onnx"):
        to_engine(path, RTX)


def test_weights_are_not_built_before_they_are_exported(weights: Path) -> None:
    with pytest.raises(InputError, match=r"not an \.onnx file; export the weights first"):
        to_engine(weights, RTX)


def test_without_tensorrt_it_says_what_to_type(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorrt_api, "find_spec", lambda _: None)
    with pytest.raises(MissingPackage, match=r"pip install '.*\[tensorrt\]'"):
        to_engine(exported / "street.fp16.onnx", replace(RTX, runtime="tensorrt"))


def build_program(path: Path) -> str:
    return (
        "from export.to_engine import EngineOptions, to_engine; "
        f"to_engine({str(path)!r}, EngineOptions(runtime='rtx', quiet=True))"
    )


def test_building_imports_neither_torch_nor_onnx(tmp_path: Path, card: Card) -> None:
    path = toy(tmp_path / "toy.fp32.onnx", card)
    assert heavy_after(build_program(path)) == []
    assert (tmp_path / "toy.fp32.rtx.engine").exists()


def test_the_check_sees_a_heavy_import(tmp_path: Path, card: Card) -> None:
    path = toy(tmp_path / "toy.fp32.onnx", card)
    assert heavy_after(f"import onnx; {build_program(path)}") == ["onnx"]


INTERRUPTED_BUILD = """
import os, signal, sys, threading, time
from refinenet.__main__ import main

def interrupt_the_build():
    while signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGINT)

# A shell's background job ignores SIGINT, and so would this child of it.
signal.signal(signal.SIGINT, signal.default_int_handler)
threading.Thread(target=interrupt_the_build, daemon=True).start()
sys.exit(main(["build", sys.argv[1], "--runtime", "rtx", "--quiet"]))
"""


def test_ctrl_c_leaves_no_half_engine(exported: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(exported / "street.fp32.onnx", tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_BUILD, str(path)], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (130, "refinenet build: interrupted\n")
    assert list(tmp_path.iterdir()) == [path]


BUILD_ON_DEMAND = """
import sys
from export.to_engine import EngineOptions, to_engine
from runtime import tensorrt_api
from runtime.arguments import one_line
tensorrt_api.load("rtx")
print("ready", flush=True)
sys.stdin.readline()
to_engine(sys.argv[1], EngineOptions(runtime="rtx", quiet=True, targets=("sm_89",)))
"""


def test_two_builds_at_once_leave_one_engine_with_its_own_card(
    tmp_path: Path, card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = toy(tmp_path / "toy.fp32.onnx", card)
    program = [sys.executable, "-c", BUILD_ON_DEMAND, str(path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(program, stdin=pipe, stdout=pipe, text=True) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"

        def let_the_other_build_first(*sidecar: Any, **content: Any) -> Sidecar:
            other.stdin.write("go\n")
            other.stdin.flush()
            with suppress(subprocess.TimeoutExpired):
                other.wait(2)
            return write_sidecar(*sidecar, **content)

        monkeypatch.setattr(to_engine_module, "write_sidecar", let_the_other_build_first)
        engine = to_engine(path, replace(RTX, targets=("sm_86",)))
    assert other.returncode == 0
    assert told(engine).build["compute_capabilities"] == ["sm_89"]


class UnwritableTimes:
    """A timing cache whose disk is full when the build is done."""

    def lend(self, config: Any) -> None: ...

    def keep(self, config: Any) -> None:
        assert config is not None
        raise InputError("cache.timing cannot be written (No space left on device)")


def test_times_that_cannot_be_kept_do_not_cost_the_engine(
    tmp_path: Path, card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(to_engine_module, "_timing_cache", lambda *_: UnwritableTimes())
    engine = to_engine(toy(tmp_path / "toy.fp32.onnx", card), RTX)
    assert told(engine).build["warnings"][-1] == (
        "the timing cache was not kept: cache.timing cannot be written (No space left on device)"
    )


def test_the_sidecar_is_plain_json(built: Path) -> None:
    text = sidecar_path(built / "street.fp16.rtx.engine").read_text(encoding="utf-8")
    assert json.loads(text)["build"]["package"] == "rtx"


@pytest.mark.gpu
@pytest.mark.usefixtures("rtx_runs")
def test_an_engine_says_what_its_onnx_file_says(
    built: Path, streets: list[NDArray[np.uint8]]
) -> None:
    from graphs import agreement, run

    from runtime.engine.engine import Engine

    with Engine.open(built / "street.fp16.rtx.engine") as engine:
        shares = [agreement(engine(f), run(built / "street.fp16.onnx", f)) for f in streets]
    assert np.mean(shares) >= 0.995


def test_an_operator_set_of_a_damaged_file_is_refused(tmp_path: Path, card: Card) -> None:
    path = toy(tmp_path / "toy.fp32.onnx", card)
    model = onnx.load(path)
    model.opset_import[0].version = 2199
    onnx.save(model, path)
    with pytest.raises(InputError, match="2199"):
        to_engine(path, RTX)
