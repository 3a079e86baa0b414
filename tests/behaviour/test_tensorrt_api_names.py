"""export/ and runtime/ use no TensorRT name that one of the releases lacks, unless guarded.

The sources are followed as far as types can be told without running them: from `trt.module`, along
the return types in the recorded signatures, and by the names that variables of each type have here.
A name that some release lacks must stand behind a `hasattr` of itself, or of one that is there in
no more releases. So must one on a receiver that cannot be followed, if only TensorRT has it.
A function named _rtx_… serves TensorRT-RTX alone, and is called behind `.name == "rtx"` alone.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted([*ROOT.glob("export/**/*.py"), *ROOT.glob("runtime/**/*.py")])

RTX = "tensorrt_rtx"

# What variables, parameters and attributes of these names hold, in files that use TensorRT.
HELD = {
    "builder": "Builder",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "engine": "ICudaEngine",
    "context": "IExecutionContext",
    "refitter": "Refitter",
    "inspector": "EngineInspector",
}


@dataclass(frozen=True)
class Api:
    """One release: the members of every class and enum, and what methods return."""

    name: str
    package: str
    content: dict[str, Any]

    def members(self, kind: str) -> set[str]:
        """Of a class or enum, or of the module itself."""
        classes, enums = self.content["classes"], self.content["enums"]
        if kind == "module":
            return {*classes, *enums, *self.content["functions"], "__version__"}
        return {*classes.get(kind, ()), *enums.get(kind, ()), "__members__"}

    def returned(self, kind: str, method: str) -> str | None:
        """The class that a method gives."""
        signature = " ".join(self.content["classes"].get(kind, {}).get(method, ()))
        found = re.search(r"-> (?:[\w.]+\.)?(\w+)", signature)
        return found[1] if found and found[1] in self.content["classes"] else None


@dataclass(frozen=True)
class Use:
    """line: where. kind: the class, enum or module it is looked for in; "" where unknown."""

    line: int
    kind: str
    name: str


def recorded(folder: Path) -> list[Api]:
    files = sorted(folder.glob("*.json"))
    contents = [json.loads(file.read_text()) for file in files]
    return [Api(f.stem, c["package"], c) for f, c in zip(files, contents, strict=True)]


class Uses(ast.NodeVisitor):
    """All attributes of TensorRT objects in a function, or in the lines outside of any."""

    def __init__(self, apis: list[Api]) -> None:
        self.apis = apis
        self.kinds: dict[str, str] = {}
        self.found: list[Use] = []

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        kind = self.kind_of(node.value)
        for target in node.targets:
            if kind and isinstance(target, ast.Name | ast.Attribute):
                self.kinds[ast.unparse(target)] = kind

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.generic_visit(node)
        self.found.append(Use(node.lineno, self.kind_of(node.value) or "", node.attr))

    def kind_of(self, node: ast.expr) -> str | None:
        """module, or the name of a class or enum; None if it cannot be told."""
        if isinstance(node, ast.Attribute) and node.attr == "module":
            return "module"
        if ast.unparse(node) in self.kinds:
            return self.kinds[ast.unparse(node)]
        if isinstance(node, ast.Name):
            return HELD.get(node.id)
        if isinstance(node, ast.Attribute):
            if self.kind_of(node.value) == "module":
                return node.attr
            return HELD.get(node.attr.removeprefix("_"))
        if isinstance(node, ast.Call):
            return self.kind_of_result(node)
        return None

    def kind_of_result(self, call: ast.Call) -> str | None:
        # tensorrt_api.made(trt, trt.module.Builder, logger)
        if getattr(call.func, "attr", "") == "made" and isinstance(call.args[1], ast.Attribute):
            return call.args[1].attr
        if isinstance(call.func, ast.Attribute):
            kind = self.kind_of(call.func.value)
            if kind == "module":
                return call.func.attr
            given = {api.returned(kind or "", call.func.attr) for api in self.apis}
            return next(filter(None, given), None)
        # A function of ours that hands on what it is given, such as _made(thing, path).
        if call.args and isinstance(call.func, ast.Name) and call.func.id == "_made":
            return self.kind_of(call.args[0])
        return None


def functions(tree: ast.Module) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def scopes(tree: ast.Module) -> Iterator[tuple[str, list[ast.stmt]]]:
    """The name and body of all functions, each alone, and what lies outside of them."""
    yield from ((function.name, function.body) for function in functions(tree))
    holders = [tree, *(node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))]
    within = ast.FunctionDef | ast.ClassDef
    yield "", [line for holder in holders for line in holder.body if not isinstance(line, within)]


def guards(body: list[ast.stmt]) -> set[str]:
    """The names that the function asks for with hasattr, or for which it knows the package."""
    asked = set()
    for node in ast.walk(ast.Module(body, [])):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "hasattr":
            name = node.args[1]
            asked.add(str(name.value) if isinstance(name, ast.Constant) else "")
    return asked


def missing(source: str, apis: list[Api]) -> list[str]:
    """Every use of a name that a release lacks, as "line: kind.name: releases"."""
    anywhere = {kind for api in apis for kind in (*api.content["classes"], *api.content["enums"])}
    faults = set()
    for name, body in scopes(ast.parse(source)):
        served = [api for api in apis if api.package == RTX or not name.startswith("_rtx_")]
        uses = Uses(apis)
        for statement in body:
            uses.visit(statement)
        allowed = [releases_with(name, served) for name in guards(body)]
        for use in uses.found:
            without = lacking(use, served, anywhere)
            present = {api.name for api in served} - without
            if without and not any(guard and guard <= present for guard in allowed):
                faults.add(f"{use.line}: {use.kind}.{use.name}: {', '.join(sorted(without))}")
    return sorted(faults)


def unguarded_calls(source: str) -> list[str]:
    """Calls of _rtx_ functions that no `.name == "rtx"` stands before."""
    tree = ast.parse(source)
    behind = {
        call
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test).endswith(".name == 'rtx'")
        for statement in branch.body
        for call in ast.walk(statement)
    }
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and node not in behind]
    names = [ast.unparse(call.func) for call in calls]
    return [name for name in names if name.rpartition(".")[2].startswith("_rtx_")]


def releases_with(name: str, apis: list[Api]) -> set[str]:
    """The releases that have a name, in whatever class."""
    return {api.name for api in apis if any(name in api.members(kind) for kind in kinds(api))}


def kinds(api: Api) -> list[str]:
    return ["module", *api.content["classes"], *api.content["enums"]]


def lacking(use: Use, apis: list[Api], anywhere: set[str]) -> set[str]:
    if use.kind == "module" or use.kind in anywhere:
        return {api.name for api in apis if use.name not in api.members(use.kind)}
    have = releases_with(use.name, apis)
    # Unknown receiver: only a name that cannot be Python's own or ours says anything.
    return {api.name for api in apis} - have if have and "_" in use.name else set()


@pytest.fixture(scope="module")
def apis(shared: Path) -> list[Api]:
    return recorded(shared / "reference/tensorrt-api")


def test_the_releases_are_those_that_are_promised(apis: list[Api]) -> None:
    assert {api.name.split(".")[0] for api in apis} == {"10", "11", "rtx-1"}
    assert len(apis) >= 5


def uses_tensorrt(source: str) -> bool:
    return ".module" in source and "tensorrt_api" in source


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_no_name_is_used_that_a_release_lacks(file: Path, apis: list[Api]) -> None:
    source = file.read_text(encoding="utf-8")
    if uses_tensorrt(source):
        assert missing(source, apis) == []
    assert unguarded_calls(source) == []


def test_the_builder_and_the_runtime_are_followed(apis: list[Api]) -> None:
    seen = set()
    for file in SOURCES:
        source = file.read_text(encoding="utf-8")
        for _, body in scopes(ast.parse(source)) if uses_tensorrt(source) else ():
            uses = Uses(apis)
            for statement in body:
                uses.visit(statement)
            seen |= {f"{use.kind}.{use.name}" for use in uses.found if use.kind}
    assert {
        "BuilderFlag.REFIT",
        "Builder.build_serialized_network",
        "Runtime.deserialize_cuda_engine",
        "HardwareCompatibilityLevel.AMPERE_PLUS",
        "OnnxParser.parse_from_file",
        "INetworkDefinition.get_input",
        "ITensor.name",
        "Refitter.refit_cuda_engine",
    } <= seen


@pytest.mark.parametrize(
    ("planted", "named"),
    [
        ("trt.module.BuilderFlag.FP16", "BuilderFlag.FP16: 11.4.0.106, rtx"),
        ("trt.module.NoSuchClass", "module.NoSuchClass"),
        ("builder = trt.module.Builder(1)\n    builder.platform_has_fast_fp16", "Builder.platform"),
        (
            "builder = trt.module.Builder(1)\n    c = builder.create_builder_config()\n"
            "    c.int8_calibrator = 1",
            "IBuilderConfig.int8_calibrator",
        ),
        ("self._engine.device_memory_size", "ICudaEngine.device_memory_size"),
        ("flags = trt.module.BuilderFlag\n    flags.WEIGHTLESS", "BuilderFlag.WEIGHTLESS"),
        ("config.num_compute_capabilities = 2", ".num_compute_capabilities: 10.16"),
        (
            "if hasattr(trt.module.BuilderFlag, 'REFIT'):\n        trt.module.BuilderFlag.INT8",
            "BuilderFlag.INT8",
        ),
    ],
)
def test_a_planted_name_is_found(planted: str, named: str, apis: list[Api]) -> None:
    (fault,) = missing(f"def f(self, trt, config):\n    {planted}\n", apis)
    assert named in fault


@pytest.mark.parametrize(
    "guarded",
    [
        "if hasattr(trt.module.BuilderFlag, 'FP16'):\n        trt.module.BuilderFlag.FP16",
        "if hasattr(trt.module, 'ComputeCapability'):\n        config.num_compute_capabilities = 1",
        "trt.module.BuilderFlag.REFIT",
        "getattr(trt.module, 'NoSuchClass', None)",
    ],
)
def test_a_guarded_name_passes(guarded: str, apis: list[Api]) -> None:
    assert missing(f"def f(trt, config):\n    {guarded}\n", apis) == []


def test_a_function_for_rtx_is_known_by_its_name_and_its_guard(apis: list[Api]) -> None:
    function = "def _rtx_targets(trt):\n    trt.module.ComputeCapability.SM86\n"
    assert missing(function, apis) == []
    assert missing(function.replace("_rtx_", "_"), apis) != []
    assert unguarded_calls("if trt.name == 'rtx':\n    self._rtx_targets(trt)") == []
    assert unguarded_calls("if trt.name:\n    self._rtx_targets(trt)") == ["self._rtx_targets"]
