"""`refinenet export-triton`: a model file to a Triton model repository."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from export.serving.serving_plan import BACKENDS, CPU, GPU, MAX_BATCH, QUEUE_MS, TritonOptions
from runtime.arguments import DONE, Parser, positive, size


def export_triton(arguments: Sequence[str]) -> int:
    """refinenet export-triton: a folder that Triton Inference Server serves."""
    parser = Parser(
        "export-triton",
        "Write a Triton model repository for an .onnx or .engine file: configuration, model,\n"
        "the command that starts the server, and a smoke test that compares masks.",
        "refinenet export-triton build/street.fp16.onnx --output repository --name street",
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help=".onnx or .engine")
    parser.add_argument("--output", type=Path, required=True, metavar="REPOSITORY")
    parser.add_argument("--name", help="of the served model (default: the file's)")
    parser.add_argument(
        "--max-batch",
        type=positive,
        help=f"frames that the server joins into one call, of dynamic files (default: {MAX_BATCH}, "
        "or what the engine takes)",
    )
    parser.add_argument(
        "--backend",
        choices=BACKENDS,
        help="what runs it in the server (default: onnxruntime for .onnx, tensorrt for engines of "
        "full TensorRT, python for those of TensorRT-RTX)",
    )
    parser.add_argument(
        "--device",
        choices=(CPU, GPU),
        help="where the server computes (default: cpu for .onnx in the python backend, else gpu)",
    )
    parser.add_argument(
        "--size",
        type=size,
        metavar="HEIGHTxWIDTH",
        help="of a file of any size: take this one alone, warm up for it, and let ONNX Runtime "
        "build a TensorRT engine for it",
    )
    parser.add_argument(
        "--queue-ms",
        type=positive,
        default=QUEUE_MS,
        help="how long a frame may wait before it is refused (default: %(default)s)",
    )
    parser.add_argument("--card", type=Path, help="the card of a model that carries none")
    given = vars(parser.parse_args(arguments))
    return _export(given.pop("model"), given.pop("quiet"), TritonOptions(**given))


def _export(model: Path, quiet: bool, options: TritonOptions) -> int:
    from export.serving.repository import triton_repository

    folder = triton_repository(model, options)
    print(f"{folder}: a model for Triton")
    if not quiet:
        print(f"start the server and test it: see {folder / 'README.md'}")
    return DONE
