"""What can be wrong with weights, ONNX files, their cards, and videos."""

from __future__ import annotations

import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import Any

import onnx
import torch
from onnx import TensorProto, helper
from safetensors.torch import load_file, save_file

from runtime.card import CARD_KEY
from tools.reliability.mutations import JSON, Change, Mutation, of_bytes, of_json
from tools.reliability.shelf import CARD, WEIGHTS_CARD, write_model

CANARY = "executed"  # a file that exists once code in a file was run


class Payload:
    """Pickled, it is code: it makes the file CANARY in the folder of whoever loads it."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (CANARY,)


def _safetensors(header: Any, declared: int | None = None, body: bytes = b"") -> Mutation:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return of_bytes(lambda *_: struct.pack("<Q", declared or len(text)) + text + body)


def _tensor(shape: list[Any], offsets: list[Any], dtype: str = "F32") -> dict[str, Any]:
    return {"a": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


def _of_weights(change: Callable[[dict[str, torch.Tensor]], Any]) -> Mutation:
    """Other tensors under the same card."""

    def apply(path: Path, _: Random) -> None:
        weights = load_file(path)
        change(weights)
        save_file(weights, path, metadata={CARD_KEY: WEIGHTS_CARD.to_json()})

    return Mutation(apply)


def _of_card(**entries: Any) -> Mutation:
    """The same tensors under a card that lies."""

    def apply(path: Path, _: Random) -> None:
        card = json.loads(WEIGHTS_CARD.to_json()) | entries
        save_file(load_file(path), path, metadata={CARD_KEY: json.dumps(card)})

    return Mutation(apply)


SAFETENSORS = MappingProxyType(
    {
        "a header of 2^63 bytes": _safetensors({}, 2**63),
        "a header of 8 GiB": _safetensors({}, 2**33),
        "a header of 99 MiB that is not there": _safetensors({}, 99 * 2**20),
        "a header that is a list": _safetensors([]),
        "a header 100,000 levels deep": _safetensors(b"[" * 100_000 + b"]" * 100_000),
        "a tensor of 10^12 values": _safetensors(_tensor([10**12], [0, 4]), body=bytes(4)),
        "a tensor of 2^64 values": _safetensors(_tensor([2**32, 2**32], [0, 0])),
        "a tensor before the file": _safetensors(_tensor([1], [-4, 0]), body=bytes(4)),
        "a tensor behind the file": _safetensors(_tensor([1], [2**40, 2**40 + 4]), body=bytes(4)),
        "offsets that are words": _safetensors(_tensor([1], ["a", "b"]), body=bytes(4)),
        "an unknown dtype": _safetensors(_tensor([1], [0, 4], "F31"), body=bytes(4)),
        "no tensor": _safetensors({}),
        "no card": Mutation(lambda path, _: save_file(load_file(path), path)),
        "a tensor too few": _of_weights(lambda weights: weights.popitem()),
        "a tensor too many": _of_weights(lambda weights: weights.update(a=torch.zeros(1))),
        "a card of 2 classes": _of_card(classes=["a", "b"], palette=[[0, 0, 0]] * 2),
        "a card of 257 classes": _of_card(classes=["a"] * 257, palette=[[0, 0, 0]] * 257),
        "a card of another network": _of_card(variant="lw-50"),
        "a card of no network": _of_card(variant="../../etc/passwd"),
        "a card of a giant network": _of_card(variant="lw-50+pool-conv-99"),
        "a card of the next schema": _of_card(schema_version=2),
    }
)


def _zip_of(content: bytes) -> Change:
    """What torch.save writes, with this as its pickle."""

    def apply(path: Path, _: Random) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", content)
            archive.writestr("archive/version", "3\n")
            archive.writestr("archive/byteorder", "little")

    return apply


def _saved(content: Any) -> Mutation:
    return Mutation(lambda path, _: torch.save(content, path))


def _recursive() -> dict[str, Any]:
    content: dict[str, Any] = {}
    content["state_dict"] = content
    return content


def _bomb(path: Path, _: Random) -> None:
    """3 GB of zeros, compressed; PyTorch's own archives are not."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("archive/data.pkl", "w", force_zip64=True) as file:
            for _ in range(300):
                file.write(bytes(10**7))
        archive.writestr("archive/version", "3\n")


CHECKPOINT = MappingProxyType(
    {
        "a pickle with code": of_bytes(lambda *_: pickle.dumps({"state_dict": Payload()})),
        "an old pickle with code": of_bytes(lambda *_: pickle.dumps(Payload(), protocol=0)),
        "an archive with code": Mutation(_zip_of(pickle.dumps(Payload(), protocol=2))),
        "an archive of 3 GB in 3 MB": Mutation(_bomb),
        "an archive of nothing": Mutation(lambda path, _: zipfile.ZipFile(path, "w").close()),
        "a pickle of lists without end": of_bytes(lambda *_: b"\x80\x02" + b"]" * 10**6 + b"."),
        "a pickle of 2^62 bytes": of_bytes(lambda *_: b"\x80\x04\x8e" + struct.pack("<Q", 2**62)),
        "a list": _saved([1, 2]),
        "a tensor": _saved(torch.zeros(2)),
        "no tensors": _saved({}),
        "numbers for tensors": _saved({"conv1.weight": 1}),
        "itself inside itself": _saved(_recursive()),
        "numbers for names": _saved({1: torch.zeros(1)}),
        "sparse tensors": _saved({"conv1.weight": torch.zeros(2, 2).to_sparse()}),
        "tensors without values": _saved({"conv1.weight": torch.zeros(2, device="meta")}),
        "a tensor of 10^12 values": _saved({"x": torch.zeros(1).expand(10**12)}),
    }
)


def _classifier(change: Callable[[torch.Tensor], torch.Tensor]) -> Mutation:
    """Another last layer."""

    def apply(path: Path, _: Random) -> None:
        weights = torch.load(path)
        key = next(key for key in weights if key.startswith("classifier") and "weight" in key)
        weights[key] = change(weights[key])
        torch.save(weights, path)

    return Mutation(apply)


PUBLISHED = MappingProxyType(
    {
        **CHECKPOINT,
        "0 classes": _classifier(lambda weight: weight[:0]),
        "257 classes": _classifier(lambda weight: weight[:1].expand(257, -1, -1, -1).clone()),
        "a classifier of words": _classifier(lambda weight: weight.to(torch.complex64)),
        "a classifier of 10^12 values": _classifier(
            lambda weight: weight[:1, :1].expand(3, 10**11, 3, 3)
        ),
        "a classifier without values": _classifier(lambda weight: weight.to("meta")),
        "a sparse classifier": _classifier(lambda weight: weight.to_sparse()),
    }
)


def _model(*nodes: onnx.NodeProto, **entries: Any) -> Mutation:
    """Another graph under the same card, with these entries changed."""

    def apply(path: Path, _: Random) -> None:
        write_model(path, CARD, list(nodes) or None)
        model = onnx.load_model_from_string(path.read_bytes())
        if entries:
            card = json.loads(CARD.to_json()) | entries
            del model.metadata_props[:]
            helper.set_model_props(model, {CARD_KEY: json.dumps(card)})
        path.write_bytes(model.SerializeToString())

    return Mutation(apply)


def _of_model(change: Callable[[onnx.ModelProto], Any], refused: bool = True) -> Mutation:
    def apply(path: Path, _: Random) -> None:
        model = onnx.load_model_from_string(path.read_bytes())
        change(model)
        path.write_bytes(model.SerializeToString())

    return Mutation(apply, refused)


def _constant(model: onnx.ModelProto, dims: list[int], location: str | None = None) -> None:
    """The graph adds a tensor to its result, of these sizes, without values or in another file."""
    tensor = TensorProto(name="big", dims=dims, data_type=TensorProto.UINT8)
    if location is not None:
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)
        tensor.external_data.add(key="offset", value="0")
        tensor.external_data.add(key="length", value="1")
    model.graph.initializer.append(tensor)
    model.graph.node[-1].output[0] = "before"
    model.graph.node.append(helper.make_node("Add", ["before", "big"], ["mask"]))


def _deep(model: onnx.ModelProto) -> None:
    """A graph in a graph in a graph; 30 levels of messages are all that onnx itself can write."""
    inner = onnx.GraphProto(name="inner")
    for _ in range(25):
        outer = onnx.GraphProto(name="outer")
        outer.node.append(
            onnx.NodeProto(
                op_type="If",
                attribute=[onnx.AttributeProto(name="then_branch", type=5, g=inner)],
            )
        )
        inner = outer
    model.graph.node.extend(inner.node)


ONNX = MappingProxyType(
    {
        "a tensor of 10^12 values": _of_model(lambda model: _constant(model, [10**12])),
        "a tensor of -1 values": _of_model(lambda model: _constant(model, [-1])),
        "a tensor of 2^80 values": _of_model(lambda model: _constant(model, [2**40, 2**40])),
        "data in /etc/passwd": _of_model(lambda model: _constant(model, [1], "/etc/passwd")),
        "data in ../secret": _of_model(lambda model: _constant(model, [1], "../secret")),
        "data in a missing file": _of_model(lambda model: _constant(model, [1], "not-there")),
        "a graph 25 levels deep": _of_model(_deep, refused=False),
        "no graph": _of_model(lambda model: model.ClearField("graph")),
        "an operator of nobody": _model(helper.make_node("Surprise", ["frame"], ["mask"])),
        "an operator set of 2199": _of_model(
            lambda model: setattr(model.opset_import[0], "version", 2199)
        ),
        "a loop in the graph": _model(
            helper.make_node("Add", ["frame", "b"], ["a"]),
            helper.make_node("Add", ["a", "a"], ["b"]),
            helper.make_node("Add", ["a", "b"], ["mask"]),
        ),
        "10 metadata cards": _of_model(
            lambda model: [model.metadata_props.add(key=CARD_KEY, value="{}") for _ in range(10)]
        ),
        "no card": of_bytes(lambda data, _: _without_card(data), refused=False),
        "a card of another size": _model(input_shape=[1, 10**6, 10**6, 3]),
        "a card of scores": _model(output_kind="logits"),
        "a card of the next schema": _model(schema_version=2),
        "a card of no classes": _model(classes=[], palette=[]),
        "a metadata entry of 2^60 bytes": of_bytes(
            lambda data, _: data + b"\x72" + b"\xff" * 8 + b"\x0f"
        ),
    }
)


def _without_card(data: bytes) -> bytes:
    model = onnx.load_model_from_string(data)
    del model.metadata_props[:]
    return bytes(model.SerializeToString())


SIDECAR = MappingProxyType(
    {
        **JSON,
        "of other bytes": of_json(lambda sidecar: sidecar | {"sha256": "0" * 64}, refused=False),
        "of another size": of_json(lambda sidecar: sidecar | {"size_bytes": 7}, refused=False),
        "contradicts the card inside": of_json(
            lambda sidecar: sidecar | {"card": sidecar["card"] | {"classes": ["a", "b", "c"]}},
            refused=False,
        ),
        "of another version": of_json(
            lambda s: s | {"build": s["build"] | {"version": "0.1"}}, refused=False
        ),
        "of another package": of_json(
            lambda s: s | {"build": s["build"] | {"package": "tensorrt"}}, refused=False
        ),
        "of no package": of_json(
            lambda s: s | {"build": s["build"] | {"package": ["rtx"]}}, refused=False
        ),
        "of another GPU": of_json(
            lambda s: s | {"build": s["build"] | {"compute_capabilities": ["sm_10"]}},
            refused=False,
        ),
    }
)


def _false_frame_count(data: bytes) -> bytes:
    """MP4: the sample count of stsz; AVI: dwTotalFrames; both claim 2^31 - 1 frames."""
    changed = bytearray(data)
    if b"stsz" in data:
        place = data.index(b"stsz") + 12
        changed[place : place + 4] = struct.pack(">I", 2**31 - 1)
    else:
        place = data.index(b"avih") + 8 + 16
        changed[place : place + 4] = struct.pack("<I", 2**31 - 1)
    return bytes(changed)


VIDEO = MappingProxyType(
    {
        "claims 2^31 - 1 frames": of_bytes(lambda data, _: _false_frame_count(data), refused=False),
    }
)
