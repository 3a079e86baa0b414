"""What makes data the same data, wherever they lie and however they are named on a command line."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from refinenet.data.datasets import LabelledImages


def data_identity(root: Path, splits: Mapping[str, LabelledImages]) -> dict[str, Any]:
    """What a training of these splits of one data set depends on, as plain data.

    root: the folder that the images lie below. Names of files count from there, in their order,
    with the sizes of the files: reading all images would take as long as an epoch.
    """
    dataset = next(iter(splits.values())).dataset
    found: dict[str, Any] = {
        "classes": list(dataset.classes),
        "ignore id": dataset.ignore_id,
        "id map": [[i, class_id] for i, class_id in sorted(dataset.id_map.items())],
        **{f"{split} data": _files(root, images) for split, images in splits.items()},
    }
    if dataset.by_colour:
        ignored = [] if dataset.ignore_colour is None else [dataset.ignore_colour]
        found["colours"] = [list(colour) for colour in (*dataset.palette, *ignored)]
    if not dataset.turned:
        found["exif"] = "ignored"
    return found


def _files(root: Path, images: LabelledImages) -> str:
    digest = hashlib.sha256()
    for path in (path for pair in images.pairs for path in pair):
        size_bytes = path.stat().st_size if path.exists() else None
        digest.update(os.fsencode(f"{os.path.relpath(path, root)}\0{size_bytes}\0"))
    return f"{len(images)} images, SHA-256 of their list {digest.hexdigest()[:16]}"
