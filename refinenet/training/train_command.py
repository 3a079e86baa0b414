"""`refinenet train`: a network from labelled images."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from refinenet.data.dataset_option import add_dataset
from runtime.arguments import DONE, Parser, one_line, positive, print_written, whole

if TYPE_CHECKING:
    from refinenet.training.options import TrainOptions


def train(arguments: Sequence[str]) -> int:
    """refinenet train: labelled images to weights."""
    from refinenet.training.recipes.recipe_options import add_recipe_options, take_recipe

    parser = Parser(
        "train",
        "Train a network. The run folder holds the best weights by validation mIoU\n"
        "(best.safetensors), a log (log.csv), and the exact state to resume from (state.pt).\n"
        "Several GPUs or machines: torchrun, as docs/training.md shows.",
        "refinenet train --variant lw-mobilenetv2 --data camvid --output runs/camvid\n"
        "    --backbone-weights mobilenetv2_imagenet.pth\n"
        "  torchrun --nproc-per-node 4 -m refinenet train --variant lw-101 --preset light-weight\n"
        "    --batch 8 --data VOC2012 --dataset voc --output runs/voc --device cuda",
    )
    parser.add_argument("--variant", required=True, help="such as lw-mobilenetv2 or refinenet-101")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    add_dataset(parser)
    parser.add_argument("--output", type=Path, required=True, metavar="RUN_DIR")
    parser.add_argument(
        "--resume", action="store_true", help="go on with the run in RUN_DIR, if there is one"
    )
    start = parser.add_mutually_exclusive_group()
    start.add_argument(
        "--backbone-weights", type=Path, metavar="FILE", help="ImageNet weights, torchvision's keys"
    )
    start.add_argument("--weights", type=Path, metavar="FILE", help="weights to fine-tune instead")
    parser.add_argument(
        "--weights-key",
        metavar="KEY",
        help="which of several sets of weights in that file, such as ema",
    )
    parser.add_argument(
        "--new-classifier",
        action="store_true",
        help="of --weights take all but what gives the classes, to learn others",
    )
    parser.add_argument(
        "--validate-every", type=positive, default=1, metavar="EPOCHS", help="(default: 1)"
    )
    parser.add_argument(
        "--save-every",
        type=positive,
        default=0,
        metavar="EPOCHS",
        help="keep the weights of every so many epochs too, in RUN_DIR/epochs",
    )
    parser.add_argument("--half", action="store_true", help="store the best weights as float16")
    parser.add_argument(
        "--qat",
        action="store_true",
        help="fine-tune --weights with the rounding of INT8 in the forward pass; the ranges that "
        "export needs are written beside the best weights",
    )
    parser.add_argument("--tensorboard", action="store_true", help="log to RUN_DIR/tensorboard too")
    parser.add_argument("--note", metavar="TEXT", help="kept in the card: what this run is for")
    _add_means(parser.add_argument_group("means: these change the speed, not the recipe"))
    add_recipe_options(parser)
    given = vars(parser.parse_args(arguments))
    from refinenet.data.datasets import open_dataset
    from refinenet.data.notes import training_notes
    from refinenet.training.distributed import is_first_process
    from refinenet.training.run.summary import resume_command
    from refinenet.training.train import TrainOptions, train

    recipe, unasked = take_recipe(given)
    options = TrainOptions(recipe=recipe, unasked=unasked, **given)
    if is_first_process():
        images = open_dataset(options.dataset, options.data, "train")
        for note in training_notes(images, quiet=options.quiet):
            print(f"refinenet train: {one_line(note)}", file=sys.stderr)
    try:
        best = train(options)
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(resume_command(options.output, arguments)) from error
    if is_first_process():
        _print_result(best, options)
    return DONE


def _print_result(best: Path, options: TrainOptions) -> None:
    """What was reached, in which file, and what a next step is."""
    from refinenet.data.datasets import open_dataset
    from refinenet.training.run.summary import (
        next_command,
        result_table,
        skipped_steps,
        time_summary,
    )

    print(time_summary(options.output))
    if skipped := skipped_steps(options.output):
        print(
            f"refinenet train: {skipped} steps overflowed in fp16 and were skipped", file=sys.stderr
        )
    print(result_table(best))
    print_written(best)
    images = open_dataset(options.dataset, options.data, "train")
    print(next_command(best, [image for image, _ in images.pairs]))


def _add_means(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--device", help="cpu or cuda (default: cuda where PyTorch has a GPU)")
    group.add_argument(
        "--workers",
        type=whole,
        help="loader processes; 0 loads in the training process itself (default: 1 on the CPU, all "
        "cores but one on a GPU)",
    )
    group.add_argument(
        "--compile",
        action="store_true",
        help="compile the network first (torch.compile): steps are faster, the first takes minutes",
    )
    group.add_argument(
        "--accumulate",
        type=positive,
        default=1,
        metavar="PARTS",
        help="compute a batch in so many parts, to save memory (default: 1)",
    )
    group.add_argument(
        "--deterministic", action="store_true", help="the same bits every time, at some cost"
    )
