"""Where the time of one frame goes: decode, copy in, compute, upsample, copy out, overlay."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy import Judged, mask_of
from benchmarks.records.measurements import FrameBudget, Phases
from runtime.app.overlay import blend
from runtime.card import Card
from runtime.frames import Frame, read_frame
from runtime.resize import fit

T = TypeVar("T")


@runtime_checkable
class Stepwise(Protocol):
    """A backend that can wait between its steps, which makes it slower, to tell them apart."""

    def steps_ms(self, frames: NDArray[np.uint8], /) -> dict[str, float]:
        """The milliseconds of copy_in, compute, upsample_argmax and copy_out, those it has."""
        ...


def frame_budget(judged: Judged, files: Sequence[Path], geometry: Card) -> FrameBudget:
    """The steps of every image, one by one; a step that a backend does not have is None.

    files: images. geometry: with the size at which they go in, and the colours.
    """
    spent: dict[str, list[float]] = {}
    for file in files:
        decode_ms, frame = _timed(partial(_decoded, file, geometry))
        compute_ms, mask = _timed(partial(mask_of, judged, frame))
        overlay_ms, _ = _timed(partial(blend, frame, mask, geometry.palette))
        steps = {"compute": compute_ms} | _steps_ms(judged, frame)
        for name, ms in {"decode": decode_ms, **steps, "overlay": overlay_ms}.items():
            spent.setdefault(name, []).append(round(ms, 3))
    told = {f"{name}_ms": tuple(values) for name, values in spent.items()}
    return FrameBudget(
        decode_ms=told["decode_ms"],
        copy_in_ms=told.get("copy_in_ms"),
        compute_ms=told["compute_ms"],
        upsample_argmax_ms=told.get("upsample_argmax_ms"),
        copy_out_ms=told.get("copy_out_ms"),
        overlay_ms=told["overlay_ms"],
    )


def with_phases(budget: FrameBudget, phases: Phases | None) -> FrameBudget:
    """With an engine's own steps in place of the whole call; as it is for other backends."""
    if phases is None:
        return budget
    count = len(budget.decode_ms)
    return replace(
        budget,
        copy_in_ms=phases.h2d_ms[:count],
        compute_ms=phases.compute_ms[:count],
        copy_out_ms=phases.d2h_ms[:count],
    )


def _decoded(file: Path, geometry: Card) -> Frame:
    return fit(read_frame(file), geometry)


def _steps_ms(judged: Judged, frame: Frame) -> dict[str, float]:
    if not isinstance(judged.backend, Stepwise):
        return {}
    return judged.backend.steps_ms(np.repeat(frame[np.newaxis], judged.batch or 1, axis=0))


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    start_ns = time.perf_counter_ns()
    done = work()
    return (time.perf_counter_ns() - start_ns) / 1e6, done
