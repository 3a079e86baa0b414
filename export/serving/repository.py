"""A model file to a complete folder of a Triton model repository."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from export.serving.candidate import ServingCandidate, serving_candidate
from export.serving.instructions import instructions
from export.serving.model_config import config_text, model_file
from export.serving.serving_plan import PYTHON, ServingPlan, TritonOptions, serving_plan
from runtime.card import read_sidecar, write_sidecar
from runtime.errors import InputError
from runtime.files import output_folder

HERE = Path(__file__).parent
VERSION = "1"  # Triton takes folders named by numbers for versions, and serves the highest


def triton_repository(model: str | Path, options: TritonOptions) -> Path:
    """Write OUTPUT/NAME: config.pbtxt, 1/ with the model, README.md and smoke_test.py.

    Returns the model's folder, which is there when it is whole.

    Raises InputError for a file that cannot be served so, or if OUTPUT/NAME exists already, and
    what serving_candidate raises.
    """
    candidate = serving_candidate(model, options.card)
    plan = serving_plan(candidate, options)
    folder = output_folder(options.output) / plan.name
    if folder.exists():
        raise InputError(f"{folder} exists; give another --name, or delete the folder first")
    temporary = folder.with_name(f".{plan.name}.{os.getpid()}.part")
    try:
        _fill(temporary, candidate, plan)
        temporary.rename(folder)
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written ({error.strerror or error}); choose another place"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _fill(folder: Path, candidate: ServingCandidate, plan: ServingPlan) -> None:
    version = folder / VERSION
    version.mkdir(parents=True)
    copy = version / model_file(candidate, plan)
    shutil.copyfile(candidate.path, copy)
    external = candidate.card.details.get("external_data")
    if candidate.path.suffix == ".onnx" and isinstance(external, dict):
        name = str(external["file"])  # the graph names it
        shutil.copyfile(candidate.path.with_name(name), version / name)
    if plan.backend == PYTHON:
        shutil.copyfile(HERE / "triton_model.py", version / "model.py")
        _write_card(candidate, copy)
    shutil.copyfile(HERE / "smoke_test.py", folder / "smoke_test.py")
    (folder / "README.md").write_text(instructions(candidate, plan), encoding="utf-8")
    (folder / "config.pbtxt").write_text(config_text(candidate, plan), encoding="utf-8")
    for path in folder.rglob("*"):
        with suppress(OSError):  # the server runs as another user than whoever exported
            path.chmod(0o755 if path.is_dir() else 0o644)


def _write_card(candidate: ServingCandidate, copy: Path) -> None:
    """model.card.json, which triton_model.py opens the file with: an engine's build too. It does
    not bear the file's own name, since a card given by --card may differ from the one inside."""
    sidecar = read_sidecar(candidate.path)
    build = None if sidecar is None else sidecar.build
    write_sidecar(copy.with_name("model"), candidate.card, build, content=copy)
