"""Where an export takes its measurements from: images, or ranges that were saved before.

Everything is looked at before the work starts, so that a wrong path does not cost the export.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from export.fp16_range import (
    NOT_MEASURED,
    Peaks,
    convolution_peaks,
    measure_peaks,
    peaks_from_ranges,
)
from export.int8.calibration import collect_ranges
from export.int8.histograms import Method
from export.onnx_file import outline
from refinenet.activation_ranges import Ranges, load_ranges, shipped_ranges
from refinenet.checkpoints.load import load_checkpoint
from runtime.errors import InputError
from runtime.frames import images_of, read_frame


@dataclass(frozen=True)
class Measurement:
    """images to measure on, or saved ranges, or neither: then FP16 goes by the constants alone."""

    images: tuple[Path, ...]
    saved: Ranges | None
    method: Method
    quiet: bool

    def peaks(self, fp32: Path) -> Peaks:
        """What FP16 must hold."""
        if self.images:
            return measure_peaks(fp32, self.images, self.quiet)
        return peaks_from_ranges(outline(fp32), self.saved) if self.saved else NOT_MEASURED

    def ranges(self, fp32: Path, peaks: Peaks) -> Ranges:
        """What INT8 must cover, with the peaks that belong to it."""
        if self.saved is not None:
            return self.saved
        ranges = collect_ranges(fp32, self.images, self.method, self.quiet)
        return replace(ranges, peaks=convolution_peaks(outline(fp32), peaks))


def plan_measurement(
    weights: Path,
    calibration: Path | None,
    method: str | None,
    percentile: float | None,
    *,
    ours: bool,
    variant: str | None = None,
    weights_key: str | None = None,
    int8: bool,
    quiet: bool,
) -> Measurement:
    """Find the images or ranges.

    calibration: an image, a folder of images, or a .json of saved ranges; by default the ranges
    that ship with the weights. method, percentile: None for the defaults. ours: whether the weights
    are of a network of this project's; those of a user's own mean nothing without their network.
    variant: see refinenet.load_model.

    Raises InputError for a method that nothing would use, for images or ranges that cannot be read,
    and if INT8 is asked for and there is nothing to take its ranges from.
    """
    chosen = _method(method, percentile)
    source = calibration or shipped_ranges(weights)
    given = calibration is not None
    if source.suffix != ".json":
        images = tuple(images_of(source))
        for image in images:
            read_frame(image)  # one that is broken must not be found after the FP32 file is there
        return Measurement(images, None, chosen, quiet)
    if method is not None or percentile is not None:
        raise InputError(
            "--calibration-method and --percentile measure images, and "
            + (f"{source} holds ranges" if given else "no --calibration IMAGES were given")
        )
    if given or source.is_file():
        return Measurement((), load_ranges(source), chosen, quiet)
    if int8:
        if ours:
            # Weights that cannot be read are the first thing to say.
            load_checkpoint(weights, variant, weights_key)
        raise InputError(
            f"INT8 needs activation ranges, and none ship with {weights.name}; give "
            "--calibration IMAGES, or leave int8 out: --precision fp32,fp16"
        )
    return Measurement((), None, chosen, quiet)


def _method(name: str | None, percentile: float | None) -> Method:
    if percentile is not None and name not in (None, "percentile"):
        raise InputError(f"--percentile {percentile:g} has no meaning for method {name}")
    default = Method()
    return Method(name or default.name, default.percentile if percentile is None else percentile)
