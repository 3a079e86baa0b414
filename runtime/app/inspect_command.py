"""`refinenet inspect`: what a file is, and whether it can run here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from runtime.arguments import DONE, Parser, printable


def inspect(arguments: Sequence[str]) -> int:
    """refinenet inspect: what a file is, and whether this machine can run it."""
    parser = Parser(
        "inspect",
        "What a weights, ONNX or engine file is, and whether this machine can run it.",
        "refinenet inspect build/street.fp16.rtx.engine",
    )
    parser.add_argument(
        "file",
        type=Path,
        help=".safetensors, .onnx or .engine, or the name of shipped weights",
    )
    parser.add_argument("--card", type=Path, help="the card of a file that carries none")
    parser.add_argument(
        "--gpu",
        metavar="NAME",
        help="what each kernel of a TensorRT-RTX engine may cost on this GPU by its data sheet, "
        "such as rtx-4090; no GPU is needed",
    )
    given = parser.parse_args(arguments)
    from runtime.app.inspect import inspect_file

    facts = inspect_file(given.file, given.card, given.gpu)
    print(given.file)
    _print_facts(facts)
    return DONE


def _print_facts(facts: Mapping[str, str]) -> None:
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"  {name:<{width}}  {printable(value)}")  # cards come from strangers
