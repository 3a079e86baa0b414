"""The batches of a training: the same whatever the number of workers and processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import active_children
from multiprocessing.process import BaseProcess

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from refinenet.data.augmentation import augment
from refinenet.data.datasets import LabelledImages
from refinenet.training.distributed import Processes
from refinenet.training.recipes.recipe import Recipe
from runtime.errors import InputError
from runtime.normalization import Normalization

Place = tuple[int, int]  # epoch, index of the image

LONGEST_DEATH_S = 1.0  # between a connection that breaks and the end of the process behind it


class TrainingSamples(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """Augmented samples by epoch and index of the image.

    Each is drawn from a generator of its own, seeded by (seed, epoch, index): the same whichever
    worker and process draws it, and the same again after a resume.
    """

    def __init__(
        self, images: LabelledImages, recipe: Recipe, normalization: Normalization
    ) -> None:
        self.images, self.recipe, self.normalization = images, recipe, normalization

    def __getitem__(self, place: Place) -> tuple[Tensor, Tensor]:
        epoch, index = place
        rng = np.random.default_rng((self.recipe.seed, epoch, index))
        frame, label = self.images.read(index)
        ignore_id = self.images.dataset.ignore_id
        frame, label = augment(
            frame, label, ignore_id, self.normalization, self.recipe.augmentation, rng
        )
        # As bytes: a fifth of what floats and int64 would put through the pipe and onto the GPU.
        return torch.from_numpy(frame), torch.from_numpy(label)


class GlobalBatches(Sampler[list[Place]]):
    """This process's share of every global batch of an epoch.

    One random order of the images, the same in every process, is cut into global batches, and each
    of those into the processes' shares. Images beyond the last whole batch sit the epoch out.
    """

    def __init__(self, images: int, recipe: Recipe, team: Processes) -> None:
        self.images, self.recipe, self.team = images, recipe, team
        self.epoch = 0

    def __len__(self) -> int:
        return self.images // self.recipe.batch

    def __iter__(self) -> Iterator[list[Place]]:
        random = torch.Generator().manual_seed(1_000_003 * self.recipe.seed + self.epoch)
        order = torch.randperm(self.images, generator=random).tolist()
        batch = self.recipe.batch
        share = batch // self.team.world
        for start in range(self.team.rank * share, len(self) * batch, batch):
            yield [(self.epoch, index) for index in order[start : start + share]]


class Batches:
    """The loader of a training; its worker processes live as long as it does."""

    def __init__(
        self,
        images: LabelledImages,
        recipe: Recipe,
        normalization: Normalization,
        team: Processes,
        workers: int,
    ) -> None:
        if workers:
            # Here, since OpenCV hangs in a fork of a process that has used its threads; and one
            # thread per core in each worker would only make them wait for one another.
            cv2.setNumThreads(1)
        self.workers = workers
        self._processes: list[BaseProcess] = []
        self.sampler = GlobalBatches(len(images), recipe, team)
        self.loader = DataLoader(
            TrainingSamples(images, recipe, normalization),
            batch_sampler=self.sampler,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=team.device.type == "cuda",
            # A generator of its own: the loader must not shift what the network's dropout draws.
            generator=torch.Generator(),
        )

    def __len__(self) -> int:
        """Steps of one epoch."""
        return len(self.sampler)

    def of_epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Frames, (N, crop, crop, 3) uint8 BGR, and labels, (N, crop, crop) uint8."""
        self.sampler.epoch = epoch
        before = active_children()
        batches = iter(self.loader)
        self._processes += [child for child in active_children() if child not in before]
        return batches

    @contextmanager
    def plain_errors(self) -> Iterator[None]:
        """Turn what the loader raises into one clear line.

        Around all that happens while its processes live: PyTorch tells of one that died by an
        error out of a signal handler, in whatever line is under way.
        """
        try:
            try:
                yield
            except (RuntimeError, OSError, EOFError):
                # Perhaps a connection to a process that is about to end: PyTorch's own error then
                # comes here, and not in the middle of what reports this one.
                for process in self._processes:
                    process.join(LONGEST_DEATH_S / len(self._processes))
                raise
        except InputError as error:
            if not str(error).startswith("Caught "):
                raise
            # The loader puts the worker's traceback before the message.
            raise InputError(str(error).rpartition("InputError: ")[2].strip()) from error
        except (RuntimeError, OSError, EOFError) as error:
            alive = all(process.is_alive() for process in self._processes)
            if alive and not str(error).startswith("DataLoader worker"):
                raise
            reason = str(error).split(".")[0] or type(error).__name__
            raise InputError(
                f"a loader process died ({reason}), probably for want of memory; "
                f"use fewer than --workers {self.workers}, or --workers 0 to load without them, "
                "and go on with --resume"
            ) from error
