"""The weights that come with the toolkit, by name; found without importing what reads them."""

from __future__ import annotations

from pathlib import Path

from runtime.errors import InputError
from runtime.files import existing_file

# Beside this package, in a clone as in a wheel; not there where runtime/ alone was copied.
FOLDER = Path(__file__).resolve().parents[1] / "refinenet/weights"
WEIGHTS_ENDINGS = (".safetensors", ".pth", ".pt", ".ckpt")


def shipped_file(name: str | Path) -> Path | None:
    """The file of the shipped weights of that name; None for any other name."""
    file = FOLDER / f"{name}.safetensors"
    return file if file.parent == FOLDER and file.is_file() else None


def shipped_weights(name: str | Path) -> Path | None:
    """The same, and None where a file or folder of that name lies in the working directory."""
    return None if Path(name).exists() else shipped_file(name)


def file_or_shipped(name: str | Path) -> Path:
    """The file itself, or that of the shipped weights of that name; InputError for neither."""
    return shipped_weights(name) or existing_file(name)


def graph_file(name: str | Path) -> Path:
    """A file that is no weights: those are refused with the command that makes a graph of them."""
    if shipped_weights(name) is not None or Path(name).suffix.lower() in WEIGHTS_ENDINGS:
        raise InputError(
            f"{name} stands for weights; expected an .onnx or .engine file. Make one: "
            f"refinenet export {name} --output build"
        )
    return existing_file(name)
