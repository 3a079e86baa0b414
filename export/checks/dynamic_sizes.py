"""Which sizes a dynamic graph really takes: compared with PyTorch at sizes that it was not made at.

The exporter follows the network at one size. What it bakes in there (the kernels of a pooling
pyramid, a table of positions) gives other scores at any other size, without an error.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from export.checks.fixed_lines import SMALLEST, size_dependent_lines
from export.checks.scores import gives_ids
from export.checks.wrong_operator import wrong_operator
from export.frame_model import INPUT, FrameModel
from export.int8.calibration import session_with_outputs
from export.onnx_file import outline, write_model
from export.verify.stages import scores_tensor
from runtime.errors import InputError
from runtime.frames import Frame

MULTIPLES = (1, 2, 4, 8, 16, 32, 64)
USUAL = 32  # the stride of most networks: sizes that are multiples of it must agree at least
FAR = 1e-3  # standard deviations, ten times what FP32 may differ by
FAR_PIXELS = 2e-3  # share of them: an operator that jumps may turn a pixel
AXES = ("batch", "height", "width")

Size = tuple[int, int]


@dataclass
class Comparison:
    """multiple: of which both sides of a frame must be. sizes: at which PyTorch agreed."""

    multiple: int
    sizes: tuple[Size, ...]


def sizes_of(multiple: int, at_least: int = SMALLEST) -> tuple[Size, Size]:
    """Two sizes whose sides are multiples of this number, and of no greater power of two, nor of
    three, so that what a network divides them by is not divided by chance."""
    factors = [f for f in range(1, at_least + 24) if f % 6 in (1, 5) and f * multiple >= at_least]
    first, second, third = (factor * multiple for factor in factors[:3])
    return (first, second), (third, first)


def free_axes(graph: onnx.ModelProto) -> tuple[int | None, int | None, int | None, int]:
    """(N, H, W, 3) that the graph takes, None for a free axis."""
    dims = graph.graph.input[0].type.tensor_type.shape.dim
    batch, height, width = (
        dim.dim_value if dim.HasField("dim_value") else None for dim in dims[:3]
    )
    return batch, height, width, 3


def compare_sizes(
    graph: onnx.ModelProto, model: FrameModel, name: str, example: Size, quiet: bool = True
) -> Comparison:
    """Find the sizes at which a dynamic graph gives what PyTorch gives.

    graph: with the exporter's notes. model: what it was made of, with its weights. name: of the
    network, for messages. example: (height, width) that the graph was made at.

    Raises InputError if the graph has a fixed axis, and if it agrees at no multiple up to 64; the
    message names the lines of the network that depend on the size.
    """
    fixed = [axis for axis, size in zip(AXES, free_axes(graph), strict=False) if size is not None]
    if fixed:
        raise InputError(
            f"{name} does not take any size: the exported graph fixes the {' and '.join(fixed)}"
            f"{_at(size_dependent_lines(model, example))}. Export without --dynamic, one file a "
            "size, or compute sizes from x.shape with PyTorch's own operations"
        )
    with (
        TemporaryDirectory() as folder,
        tqdm(
            desc="comparing sizes with PyTorch", unit="size", leave=False, disable=quiet or None
        ) as progress,
    ):
        path = Path(folder) / "graph.onnx"
        write_model(graph, path)
        check = _Check(path, model, progress)
        for at_least in dict.fromkeys((SMALLEST, max(SMALLEST, min(example)))):
            multiple = _smallest_that_agrees(check, at_least)
            if multiple is not None:
                return Comparison(multiple, tuple(check.agreed))
            if not check.too_small:
                break
        operator = check.wrong_operator()
    where = [operator] if operator else size_dependent_lines(model, example)
    raise InputError(
        f"{name} does not take any size: at {check.failures[0]}{_at(where)}. "
        "Export without --dynamic, one file a size"
    )


def _smallest_that_agrees(check: _Check, at_least: int) -> int | None:
    """The smallest multiple at both of whose sizes the graph agrees, and at larger ones too."""
    for multiple in MULTIPLES:
        if all(check.agrees(size) for size in sizes_of(multiple, at_least)):
            larger = USUAL if multiple < USUAL else MULTIPLES[-1]
            if multiple == larger or check.agrees(sizes_of(larger, at_least)[0]):
                return multiple
    return None


@dataclass
class _Check:
    """agreed: sizes at which the graph gives what PyTorch gives. failures: what happened at the
    others. wrong: those of them that PyTorch takes. too_small: whether it failed at one itself."""

    path: Path
    model: FrameModel
    progress: tqdm[None]
    agreed: list[Size] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    wrong: list[Size] = field(default_factory=list)
    too_small: bool = False
    tried: dict[Size, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._graph = outline(self.path)
        self._output = _compared(self._graph, self.model)
        self._session = session_with_outputs(self._graph, [self._output], self.path.parent)

    def wrong_operator(self) -> str | None:
        """The first that differs, at a size that PyTorch takes; None if it cannot be told."""
        for size in self.wrong[:1]:
            return wrong_operator(self._graph, self.path.parent, self.model, trial_frames(1, size))
        return None

    def agrees(self, size: Size) -> bool:
        if size not in self.tried:
            self.tried[size] = self._compare(size)
        return self.tried[size]

    def _compare(self, size: Size) -> bool:
        batch = 1 + len(self.agreed) % 2 * 2  # 1 and 3: the graph was made with 2
        frames = trial_frames(batch, size)
        at = f"{size[0]}x{size[1]}"
        self.progress.update()
        try:
            with torch.no_grad():
                expected = self.model.scores(torch.from_numpy(frames)).numpy()
        except Exception as error:  # the network's own code
            self.too_small = True
            self.failures.append(f"{at} PyTorch itself fails ({_first_line(error)})")
            return False
        try:
            found = self._session.run([self._output], {INPUT: frames})[0]
        except Exception as error:  # ONNX Runtime's errors have no base of their own
            self.wrong.append(size)
            self.failures.append(f"{at} ONNX Runtime fails ({_first_line(error)})")
            return False
        far = _far_pixels(np.asarray(found, np.float32), expected)
        if far > FAR_PIXELS:
            self.wrong.append(size)
            self.failures.append(f"{at} {far:.0%} of its scores are not PyTorch's")
            return False
        self.agreed.append(size)
        return True


def _compared(graph: onnx.ModelProto, model: FrameModel) -> str:
    """The tensor to compare: the scores; the output of a network that gives class ids."""
    if gives_ids(model.network):
        name: str = graph.graph.output[0].name
        return name
    return scores_tensor(graph)


def trial_frames(batch: int, size: Size) -> Frame:
    """(batch, height, width, 3) uint8: slopes, and noise on the right half."""
    height, width = size
    rows, columns = np.mgrid[0:height, 0:width]
    slopes = [255 * rows / height, 255 * columns / width, 255 * (1 - rows / height)]
    frames = np.repeat(np.stack(slopes, -1)[None], batch, axis=0).astype(np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, frames.shape, np.uint8)
    frames[:, :, width // 2 :] = noise[:, :, width // 2 :]
    return frames


def _far_pixels(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """The share of pixels whose scores differ; NaN does. All where the shapes do."""
    if found.shape != expected.shape:
        return 1.0
    far = ~(np.abs(found - expected) <= FAR * max(float(expected.std()), 1e-6))
    return float((far.any(axis=1) if far.ndim == 4 else far).mean())


def _at(lines: list[str]) -> str:
    return f", at {'; '.join(lines)}" if lines else ""


def _first_line(error: Exception) -> str:
    text = str(error).rpartition("Status Message: ")[2]  # after ONNX Runtime's own beginning
    lines = text.strip().splitlines() or [type(error).__name__]
    return " ".join(lines[0].split())[:200].rstrip(".")
