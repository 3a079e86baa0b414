"""The `refinenet` command: a table of sub-commands, each imported only when it is called."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from types import MappingProxyType
from typing import NamedTuple

from refinenet import __version__
from refinenet.shadowed import OWN_PACKAGES, shadow

try:
    from runtime.arguments import DONE, run_command
    from runtime.errors import InputError, MissingPackage
except ImportError:
    if (cause := shadow()) is None:
        raise
    print(f"refinenet: {cause}", file=sys.stderr)
    sys.exit(2)


class SubCommand(NamedTuple):
    """package: where a module NAME_command holds the function NAME, with _ for each - of the name.
    extra: what to install where a package that it needs is missing."""

    package: str
    extra: str
    summary: str


COMMANDS = MappingProxyType(
    {
        "data": SubCommand(
            "refinenet.data", "train", "check: faults and classes of labelled images"
        ),
        "train": SubCommand("refinenet.training", "train", "train a network on labelled images"),
        "evaluate": SubCommand(
            "refinenet.evaluation", "export", "IoU per class of weights, ONNX, engines"
        ),
        "convert": SubCommand(
            "refinenet.checkpoints", "export", "any checkpoint to .safetensors with a card"
        ),
        "export": SubCommand("export", "export", "weights to ONNX: fp32, fp16, int8"),
        "build": SubCommand("export", "rtx", "ONNX to TensorRT engines"),
        "export-triton": SubCommand(
            "export.serving", "export", "a model repository for Triton Inference Server"
        ),
        "verify": SubCommand("export.verify", "export", "every stage against the one before it"),
        "benchmark": SubCommand("benchmarks", "bench", "speed and agreement with PyTorch"),
        "compare": SubCommand(
            "benchmarks.comparison", "bench", "two benchmark records: slower, faster, same"
        ),
        "report": SubCommand("benchmarks", "bench", "benchmark records as a table"),
        "segment": SubCommand("runtime.app", "export", "images and videos to masks and overlays"),
        "inspect": SubCommand("runtime.app", "rtx", "what a file is, and whether it can run here"),
        "doctor": SubCommand("runtime.app", "rtx", "what this machine can do, and how to mend it"),
    }
)


def usage() -> str:
    rows = "\n".join(f"  {name:<13} {row.summary}" for name, row in COMMANDS.items())
    return (
        "usage: refinenet COMMAND [--help]\n\n"
        "From trained RefineNet weights to TensorRT engines that still see what PyTorch saw.\n\n"
        f"commands:\n{rows}\n\n"
        "example:\n  refinenet export lw-mobilenetv2-camvid --output build"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    name, *rest = arguments or ["--help"]
    if name not in COMMANDS:
        return run_command(_tell, "refinenet", arguments)
    return run_command(lambda given: _call(name, given), f"refinenet {name}", rest)


def _tell(arguments: Sequence[str]) -> int:
    """What is said where no command is named."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
    elif arguments[0] == "--version":
        print(f"refinenet-deploy {__version__}")
    else:
        near = get_close_matches(arguments[0], COMMANDS, 1)
        meant = f"; did you mean {near[0]}?" if near else ""
        raise InputError(f"unknown command '{arguments[0]}'{meant} (see refinenet --help)")
    return DONE


def _call(name: str, arguments: Sequence[str]) -> int:
    row = COMMANDS[name]
    try:
        function = name.replace("-", "_")
        command = getattr(import_module(f"{row.package}.{function}_command"), function)
        code: int = command(arguments)
    except ImportError as error:
        if (cause := shadow()) is not None:
            raise InputError(cause) from error
        if not isinstance(error, ModuleNotFoundError) or error.name is None:
            raise
        if error.name.partition(".")[0] in OWN_PACKAGES:
            raise
        raise MissingPackage(error.name, row.extra, f"refinenet {name}") from error
    return code


if __name__ == "__main__":
    sys.exit(main())
