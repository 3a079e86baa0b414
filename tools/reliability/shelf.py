"""One small whole file of every kind that the commands read, made with the project's own tools."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper
from PIL import Image
from safetensors.torch import save_file

from refinenet.checkpoints.load import save_checkpoint
from refinenet.variants import create_model
from runtime.app.overlay import write_mask
from runtime.card import CARD_KEY, Card, write_sidecar

CLASSES = ("blue", "green", "red")
PALETTE = ((0, 0, 255), (0, 255, 0), (255, 0, 0))
VARIANT = "lw-mobilenetv2"
WEIGHTS_CARD = Card(variant=VARIANT, classes=CLASSES, palette=PALETTE)
CARD = replace(
    WEIGHTS_CARD, channel_order="BGR", input_shape=(None, None, None, 3), output_kind="mask"
)
ROOT = Path(__file__).resolve().parents[2]
SIZE = (48, 64)  # of the images
DESCRIPTION = {
    "classes": list(CLASSES),
    "palette": [list(colour) for colour in PALETTE],
    "images": "images/{split}/{name}.png",
    "labels": "labels/{split}/{name}.png",
    "splits": {"train": "train.txt", "val": "val.txt"},
}
RANGES = {
    "method": "max",
    "images": "none",
    "image_count": 1,
    "images_sha256": "0" * 64,
    "limits": {"network.blocks.0.pool.convs.0.weight": 1.5},
}


def fill(folder: Path) -> Path:
    """Put whole files of every kind into a folder."""
    fill_light(folder)
    torch.manual_seed(0)
    network = create_model(VARIANT, len(CLASSES))
    save_checkpoint(folder / "toy.safetensors", network, WEIGHTS_CARD, torch.float16)
    half = {
        key: value.half() if value.is_floating_point() else value
        for key, value in network.state_dict().items()
    }
    torch.save(half, folder / "toy.pth")
    torch.save(network.get_submodule("backbone").state_dict(), folder / "backbone.pth")
    return folder


def fill_light(folder: Path) -> Path:
    """All of them but the weights of a network."""
    folder.mkdir(parents=True, exist_ok=True)
    write_model(folder / "toy.fp32.onnx")
    write_model(folder / "bare.onnx", card=None)
    write_sidecar(folder / "toy.fp32.onnx", CARD)
    _engine(folder / "toy.fp32.rtx.engine")
    _images(folder)
    _dataset(folder / "data")
    (folder / "card.json").write_text(CARD.to_json())
    (folder / "names.txt").write_text("\n".join(CLASSES) + "\n")
    (folder / "page.md").write_text("# Page\n<!-- benchmark:begin -->\n<!-- benchmark:end -->\n")
    (folder / "ranges.json").write_text(json.dumps(RANGES))
    shutil.copy(ROOT / "benchmarks/results/cpu.json", folder / "record.json")
    metadata = {CARD_KEY: WEIGHTS_CARD.to_json()}
    save_file({"a": torch.zeros(2)}, folder / "small.safetensors", metadata)
    torch.save({"state_dict": {"a": torch.zeros(2)}}, folder / "small.pth")
    return folder


def frame(height: int = SIZE[0], width: int = SIZE[1]) -> NDArray[np.uint8]:
    """(height, width, 3) uint8 BGR: blue, green and red areas with some noise, always the same."""
    rng = np.random.default_rng(height * 1000 + width)
    picture = rng.integers(0, 100, (height, width, 3), np.uint8)
    rows, columns = np.indices((height, width))
    picture[rows, columns, (rows // 8 + columns // 8) % 3] += 120
    return picture


def write_model(
    path: Path, card: Card | None = CARD, nodes: list[onnx.NodeProto] | None = None
) -> Path:
    """A frame model whose mask is the brightest channel: (N, H, W, 3) uint8 to (N, H, W) uint8.

    nodes: a graph of another kind, from `frame` to `mask`.
    """
    brightest = [
        helper.make_node("Cast", ["frame"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ArgMax", ["float"], ["id"], axis=3, keepdims=0),
        helper.make_node("Cast", ["id"], ["mask"], to=TensorProto.UINT8),
    ]
    free = ["n", "h", "w"]
    graph = helper.make_graph(
        nodes or brightest,
        "toy",
        [helper.make_tensor_value_info("frame", TensorProto.UINT8, [*free, 3])],
        [helper.make_tensor_value_info("mask", TensorProto.UINT8, free)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10)
    if card is not None:
        helper.set_model_props(model, {CARD_KEY: card.to_json()})
    path.write_bytes(model.SerializeToString())
    return path


def _engine(path: Path) -> None:
    """No engine, but bytes with a sidecar that is right about them: what can be checked before an
    engine is given to TensorRT is checked on any machine."""
    path.write_bytes(np.random.default_rng(0).bytes(5000))
    build = {"package": "rtx", "version": _rtx_version(), "compute_capabilities": []}
    write_sidecar(path, CARD, build)


def _rtx_version() -> str:
    try:
        from tensorrt_rtx import __version__
    except ImportError:
        return "1.7.1.116"
    return str(__version__)


def _images(folder: Path) -> None:
    picture = frame()
    for ending in ("png", "jpg", "bmp", "tif", "webp"):
        cv2.imwrite(str(folder / f"photo.{ending}"), picture)
    for ending, codec in (("mp4", "mp4v"), ("avi", "MJPG"), ("mkv", "mp4v")):
        height, width = SIZE
        fourcc = cv2.VideoWriter.fourcc(*codec)
        video = cv2.VideoWriter(str(folder / f"clip.{ending}"), fourcc, 25, (width, height))
        for shift in range(12):
            video.write(np.roll(picture, shift, axis=1))
        video.release()


def _dataset(root: Path) -> None:
    for split in ("train", "val"):
        for part in ("images", "labels"):
            (root / part / split).mkdir(parents=True)
        for index in range(2):
            picture = np.roll(frame(), 5 * index + (split == "val"), axis=0)
            Image.fromarray(picture[:, :, ::-1]).save(root / f"images/{split}/{index}.png")
            label = picture.argmax(2).astype(np.uint8)
            write_mask(root / f"labels/{split}/{index}.png", label, PALETTE)
        (root / f"{split}.txt").write_text("0\n1\n")
    (root / "dataset.json").write_text(json.dumps(DESCRIPTION))
    (root / "dataset.yaml").write_text(json.dumps(DESCRIPTION))  # JSON is YAML
