"""How good a network is on the validation images, computed by all processes together."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from refinenet.data.datasets import LabelledImages
from refinenet.evaluation.metrics import ConfusionMatrix
from refinenet.evaluation.predict import predict
from refinenet.training.distributed import Processes
from runtime.normalization import Normalization

IMAGES_PER_WORKER = 16


class ValidationImages(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """Frames, (H, W, 3) uint8 BGR, and labels, (H, W) uint8, as tensors."""

    def __init__(self, images: LabelledImages) -> None:
        self.images = images

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        frame, label = self.images.read(index)
        return torch.from_numpy(frame), torch.from_numpy(label)


class Validation:
    """Each process takes every so many-th image; the loader reads ahead with its own processes."""

    def __init__(
        self, images: LabelledImages, normalization: Normalization, team: Processes, workers: int
    ) -> None:
        self.num_classes = len(images.dataset.classes)
        self.normalization, self.team = normalization, team
        share = range(team.rank, len(images), team.world)
        # They live for one validation: a process is started for what takes longer than starting it.
        workers = min(workers, max(1, len(share) // IMAGES_PER_WORKER))
        self.loader = DataLoader(
            ValidationImages(images),
            batch_size=None,  # images have sizes of their own
            sampler=share,
            num_workers=workers,
            # Its own generator: what the loader draws must not shift what training draws.
            generator=torch.Generator(),
        )

    def run(self, network: nn.Module) -> ConfusionMatrix:
        """The counts over all images, the same in every process."""
        network = self.team.with_buffers_of_first(network).eval()
        matrix = ConfusionMatrix(self.num_classes)
        for frame, label in self.loader:
            mask = predict(network, frame.numpy(), self.normalization, device=self.team.device)
            matrix.add(label.numpy(), mask)
        counts = torch.from_numpy(matrix.counts).to(self.team.device)
        matrix.counts = self.team.summed(counts).cpu().numpy()
        return matrix
