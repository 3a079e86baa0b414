"""What any ONNX file takes, gives and is made of, for `refinenet inspect`; without its weights."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from runtime.onnx.graph import Graph, read_graph

MOST_OPERATORS = 24


def onnx_facts(path: Path) -> dict[str, str]:
    """Inputs, outputs, opset and operators, by name; InputError if it is no whole ONNX file."""
    graph = read_graph(path)
    return {
        "inputs": "; ".join(map(str, graph.inputs)) or "none",
        "outputs": "; ".join(map(str, graph.outputs)) or "none",
        "opset": _opsets(graph),
        "operators": _operators(graph),
    }


def _opsets(graph: Graph) -> str:
    versions = sorted(graph.opsets.items())
    return ", ".join(f"{domain} {version}".strip() for domain, version in versions) or "none stated"


def _operators(graph: Graph) -> str:
    counts = Counter(node.op_type for node in graph.nodes).most_common()
    shown = [f"{count} {kind}" for kind, count in counts[:MOST_OPERATORS]]
    rest = len(counts) - len(shown)
    return ", ".join(shown) + (f" and {rest} more kinds" if rest else "") or "none"
