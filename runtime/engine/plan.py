"""The program that a TensorRT-RTX 1.7 engine holds as text, read without a GPU.

The text lists tensors with name, dimensions and type, then one line for each kernel. It is no
interface of NVIDIA's: a caller compares the multiply-accumulates found here with the graph's before
it believes the rest (`doubt`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from mmap import ACCESS_READ, mmap
from pathlib import Path

# Bytes of one element.
TYPE_BYTES = {
    "half": 2,
    "bf16": 2,
    "float": 4,
    "int8": 1,
    "uint8": 1,
    "bool": 1,
    "int32": 4,
    "int64": 8,
}
TYPE_NAMES = {"float": "fp32", "half": "fp16"}

# Kernels that multiply by weights, by the plan's name for them, and what they are in an ONNX file.
WEIGHTED = {
    "corrltn": "Conv",
    "fully_connected": "Gemm",
    "gemm": "MatMul",
    "runtime_fusion": "Conv",  # a convolution, with what follows it
}
NO_KERNELS = ("signal", "wait")  # they order the streams
TOLERANCE = 0.02  # between the plan's multiply-accumulates and the graph's

_MARK = re.compile(r"\[ONNX Layer: ([^\]]*)\]")
_TENSOR = re.compile(r"tensor=\{([^\n]*)\}")
_NAME = re.compile(r' name="([^"]+)"')
_TYPE = re.compile(r" type=(\w+)")
_DIMS = re.compile(r" dims=\{ ((?:\d{1,12} )*)\}")
_KERNEL = re.compile(r"^  (\w+)=\{ name=([^\n]*)", re.M)
_SIDE = re.compile(r" (input|output)(?:_args)?=\{([^}]*)\}")
_QUOTED = re.compile(r'"([^"]+)"')


@dataclass(frozen=True)
class Tensor:
    """dims: None where the plan leaves one open. type: by our names, such as fp16. element_bytes:
    0 for a type that is not known here."""

    dims: tuple[int, ...] | None
    type: str
    element_bytes: int
    constant: bool

    @property
    def bytes(self) -> int:
        return prod(self.dims or ()) * self.element_bytes


@dataclass(frozen=True)
class Kernel:
    """One kernel. kind: the plan's word for it. nodes: the ONNX nodes in it."""

    kind: str
    name: str
    nodes: tuple[str, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    @property
    def bytes(self) -> int:
        """Of all tensors that it names, each read or written once."""
        return sum(tensor.bytes for tensor in (*self.inputs, *self.outputs))

    @property
    def weights(self) -> Tensor | None:
        """The largest constant that it multiplies by; None where it multiplies by none."""
        if self.kind not in WEIGHTED or not self.outputs:
            return None
        matrices = [t for t in self.inputs if t.constant and len(t.dims or ()) > 1]
        return max(matrices, key=lambda tensor: prod(tensor.dims or ()), default=None)

    @property
    def macs(self) -> int:
        """Multiply-accumulates by weights; products of two activations are not counted."""
        weights = self.weights
        if weights is None or not weights.dims or not (out := self.outputs[0].dims):
            return 0
        # A convolution's output channels are its second dimension, a matrix product's its last or
        # its second; they are one of the dimensions of the weights.
        channels = next((side for side in (*out[1:2], *out[-1:]) if side in weights.dims), out[-1])
        return prod(weights.dims) * prod(out) // max(channels, 1)

    @property
    def reads(self) -> str:
        """The type that it multiplies, where a bias beside INT8 may be of another; the types of
        all activations, such as fp32+fp16, of a kernel without weights."""
        types = [tensor.type for tensor in self.inputs]
        if self.kind in WEIGHTED:
            return "int8" if "int8" in types else next(iter(types), "unknown")
        maps = [tensor.type for tensor in self.inputs if not tensor.constant]
        return "+".join(dict.fromkeys(maps)) or "unknown"

    @property
    def writes(self) -> str:
        return self.outputs[0].type if self.outputs else "unknown"

    @property
    def fuses_sum(self) -> bool:
        """Whether it adds a map to what its weights give, so that the sum costs no kernel."""
        return self.weights is not None and len([t for t in self.inputs if _is_map(t)]) > 1


@dataclass(frozen=True)
class Plan:
    kernels: tuple[Kernel, ...]

    @property
    def bytes(self) -> int:
        return sum(kernel.bytes for kernel in self.kernels)

    @property
    def macs(self) -> int:
        return sum(kernel.macs for kernel in self.kernels)

    @property
    def weighted(self) -> tuple[Kernel, ...]:
        return tuple(kernel for kernel in self.kernels if kernel.kind in WEIGHTED)

    @property
    def fused_sums(self) -> int:
        return sum(kernel.fuses_sum for kernel in self.kernels)

    def doubt(self, graph_macs: int | None) -> str:
        """Why the plan's bytes and multiply-accumulates are not to be believed; nothing if they
        are.

        graph_macs: the multiply-accumulates of the ONNX file; None where they are not known.
        """
        tensors = [t for kernel in self.kernels for t in (*kernel.inputs, *kernel.outputs)]
        if any(tensor.dims is None for tensor in tensors):
            return "the engine takes frames of several sizes, so that the plan states no size"
        if unknown := {tensor.type for tensor in tensors if not tensor.element_bytes}:
            return f"the plan has tensors of a type that is not known: {', '.join(sorted(unknown))}"
        if graph_macs is None:
            return "the multiply-adds of the ONNX file are not known, so that nothing confirms it"
        if abs(self.macs - graph_macs) > TOLERANCE * graph_macs:
            return (
                f"it has {self.macs / 1e9:.3f} thousand million multiply-adds by weights and the "
                f"ONNX file {graph_macs / 1e9:.3f}"
            )
        return ""


def read_plan(path: Path) -> Plan | None:
    """The plan of a TensorRT-RTX engine; None if the file holds no program that is understood."""
    if path.stat().st_size == 0:  # nothing to map
        return None
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        start = content.find(b"\nmain {\n")
        if start < 0:
            return None
        known = _tensors(content[:start].decode("latin1"))
        program = content[start : content.find(b"\n}\n", start)].decode("latin1")
    kernels = [
        _kernel(kind, text, known)
        for kind, text in _KERNEL.findall(program)
        if kind not in NO_KERNELS
    ]
    return Plan(tuple(kernels)) if any(kernel.kind in WEIGHTED for kernel in kernels) else None


def _tensors(head: str) -> Mapping[str, Tensor]:
    found = {}
    for line in _TENSOR.findall(head):
        name, kind, dims = _NAME.search(line), _TYPE.search(line), _DIMS.search(line)
        if name and kind:
            found[name[1]] = Tensor(
                tuple(map(int, dims[1].split())) if dims else None,
                TYPE_NAMES.get(kind[1], kind[1]),
                TYPE_BYTES.get(kind[1], 0),
                "const_payload" in line,
            )
    return found


def _kernel(kind: str, text: str, known: Mapping[str, Tensor]) -> Kernel:
    sides: dict[str, list[Tensor]] = {"input": [], "output": []}
    for side, names in _SIDE.findall(text):
        sides[side] += [known[name] for name in _QUOTED.findall(names) if name in known]
    nodes = tuple(_MARK.findall(text))
    name = nodes[0] if nodes else text.split(" ", 1)[0].strip('"')
    return Kernel(kind, name, nodes, tuple(sides["input"]), tuple(sides["output"]))


def _is_map(tensor: Tensor) -> bool:
    """Whether it is an activation with channels and places, and no scalar or constant."""
    return not tensor.constant and (tensor.dims is None or prod(tensor.dims) > 1)
