"""Outputs that end in no known form, options that do not exist or do not fit, other addresses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from tools.reliability.met.rows import files_are, refused, right
from tools.reliability.surroundings import Surrounding

IMAGE = "segment photo.png --model toy.fp32.onnx --output"
VIDEO = "segment clip.mp4 --model toy.fp32.onnx --output"
EXPORT = "export toy.safetensors --output out --size 64x64"
BF16 = [f"x.{kind}.onnx{end}" for kind in ("bf16", "fp32") for end in ("", ".card.json")]


def _a_folder(room: Path) -> None:
    (room / "photos").mkdir()
    (room / "photos/a.png").symlink_to(room / "photo.png")


OPTIONS: Mapping[str, Surrounding] = MappingProxyType(
    {
        "an image to .txt": refused(f"{IMAGE} out.txt", says="out.txt"),
        "an image to -": refused(f"{IMAGE} -", says="-"),
        "an image to .mp4": refused(f"{IMAGE} out.mp4", says="out.mp4"),
        "an image to rtsp://": refused(f"{IMAGE} rtsp://127.0.0.1/out", says="rtsp://"),
        "an image to .JPG": refused(f"{IMAGE} out.JPG", says="out.JPG"),
        "a video to .txt": refused(f"{VIDEO} out.txt", says="out.txt"),
        "a video to .png": refused(f"{VIDEO} out.png", says="out.png"),
        "a folder to .mp4": refused(
            "segment photos --model toy.fp32.onnx --output out.mp4", _a_folder, "out.mp4"
        ),
        "an option that does not exist": refused(f"{IMAGE} out.png --overlai", says="--overlay"),
        "an option of another command": refused(f"{IMAGE} out.png --precision fp16"),
        "a command that does not exist": refused("segmnt photo.png", says="segment"),
        "a name of no model": refused(
            "segment photo.png --model lw-mobilenet-camvid --output out.png", says="camvid"
        ),
        "a server that is not there": refused(
            "segment photo.png --model triton://127.0.0.1:1/x --output out.png",
            says="127.0.0.1:1",
        ),
        "an address without a name": refused(
            "segment photo.png --model triton://127.0.0.1:1 --output out.png", says="triton://"
        ),
        "--variant of no network": refused(
            "convert toy.pth out.safetensors --variant lw-mobilenet", says="lw-mobilenet"
        ),
        "--variant of another network": refused(
            "convert toy.pth out.safetensors --variant fcn-8s", says="fcn-8s"
        ),
        "--weights-key of none": refused(
            "convert toy.pth out.safetensors --weights-key ema", says="ema"
        ),
        "--precision of none": refused(f"{EXPORT} --precision fp8", says="fp8"),
        "--precision bf16": right(
            f"{EXPORT} --precision bf16 --name x", check=files_are("out", *BF16)
        ),
        "--int8-for without INT8": refused(f"{EXPORT} --precision fp32 --int8-for rtx"),
        "--int8-for of none": refused(f"{EXPORT} --precision int8 --int8-for cuda", says="cuda"),
        "--size of one number": refused(f"{EXPORT} --precision fp32 --size 64", says="64"),
        "--gpu of none": refused("inspect toy.fp32.rtx.engine --gpu rtx-9999", says="rtx-9999"),
        "--gpu of an ONNX file": refused("inspect toy.fp32.onnx --gpu rtx-4090", says="--gpu"),
        "--target of none": refused("build toy.fp32.onnx --target sm_1", says="sm_1"),
        "verify without what it compares": refused("verify . --images photo.png"),
    }
)
