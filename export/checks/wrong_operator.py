"""The first operator of a graph that does not give what PyTorch's layer gives, by name and line."""

from __future__ import annotations

import re
from ast import literal_eval
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from export.checks.fixed_lines import OURS, TORCH
from export.frame_model import INPUT, FrameModel
from export.int8.calibration import session_with_outputs
from runtime.frames import Frame

# The exporter's notes on where a node comes from.
SCOPES, STACK = "pkg.torch.onnx.name_scopes", "pkg.torch.onnx.stack_trace"
CLOSE = 1e-3  # standard deviations


def wrong_operator(
    graph: onnx.ModelProto, folder: Path, model: FrameModel, frames: Frame
) -> str | None:
    """Such as "AdaptiveAvgPool2d p.1.0 in nets.py:71"; None where it cannot be told.

    graph: with the exporter's notes; its large weights may lie in the folder.
    frames: (N, H, W, 3) uint8, at a size where graph and PyTorch disagree.
    """
    modules = dict(model.named_modules())
    last = {path: node for node in graph.graph.node if (path := _module(node)) in modules}
    ends = {
        node.output[0]: (node, modules[path])
        for path, node in last.items()
        if not any(modules[path].children())
    }
    session = session_with_outputs(graph, ends, folder)
    try:
        found = dict(zip(ends, session.run(list(ends), {INPUT: frames}), strict=True))
    except Exception as error:  # ONNX Runtime's errors have no base of their own
        name = re.search(r"Name:'([^']*)'", str(error))
        nodes = [node for node in graph.graph.node if name and node.name == name[1]]
        return _told(nodes[0], modules) if nodes else None
    expected = _outputs(model, {module for _, module in ends.values()}, frames)
    for node in graph.graph.node:
        if node.output and node.output[0] in ends:
            module = ends[node.output[0]][1]
            if module in expected and not _close(found[node.output[0]], expected[module]):
                return _told(node, modules)
    return None


def _outputs(model: FrameModel, modules: set[nn.Module], frames: Frame) -> dict[nn.Module, Tensor]:
    """What each layer gives when it is called for the last time."""
    outputs: dict[nn.Module, Tensor] = {}

    def keep(module: nn.Module, _: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            outputs[module] = output.clone()  # what follows may work in place

    with torch.no_grad(), ExitStack() as hooks:
        for module in modules:
            hooks.callback(module.register_forward_hook(keep).remove)
        model.scores(torch.from_numpy(frames))
    return outputs


def _close(found: Any, expected: Tensor) -> bool:
    values, right = np.asarray(found, np.float32).ravel(), expected.float().numpy().ravel()
    if values.size != right.size:
        return False
    return bool((np.abs(values - right) <= CLOSE * max(float(right.std()), 1e-6)).all())


def _notes(node: onnx.NodeProto, key: str) -> str:
    return next((entry.value for entry in node.metadata_props if entry.key == key), "")


def _scopes(node: onnx.NodeProto) -> list[str]:
    """The names of the modules around a node, and its own last."""
    text = _notes(node, SCOPES)
    return [str(name) for name in literal_eval(text)] if text else []


def _module(node: onnx.NodeProto) -> str | None:
    scopes = _scopes(node)
    return scopes[-2] if len(scopes) > 1 else None


def _told(node: onnx.NodeProto, modules: dict[str, nn.Module]) -> str:
    path = _module(node) or ""
    module = modules.get(path)
    if module is not None and path and not any(module.children()):
        name = f"{type(module).__name__} {path.removeprefix('network.').removeprefix('network.')}"
    else:
        name = re.sub(r"_\d+$", "", (_scopes(node) or [node.op_type])[-1])
    places = re.findall(r'File "(.+?)", line (\d+)', _notes(node, STACK))
    for file, line in reversed(places):
        if not file.startswith((TORCH, OURS)):
            return f"{name} in {Path(file).name}:{line}"
    return name
