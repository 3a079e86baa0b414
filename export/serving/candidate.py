"""What is known of a model file before it is served: its card, what it takes, what built it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from runtime.card import Card, check_external_data, check_hash, read_card
from runtime.errors import InputError
from runtime.files import existing_file, sha256_of
from runtime.onnx.frame_file import frame_file, read_frame_card, require_plain_mask
from runtime.onnx.graph import read_graph

# What refinenet export calls them; an engine keeps the names of its ONNX file.
FRAMES, MASKS = "frames", "masks"


@dataclass(frozen=True)
class EngineFacts:
    """package: tensorrt or rtx. version: of it. version_compatible: whether the engine carries a
    runtime of its own. smallest, largest: (N, H, W) of its main profile."""

    package: str
    version: str
    version_compatible: bool
    smallest: tuple[int, int, int]
    largest: tuple[int, int, int]


@dataclass(frozen=True)
class ServingCandidate:
    """frames, masks: the names of input and output. shape: (N, H, W), None for a free dimension.
    engine: None for an ONNX file."""

    path: Path
    sha256: str
    card: Card
    frames: str
    masks: str
    shape: tuple[int | None, int | None, int | None]
    engine: EngineFacts | None


def serving_candidate(path: str | Path, card_file: Path | None = None) -> ServingCandidate:
    """Read what there is to know of an .onnx or .engine file.

    card_file: the card of a file that carries none.

    Raises InputError for another file and for one that gives no masks, CardError without a card,
    EngineMismatch if an engine is not the file that its sidecar describes.
    """
    path = existing_file(path)
    if path.suffix not in (".onnx", ".engine"):
        raise InputError(
            f"{path} ends in '{path.suffix}'; expected an .onnx or .engine file. Weights are "
            "exported first: refinenet export"
        )
    is_engine = path.suffix == ".engine"
    card = read_card(path, card_file) if is_engine else read_frame_card(path, card_file)
    if card.output_kind == "logits":
        raise InputError(
            f"{path} gives logits, and a server is to give masks; export it without "
            "--output-kind logits"
        )
    check_external_data(path, card)
    if is_engine:
        return _of_engine(path, card, card_file)
    require_plain_mask(path)
    graph = read_graph(path)
    file = frame_file(path, graph.inputs, graph.outputs)
    batch, height, width, _ = file.input_shape
    return ServingCandidate(
        path,
        sha256_of(path),
        replace(card, input_shape=file.input_shape, output_kind="mask"),
        file.input.name,
        file.output.name,
        (batch, height, width),
        None,
    )


def _of_engine(path: Path, card: Card, card_file: Path | None) -> ServingCandidate:
    sidecar = check_hash(path, card_file)
    build = sidecar.build
    if build.get("weights") == "stripped":
        raise InputError(
            f"{path.name} was built without its weights, which a server cannot fill in; fill them "
            "in first: refinenet build --refit"
        )
    try:
        smallest, _, largest = (tuple(int(n) for n in shape) for shape in build["profile"])
        facts = EngineFacts(
            str(build["package"]),
            str(build["version"]),
            build.get("version_compatible") is True,
            (smallest[0], smallest[1], smallest[2]),
            (largest[0], largest[1], largest[2]),
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(
            f"the sidecar of {path.name} does not say what built it and for which shapes; build "
            "it with refinenet build"
        ) from error
    batch, height, width, _ = card.input_shape or (None, None, None, 3)
    return ServingCandidate(
        path, sidecar.sha256, card, FRAMES, MASKS, (batch, height, width), facts
    )
