"""What INT8 costs with one scale for each layer, and with one for each output channel, as a record.

    refinenet export lw-mobilenetv2-camvid --output build/rtx --int8-for rtx
    refinenet build build/rtx/*.onnx --runtime rtx
    refinenet verify build/rtx --weights … --data … --json build/rtx/verify.json
    (the same for build/tensorrt, and other networks beside it)
    python -m tools.int8_scales build/rtx build/tensorrt --json benchmarks/results/int8-scales.json

Accuracy is what verify measured; cost is the estimate in the engines' sidecars, which `build` reads
off the plans of TensorRT-RTX. Nothing ran on a GPU.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from runtime.card import Sidecar, read_sidecar
from runtime.engine.gpu_sheets import USUAL
from runtime.engine.plan_facts import PLAN
from runtime.errors import InputError
from runtime.files import written_whole

MEASURES = ("miou", "miou_of_pytorch", "pixel_agreement", "scores_rms_error")


def accuracy(folder: Path) -> dict[str, Any]:
    """By stage, what verify measured of the files in the folder, and by which command.

    Raises InputError without its JSON.
    """
    path = folder / "verify.json"
    if not path.is_file():
        raise InputError(f"{path} is missing; write it: refinenet verify {folder} … --json {path}")
    record = json.loads(path.read_text(encoding="utf-8"))
    stages = {
        stage["name"]: {key: stage["measures"][key] for key in MEASURES if key in stage["measures"]}
        for stage in record["stages"]
        if stage["status"] != "NOT RUN"
    }
    return {"command": record["command"], "stages": stages}


def costs(folder: Path) -> list[dict[str, Any]]:
    """One row for each engine of TensorRT-RTX in the folder."""
    return [_cost(path) for path in sorted(folder.glob("*.rtx.engine"))]


def _cost(engine: Path) -> dict[str, Any]:
    sidecar = read_sidecar(engine)
    if sidecar is None or "estimate_ms" not in sidecar.build.get(PLAN, {}):
        raise InputError(f"{engine} has no estimate beside it; build it again")
    facts = sidecar.build[PLAN]
    written: dict[str, int] = {}
    for layer in facts["weighted_layers"]:
        pair = f"{layer['reads']} to {layer['writes']}"
        written[pair] = written.get(pair, 0) + 1
    return {
        "engine": engine.name,
        "input_shape": sidecar.card.input_shape,
        "int8_for": _made_for(sidecar),
        "tensorrt_rtx": sidecar.build["version"],
        "kernels": facts["kernels"],
        "megabytes": round(facts["bytes"] / 1e6),
        "fused_sums": facts["fused_sums"],
        "weighted_layers": written,
        f"ms_on_{USUAL}": facts["estimate_ms"][USUAL],
    }


def _made_for(sidecar: Sidecar) -> str | None:
    if sidecar.card.precision != "int8":
        return None
    made_for: str | None = sidecar.card.details["calibration"].get("int8_for")
    return made_for


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--json", type=Path, required=True)
    given = parser.parse_args()
    record = {
        folder.name: {"accuracy": accuracy(folder), "estimated": costs(folder)}
        for folder in given.folders
    }
    with written_whole(given.json) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
