"""Compare the masks of a served model with those of its file, on images of yours.

    python smoke_test.py --model street.fp16.onnx --images photos --server localhost:8001

A server says that it is ready while every answer is empty or wrong; masks alone tell. It needs
refinenet-deploy[triton] and what runs the file, such as refinenet-deploy[onnxruntime]. The served
model is the one whose folder this file lies in. Exit code 1 if masks differ by more than rounding.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from runtime import Segmenter
from runtime.arguments import DONE, Parser, run_command
from runtime.errors import CheckFailed
from runtime.frames import images_of, read_frame

PROGRAM = "smoke_test.py"
# Of equal pixels, by precision: the gates of refinenet verify. The server may compute on another
# device than the file does here.
LEAST_SHARES = {"fp32": 0.9999, "fp16": 0.995, "bf16": 0.995, "int8": 0.98}


def smoke_test(arguments: Sequence[str]) -> int:
    """Raises CheckFailed if too few pixels are equal."""
    parser = Parser(
        "smoke-test",
        "Compare the masks of a served model with those of its file.",
        f"python {PROGRAM} --model street.fp16.onnx --images photos",
    )
    parser.prog = PROGRAM
    parser.add_argument("--model", type=Path, required=True, help="the file that was exported")
    parser.add_argument("--images", type=Path, required=True, help="a folder of images, or one")
    parser.add_argument("--server", default="localhost:8001", help="HOST:PORT of gRPC")
    parser.add_argument(
        "--name", default=Path(__file__).resolve().parent.name, help=argparse.SUPPRESS
    )
    given = parser.parse_args(arguments)
    equal = pixels = 0
    address = f"triton://{given.server}/{given.name}"
    with Segmenter.open(given.model) as local, Segmenter.open(address) as served:
        for image in images_of(given.images):
            frame = read_frame(image)
            expected, found = local(frame), served(frame)
            equal += int((expected == found).sum())
            pixels += expected.size
    share, least = equal / pixels, LEAST_SHARES[local.card.precision]
    print(f"{address}: {share:.4%} of {pixels} pixels as {given.model.name} ({served.description})")
    if share < least:
        raise CheckFailed(f"{share:.4%} of pixels are equal; expected at least {least:.2%}")
    return DONE


if __name__ == "__main__":
    sys.exit(run_command(smoke_test, PROGRAM, sys.argv[1:]))
