"""In which precision each layer of a file runs: what an audit of an engine or ONNX file says."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True)
class Layer:
    """precision: of what it computes with: fp32, fp16, bf16, int8, or a type's own name.
    nodes: the ONNX nodes in it. writes: the type of its output, where it is known."""

    name: str
    kind: str
    precision: str
    nodes: tuple[str, ...] = ()
    writes: str = ""


@dataclass(frozen=True)
class Audit:
    """source: what the layers were read off, for people.
    weighted: convolutions and matrix products. conversions: kernels of their own that do nothing
    but quantize or dequantize, such as a Q/DQ that was not fused."""

    source: str
    weighted: tuple[Layer, ...]
    conversions: tuple[str, ...]

    @property
    def precisions(self) -> dict[str, int]:
        """How many of the weighted layers run in each precision, the most frequent first."""
        return dict(Counter(layer.precision for layer in self.weighted).most_common())
