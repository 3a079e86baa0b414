"""The counts of a validation are those of all images, however they are read and shared out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from refinenet.data.datasets import open_dataset
from refinenet.evaluation.evaluate import confusion
from refinenet.evaluation.predict import predict
from refinenet.training import validation
from refinenet.training.distributed import Processes
from refinenet.training.validation import Validation
from refinenet.variants import create_model
from runtime.normalization import IMAGENET

CPU = torch.device("cpu")


class Alone(Processes):
    """One of several processes, which keeps its own counts."""

    def summed(self, value: torch.Tensor) -> torch.Tensor:
        return value

    def with_buffers_of_first(self, network: torch.nn.Module) -> torch.nn.Module:
        return network


def test_all_processes_and_their_loaders_count_what_one_counts(
    small_camvid: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validation, "IMAGES_PER_WORKER", 1)
    images = open_dataset("camvid", small_camvid, "train")
    network = create_model("lw-mobilenetv2", 11).eval()
    expected = confusion(lambda frame: predict(network, frame, IMAGENET), images).counts
    assert expected.any()
    for world, workers in ((1, 0), (1, 2), (3, 0), (3, 2)):
        parts = [
            Validation(images, IMAGENET, Alone(rank, world, CPU), workers).run(network).counts
            for rank in range(world)
        ]
        np.testing.assert_array_equal(sum(parts), expected)
        assert all(part.any() for part in parts)


def test_the_network_is_evaluated_and_not_trained(small_camvid: Path) -> None:
    images = open_dataset("camvid", small_camvid, "val")
    network = create_model("lw-mobilenetv2", 11).train()
    Validation(images, IMAGENET, Processes(0, 1, CPU), 0).run(network)
    assert not network.training
