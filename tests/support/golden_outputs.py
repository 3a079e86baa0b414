"""The golden outputs in ../shared/golden: weights and inputs by rule, and the logits they give."""

from __future__ import annotations

import json
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

VARIANTS = {"rf101": "refinenet-101", "rf_lw50": "lw-50", "mbv2": "lw-mobilenetv2"}
# The networks that RefineNet is compared with.
COMPARED = {
    "fcn8s": "fcn-8s",
    "crfrnn_fcn": "fcn-8s",
    "tv_fcn50": "fcn-50",
    "unet": "unet",
    "deeplabv2_msc": "deeplab-v2-101-msc",
}
GAINS = {"fcn8s": 2**0.5, "crfrnn_fcn": 2**0.5}  # of fill.py, where it is not 1
TOLERANCE = 1e-4  # of the golden logits' standard deviation


class Golden:
    """name: a key of VARIANTS or COMPARED. case: BATCHxHEIGHTxWIDTH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rule = _module(folder / "fill.py")

    def shapes(self, name: str) -> dict[str, tuple[int, ...]]:
        """Every key of the published checkpoint."""
        keys = json.loads((self.folder / f"{name}.keys.json").read_text(encoding="utf-8"))
        return {key: tuple(shape) for key, (shape, _) in keys.items()}

    def weights(self, name: str) -> dict[str, Tensor]:
        """The published checkpoint, filled by the rule."""
        return {
            key: torch.from_numpy(np.asarray(self.rule.value(key, shape, GAINS.get(name, 1.0))))
            for key, shape in self.shapes(name).items()
        }

    def logits(self, name: str) -> dict[str, NDArray[np.float32]]:
        """By case, (batch, classes, h, w), at the size that the reference gives."""
        with np.load(self.folder / f"{name}.npz") as arrays:
            return dict(arrays)

    def error(self, model: nn.Module, case: str, expected: NDArray[np.float32]) -> float:
        """The largest error of the model's logits, in standard deviations of the golden ones.

        They are upsampled first, where the reference does that inside.
        """
        batch, height, width = map(int, case.split("x"))
        with torch.inference_mode():
            scores = model(torch.from_numpy(self.rule.image(height, width, batch)))
            if scores.shape[-2:] != expected.shape[-2:]:
                assert expected.shape[-2:] == (height, width)
                scores = F.interpolate(scores, (height, width), mode="bilinear")
        found = scores.numpy()
        assert found.shape == expected.shape
        return float(np.abs(found - expected).max() / expected.std())


def _module(path: Path) -> ModuleType:
    spec = spec_from_file_location("golden_fill", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
