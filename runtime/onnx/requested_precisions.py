"""The precisions that an ONNX file asks for; TensorRT may run it otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from runtime.onnx.graph import Graph, Node, read_graph
from runtime.precisions import Audit, Layer

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def audit_onnx(path: Path) -> Audit:
    """What an ONNX file asks for; TensorRT may run it otherwise."""
    graph = read_graph(path)
    made_by = {name: node for node in graph.nodes for name in node.outputs}
    weighted = [node for node in graph.nodes if node.op_type in WEIGHTED]
    quantized = {node.inputs for node in weighted if _asked(node, graph, made_by) == "int8"}
    fused = {name for inputs in quantized for name in inputs}
    loose = [
        node.name
        for node in graph.nodes
        if node.op_type == "DequantizeLinear" and not fused & set(node.outputs)
    ]
    return Audit(
        "the ONNX file: what TensorRT is asked for, not what it runs",
        tuple(
            Layer(node.name, node.op_type, _asked(node, graph, made_by), (node.name,))
            for node in weighted
        ),
        tuple(loose),
    )


def _asked(node: Node, graph: Graph, made_by: Mapping[str, Node]) -> str:
    sources = [made_by[name].op_type for name in node.inputs[:2] if name in made_by]
    if sources == ["DequantizeLinear"] * 2:
        return "int8"
    return graph.types.get(node.inputs[0], "unknown")
