"""What a file is, whether it is whole, and whether this machine can run it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

from runtime.app.onnx_facts import onnx_facts
from runtime.app.plan_report import check_estimable, plan_report
from runtime.card import (
    CARD_KEY,
    Card,
    Sidecar,
    check_external_data,
    check_hash,
    read_card,
    read_sidecar,
    sidecar_path,
)
from runtime.engine.compatibility import check_is_engine, check_machine, onnx_name
from runtime.engine.precision_audit import audit_rtx_plan, inspect_engine
from runtime.errors import CardError, DeployError, DeviceError, InputError
from runtime.files import sha256_of
from runtime.installing import install
from runtime.metadata import embedded_metadata
from runtime.onnx.frame_file import frame_file
from runtime.onnx.graph import read_graph
from runtime.onnx.requested_precisions import audit_onnx
from runtime.precisions import Audit
from runtime.shipped import file_or_shipped

KINDS = MappingProxyType(
    {".safetensors": "weights", ".onnx": "ONNX file", ".engine": "TensorRT engine"}
)

Facts = dict[str, str]


def inspect_file(
    path: str | Path, card_file: str | Path | None = None, gpu: str | None = None
) -> Facts:
    """The facts about a .safetensors, .onnx or .engine file, by name, in the order to show them.

    path: the name of shipped weights serves too.
    card_file: the card of a file that carries none.
    gpu: of gpu_sheets.py; estimate there what a TensorRT-RTX engine costs, kernel by kernel.

    Raises InputError for another file, also where only its name is an engine's, and for one that
    ONNX Runtime cannot load; CardError if its card is malformed or contradicts itself;
    EngineMismatch if it is not the file that its sidecar describes.
    """
    path = file_or_shipped(path)
    if gpu is not None:
        check_estimable(path, gpu)
    if path.suffix not in KINDS:
        raise InputError(f"{path} ends in '{path.suffix}'; expected one of {', '.join(KINDS)}")
    size_mb = path.stat().st_size / 1e6
    facts = {"kind": f"{KINDS[path.suffix]}, {size_mb:.1f} MB"}
    sidecar = read_sidecar(path, card_file)
    if path.suffix == ".engine" and sidecar is None:
        check_is_engine(path)
    if path.suffix == ".onnx":
        facts |= onnx_facts(path)
    if CARD_KEY not in embedded_metadata(path) and sidecar is None and card_file is None:
        return facts | {
            "card": "none: not one of our files; say what it is with --card FILE, a text of a few "
            "lines that docs/engines.md shows"
        }
    card = read_card(path, card_file)
    check_external_data(path, card)
    facts |= _card_facts(card)
    facts["hash"] = _hash_fact(path, sidecar, card_file)
    facts |= _sidecar_facts(sidecar) if sidecar else {}
    facts["this machine"] = _machine_fact(path, sidecar, card_file)
    return facts | _precision_facts(path, sidecar) | plan_report(path, sidecar, gpu)


def _card_facts(card: Card) -> Facts:
    facts = {
        "network": f"{card.variant}, {card.precision}",
        "classes": f"{len(card.classes)}: {', '.join(card.classes)}",
        "input": f"{card.channel_order} "
        + ("images" if card.input_shape is None else f"frames {_shape(card)}, uint8"),
        "normalization": f"(x / 255 - {_numbers(card.mean)}) / {_numbers(card.std)}, RGB",
    }
    if card.output_kind:
        facts["output"] = card.output_kind
    if card.frame_size:
        facts["other sizes"] = card.resize_policy
    if card.parents:
        parents = (f"{role} {sha256[:12]}" for role, sha256 in card.parents.items())
        facts["made from"] = ", ".join(parents)
    if card.tools:
        facts["made with"] = ", ".join(f"{tool} {version}" for tool, version in card.tools.items())
    if card.license_note:
        facts["licence"] = card.license_note
    return facts | _training_facts(card.details)


def _training_facts(details: Mapping[str, Any]) -> Facts:
    """How the weights were trained and what they reached, where the card says it.

    Nothing in `details` was checked when the card was read: what is of another type is passed over.
    """
    facts = {}
    recipe, result = details.get("recipe"), details.get("result")
    if isinstance(recipe, dict) and "epochs" in recipe and "dataset" in details:
        facts["trained"] = f"on {details['dataset']}, {recipe['epochs']} epochs"
    if isinstance(result, dict) and isinstance(miou := result.get("val_miou"), float):
        facts["weights reached"] = f"{miou:.2%} mIoU on val after epoch {result.get('epoch')}"
    if isinstance(note := details.get("note"), str):
        facts["note"] = note
    return facts


def _shape(card: Card) -> str:
    sizes = card.input_shape or ()
    return " x ".join("any" if size is None else str(size) for size in sizes)


def _numbers(values: tuple[float, ...]) -> str:
    return f"({', '.join(f'{value:g}' for value in values)})"


def _hash_fact(path: Path, sidecar: Sidecar | None, card_file: str | Path | None) -> str:
    if sidecar is None:
        return f"not compared: there is no {sidecar_path(path).name}"
    check_hash(path, card_file)
    beside = sidecar_path(path)
    described_by = beside if card_file is None or beside.exists() else Path(card_file)
    return f"SHA-256 {sidecar.sha256[:12]} matches {described_by.name}"


def _sidecar_facts(sidecar: Sidecar) -> Facts:
    facts = {}
    build = sidecar.build
    if build:
        capabilities = build.get("compute_capabilities")
        named = ", ".join(map(str, capabilities)) if isinstance(capabilities, list) else ""
        gpus = named or "every GPU it supports"
        facts["built"] = f"with {build.get('package')} {build.get('version')}, for {gpus}"
    if sidecar.verification:
        entries = sidecar.verification.items()
        shown = [f"{key} {value}" for key, value in entries if isinstance(value, (str, int, float))]
        facts["verified"] = ", ".join(shown) or "see the sidecar"
    return facts


def _machine_fact(path: Path, sidecar: Sidecar | None, card_file: str | Path | None) -> str:
    if path.suffix == ".onnx":
        return _onnx_fact(path, card_file)
    if path.suffix == ".engine":
        return _engine_fact(path, sidecar)
    missing = "" if find_spec("torch") else "; PyTorch is missing: pip install torch"
    return f"weights are not run here; make a mask file of them: refinenet export{missing}"


def _onnx_fact(path: Path, card_file: str | Path | None) -> str:
    if find_spec("onnxruntime") is None:
        return f"cannot run it: onnxruntime is missing: {install('onnxruntime')}"
    from runtime.onnx.session import OnnxSession

    graph = read_graph(path)
    try:
        frame_file(path, graph.inputs, graph.outputs)
    except InputError as error:  # what it takes and gives is shown all the same
        return f"cannot run it: {error}"
    with OnnxSession.open(path, card=card_file) as session:
        return f"can run it: {session.description}"


def _engine_fact(path: Path, sidecar: Sidecar | None) -> str:
    if sidecar is None:
        return "unknown: only a sidecar says what an engine was built for"
    try:
        check_machine(path, sidecar.build)
    except CardError:
        raise
    except DeviceError as error:
        return f"cannot tell: {error}"
    except DeployError as error:
        return f"cannot run it: {error}"
    return "can run it: TensorRT and GPU are those it was built for"


def _precision_facts(path: Path, sidecar: Sidecar | None) -> Facts:
    """Which layers run in which precision, as far as it can be told here."""
    if path.suffix == ".onnx":
        audit = audit_onnx(path)
    elif path.suffix == ".engine" and sidecar is not None:
        found = _engine_audit(path, sidecar)
        if found is None:
            return {"precisions": "cannot be told without the GPU it was built for"}
        audit = found
    else:
        return {}
    counts = (f"{number} {precision}" for precision, number in audit.precisions.items())
    if not audit.weighted:
        return {"precisions": "no convolution and no matrix product"}
    facts = {"precisions": f"of {len(audit.weighted)} weighted layers: {', '.join(counts)}"}
    usual = next(iter(audit.precisions), "")
    others = [f"{layer.name} ({layer.precision})" for layer in audit.weighted]
    others = [name for name in others if not name.endswith(f"({usual})")]
    if others:
        facts["not in " + usual] = _some(others)
    if audit.conversions:
        facts["Q/DQ not fused"] = f"{len(audit.conversions)}: {_some(audit.conversions)}"
    return facts | {"read off": audit.source}


def _engine_audit(path: Path, sidecar: Sidecar) -> Audit | None:
    """From the GPU where it can run the engine, else from the plan, else from the ONNX file."""
    try:
        check_machine(path, sidecar.build)
        audit = inspect_engine(
            path,
            str(sidecar.build["package"]),
            version_compatible=sidecar.build.get("version_compatible") is True,
        )
    except DeployError:
        pass  # said under "this machine"; what the files show holds without a GPU too
    else:
        if audit.weighted:  # none where the engine was built without detailed layers
            return audit
    if sidecar.build.get("package") == "rtx" and (plan := audit_rtx_plan(path)) is not None:
        return plan
    onnx = path.with_name(onnx_name(path))
    if onnx.is_file() and sha256_of(onnx) == sidecar.card.parents.get("onnx"):
        return audit_onnx(onnx)
    return None


def _some(names: Sequence[str], at_most: int = 6) -> str:
    rest = len(names) - at_most
    return ", ".join(names[:at_most]) + (f" and {rest} more" if rest > 0 else "")
