"""What people's networks, checkpoints, cards, ONNX files and data met: kinds from bug reports.

Each is refused in one line with nothing written, or gives the one right result.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tools.reliability.met import commands, data, models, networks, trainings
from tools.reliability.surroundings import Surrounding

MET: Mapping[str, Mapping[str, Surrounding]] = MappingProxyType(
    {
        "networks of one's own": networks.NETWORKS,
        "checkpoints": networks.CHECKPOINTS,
        "cards that people write": models.CARDS,
        "ONNX files of other tools": models.ONNX_FILES,
        "masks of every kind": data.MASKS,
        "lists of names": data.LISTS,
        "folders of images": data.FOLDERS,
        "data that is trained on": trainings.TRAININGS,
        "outputs and options": commands.OPTIONS,
    }
)
