"""A folder of images to masks on a Ray cluster: the masks of `refinenet segment`, by many actors.

    python segment_folder.py photos --model street.trt.engine --output masks --actors 4 --gpus 1

Each actor holds the model once. A worker that dies is replaced and its images are done again; a run
that was ended goes on when it is started again, since a mask that exists is finished. Model, images
and masks are to lie where every node sees them under the same path. It needs
refinenet-deploy[ray] and what runs the model, on every node. RAY_ADDRESS names the cluster; without
it the program starts Ray on this machine alone.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray reports to its makers otherwise

import ray
import ray.data

from runtime import Segmenter
from runtime.app.images import plan
from runtime.app.overlay import write_mask
from runtime.app.shards import Target, left_to_do
from runtime.arguments import DONE, Parser, positive, run_command
from runtime.errors import DeployError, InputError
from runtime.frames import Frame, read_frame

PROGRAM = "segment_folder.py"


class SegmentImages:
    """An actor: a batch of rows (image, mask) to one row for each, with what was wrong with it."""

    def __init__(self, model: str, threads: int | None) -> None:
        self._segmenter = Segmenter.open(model, threads=threads)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        errors = [""] * len(batch["image"])
        images, targets = list(map(Path, batch["image"])), list(map(Path, batch["mask"]))
        readable: list[int] = []

        def frames() -> Iterator[Frame]:
            for index, image in enumerate(images):
                try:
                    frame = read_frame(image)
                except DeployError as error:
                    errors[index] = str(error)
                else:
                    readable.append(index)
                    yield frame

        with self._segmenter.stream(frames()) as masks:  # reading and computing overlap
            for done, mask in enumerate(masks):
                write_mask(targets[readable[done]], mask, self._segmenter.palette)
        return {"image": batch["image"], "error": errors}


def segment_folder(arguments: list[str]) -> int:
    """Raises InputError if images could not be read, after the others are done."""
    given = _options(arguments)
    target = Target(given.output.absolute(), given.model, None, [])
    source = given.source.absolute()
    if not source.is_dir():
        raise InputError(f"{source} is no folder; expected a folder of images")
    todo, notes = left_to_do(plan(source, target.output), source, target, None, True)
    rows = _segmented(todo, given) if todo else []
    broken = [row["error"] for row in rows if row["error"]]
    print(f"{given.output}: {len(rows) - len(broken)} masks written", *notes, sep="; ")
    if broken:
        raise InputError(f"{len(broken)} images have no mask; the first: {broken[0]}")
    return DONE


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(
        "segment-folder",
        "A folder of images to masks on a Ray cluster.",
        f"python {PROGRAM} photos --model street.trt.engine --output masks --actors 4 --gpus 1",
    )
    parser.prog = PROGRAM
    parser.add_argument("source", type=Path, metavar="FOLDER")
    parser.add_argument("--model", type=Path, required=True, help=".onnx or .engine")
    parser.add_argument("--output", type=Path, required=True, help="a folder")
    parser.add_argument("--actors", type=positive, default=1, help="(default: %(default)s)")
    parser.add_argument("--gpus", type=float, default=0, help="of an actor (default: %(default)s)")
    parser.add_argument("--threads", type=positive, help="of an actor, on the CPU")
    parser.add_argument("--batch", type=positive, default=4, help="images in a task (default: 4)")
    return parser.parse_args(arguments)


def _segmented(todo: list[tuple[Path, Path]], given: argparse.Namespace) -> list[dict[str, Any]]:
    """What came of each image."""
    ray.init(include_dashboard=False, logging_level="warning", log_to_driver=not given.quiet)
    ray.data.DataContext.get_current().enable_progress_bars = not given.quiet
    items = [{"image": str(image), "mask": str(mask)} for image, mask in todo]
    images = ray.data.from_items(items, override_num_blocks=max(1, len(items) // given.batch))
    done = images.map_batches(
        SegmentImages,
        fn_constructor_args=[str(given.model.absolute()), given.threads],
        batch_size=given.batch,
        compute=ray.data.ActorPoolStrategy(size=given.actors),
        num_cpus=1,
        num_gpus=given.gpus,
        max_restarts=-1,  # a worker may die, and its images are done again
        max_task_retries=-1,
    )
    try:
        return done.take_all()
    finally:
        ray.shutdown()


if __name__ == "__main__":
    sys.exit(run_command(segment_folder, PROGRAM, sys.argv[1:]))
