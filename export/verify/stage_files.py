"""The artifacts of one export, in the order of the path."""

from __future__ import annotations

from pathlib import Path

from export.verify.gates import GATES
from runtime.card import check_hash, read_card
from runtime.errors import InputError
from runtime.files import sha256_of


def stage_files(folder: Path, weights_hash: str) -> list[Path]:
    """The exports of these weights in the folder, in the order of the path.

    Raises InputError if there is none, if there are several, or if one was made from another file
    than the one beside it; EngineMismatch if an engine is not the file that its sidecar describes.
    """
    exports = [
        path
        for path in sorted(folder.glob("*.fp32.onnx"))
        if read_card(path).parents.get("weights") == weights_hash
    ]
    if not exports:
        raise InputError(
            f"{folder} holds no .fp32.onnx exported from these weights; run refinenet export first"
        )
    if len(exports) > 1:
        raise InputError(
            f"{folder} holds several exports of these weights: "
            f"{', '.join(path.name for path in exports)}; give each a folder of its own"
        )
    (fp32,) = exports
    name = fp32.name.removesuffix(".fp32.onnx")
    onnx_files = [
        path for precision in GATES if (path := folder / f"{name}.{precision}.onnx").exists()
    ]
    fp32_hash = sha256_of(fp32)
    for path in onnx_files[1:]:
        if read_card(path).parents.get("fp32.onnx") != fp32_hash:
            raise InputError(f"{path} was not made from {fp32.name} beside it; export again")
    engines = []
    for sidecar in sorted(folder.glob(f"{name}.*.engine.card.json")):
        engine = sidecar.with_name(sidecar.name.removesuffix(".card.json"))
        if not engine.exists():
            raise InputError(
                f"{engine} is missing, and its card {sidecar.name} is there; build or copy the "
                "engine again, or delete the card"
            )
    for path in onnx_files:
        for engine in sorted(folder.glob(f"{path.stem}.*.engine")):
            if check_hash(engine).card.parents.get("onnx") != sha256_of(path):
                raise InputError(f"{engine} was not built from {path.name} beside it; build again")
            engines.append(engine)
    return onnx_files + engines


def stage_name(path: Path) -> str:
    """fp16 for street.fp16.onnx, fp16.rtx for street.fp16.rtx.engine."""
    parts = path.name.split(".")
    return ".".join(parts[-3:-1]) if path.suffix == ".engine" else parts[-2]


def stage_before(name: str) -> str:
    """FP32 follows PyTorch, FP16 and INT8 are made from FP32, an engine from its ONNX file."""
    if "." in name:
        return name.split(".")[0]
    return "pytorch" if name == "fp32" else "fp32"
