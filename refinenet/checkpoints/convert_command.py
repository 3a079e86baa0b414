"""`refinenet convert`: any checkpoint to .safetensors with a card."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from runtime.arguments import DONE, Parser, print_written


def convert(arguments: Sequence[str]) -> int:
    """refinenet convert: any checkpoint to .safetensors with a card."""
    parser = Parser(
        "convert",
        "Write a checkpoint as .safetensors with a card. Network, depth and number of classes are\n"
        "recognized from the keys; the names of the classes are not in a checkpoint.",
        "refinenet convert rf101_voc.pth.tar rf101-voc.safetensors --dataset voc --half",
    )
    parser.add_argument("weights", metavar="IN", help="a published checkpoint, or a state_dict")
    parser.add_argument("output", type=Path, metavar="OUT.safetensors")
    parser.add_argument(
        "--variant", metavar="NAME", help="whose weights they are, if keys do not tell"
    )
    parser.add_argument(
        "--weights-key",
        metavar="KEY",
        help="which of several sets of weights in the file, such as ema",
    )
    parser.add_argument("--half", action="store_true", help="store float16")
    names = parser.add_mutually_exclusive_group()
    names.add_argument("--classes", type=Path, metavar="FILE", help="names by id, one per line")
    names.add_argument(
        "--dataset", metavar="NAME|FILE", help="a dataset whose classes and colours to take"
    )
    parser.add_argument(
        "--pooling",
        choices=("pool-conv", "conv-pool"),
        help="order in the chained residual pooling, which the keys do not tell (default: "
        "pool-conv; conv-pool for the authors' NYUDv2, Person-Part, Context, SUN and ADE20K)",
    )
    parser.add_argument(
        "--note", metavar="TEXT", help="kept in the card: where they come from, what was tried"
    )
    given = vars(parser.parse_args(arguments))
    from refinenet.checkpoints.convert import ConvertOptions, convert

    del given["quiet"]  # nothing here takes long
    output = convert(given.pop("weights"), given.pop("output"), ConvertOptions(**given))
    print_written(output)
    return DONE
