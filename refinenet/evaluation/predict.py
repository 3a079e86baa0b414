"""How a network turns one frame into class scores, and these into a mask."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refinenet.checkpoints.load import load_checkpoint
from refinenet.data.network_input import to_input
from refinenet.evaluation.passes import ONE_PASS, Passes, Tiles
from runtime.errors import DeviceError, InputError
from runtime.frames import Frame, Mask
from runtime.normalization import Normalization


class TorchSegmenter:
    """Weights, opened: called with a frame it gives the mask, as runtime.Segmenter does.

    card: what the weights are. description: what runs them, such as "PyTorch 2.13.0, cpu".
    """

    def __init__(self, weights: str | Path, passes: Passes = ONE_PASS, device: str = "cpu") -> None:
        """weights: a file, or the name of shipped weights. device: cpu, cuda, cuda:1, …

        Raises what load_checkpoint raises, InputError for weights of one class, and DeviceError if
        the device cannot be had.
        """
        self._passes, self._device = passes, check_device(device)
        network, self.card = load_checkpoint(weights)
        if len(self.card.classes) == 1:
            raise InputError(
                f"{weights} has one class, so that the best class is always 0; export it, which "
                "makes background and foreground of its one score, and use the ONNX file"
            )
        network.to(self._device)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in the stubs
        self._network = network
        self.description = f"PyTorch {torch.__version__}, {self._device}"

    def __call__(self, frame: Frame) -> Mask:
        return predict(self._network, frame, self.card.normalization, self._passes, self._device)


def predict(
    network: nn.Module,
    frame: Frame,
    normalization: Normalization,
    passes: Passes = ONE_PASS,
    device: str | torch.device = "cpu",
) -> Mask:
    """The mask of a frame: the class with the best score.

    network: in evaluation mode, on the device; (1, 3, H, W) float, normalized, to class scores
    (1, C, H', W') of any size.
    frame: (H, W, 3) uint8, BGR. normalization: what the network is fed, from its card.

    Returns (H, W) uint8 class ids.
    """
    least = getattr(network, "least", 1)  # of this project's networks; see SegmentationNetwork
    if min(frame.shape[:2]) < least:
        height, width = frame.shape[:2]
        raise InputError(f"a frame of {height}x{width}; the network takes {least}x{least} at least")
    with torch.inference_mode():
        scores = class_scores(network, to_input(frame, normalization, device)[None], passes)
        mask: Mask = scores.argmax(1)[0].to(torch.uint8).cpu().numpy()
    return mask


def class_scores(network: nn.Module, image: Tensor, passes: Passes = ONE_PASS) -> Tensor:
    """The class scores of a normalized image, (1, 3, H, W), at its own size: (1, C, H, W).

    One pass gives the network's logits, as the exported graph computes them. Several give the mean
    of their probabilities, evenly weighted, as the authors fuse theirs (fuse_multiscale_results.m):
    logits of different scales differ in spread, and a mean of logits would follow the most certain.
    Logits are interpolated, not probabilities, which is the authors' interpolation in logarithms.

    Memory beside the network's: three maps like the result, and with tiles one at the scaled size.
    """
    size = (image.shape[2], image.shape[3])
    maps = (
        _one_pass(network, image, scaled_size, mirrored, passes.tiles)
        for scaled_size in passes.sizes(size)
        for mirrored in ((False, True) if passes.flip else (False,))
    )
    if passes.count == 1:
        return next(maps)
    total = next(maps).softmax(1)
    for logits in maps:
        total += logits.softmax(1)
    return total.div_(passes.count)


def _one_pass(
    network: nn.Module, image: Tensor, size: tuple[int, int], mirrored: bool, tiles: Tiles | None
) -> Tensor:
    """Logits at the image's own size, (1, C, H, W), from the image at another size."""
    # Bicubic with antialiasing is what the authors' imresize does.
    scaled = _resized(image, size, "bicubic", antialias=True)
    logits = _logits(network, scaled.flip(3) if mirrored else scaled, tiles)
    logits = logits.flip(3) if mirrored else logits
    return _resized(logits, (image.shape[2], image.shape[3]), "bilinear")


def _logits(network: nn.Module, image: Tensor, tiles: Tiles | None) -> Tensor:
    """(1, 3, H, W) to (1, C, H', W'): of the whole image, or blended from tiles at (H, W)."""
    places = tiles.over((image.shape[2], image.shape[3])) if tiles else []
    if tiles is None or len(places) == 1:
        whole: Tensor = network(image)
        return whole
    total, weights = image.new_zeros(()), image.new_zeros(image.shape[2:])
    for rows, columns in places:
        tile = image[:, :, rows, columns]
        size = (tile.shape[2], tile.shape[3])
        logits = _resized(network(tile), size, "bilinear")
        if total.ndim == 0:  # the first tile tells the number of classes
            total = image.new_zeros(1, logits.shape[1], *image.shape[2:])
        weight = _blend_weight(size, tiles.overlap, logits)
        total[:, :, rows, columns] += logits * weight
        weights[rows, columns] += weight
    return total.div_(weights)


def _blend_weight(size: tuple[int, int], overlap: int, like: Tensor) -> Tensor:
    """(height, width): falls off over the overlap towards the edges, where padding is near."""
    ramps = []
    for side in size:
        inward = torch.arange(1, side + 1, dtype=like.dtype, device=like.device)
        ramps.append(torch.minimum(inward, inward.flip(0)).clamp(max=max(1, overlap)))
    return ramps[0][:, None] * ramps[1]


def _resized(maps: Tensor, size: tuple[int, int], mode: str, *, antialias: bool = False) -> Tensor:
    if maps.shape[2:] == size:
        return maps
    return F.interpolate(maps, size, mode=mode, antialias=antialias)


def check_device(name: str) -> torch.device:
    """The device of that name; DeviceError if this machine or this PyTorch does not have it."""
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # the latter from a build without CUDA
        reason = str(error).splitlines()[0]
        raise DeviceError(f"device '{name}' cannot be had: {reason}. Use --device cpu") from error
    return device
