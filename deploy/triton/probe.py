"""Ask a Triton server for a mask: a liveness probe, with the standard library alone.

    python3 probe.py street --server localhost:8000

A server whose model has died goes on to call itself, and the model, ready; only an answer proves
that it works. Exit code 0: a whole mask came back, or the server refused the frame because it has
too much to do. Exit code 1: anything else, in one line.
"""

from __future__ import annotations

import argparse
import json
import sys
import urllib.error
import urllib.request
from typing import Any

HEADER_LENGTH = "Inference-Header-Content-Length"  # where JSON ends and the tensors begin
BUSY = ("timeout expired", "maximum queue size")  # Triton's words for a frame that it refuses
FREE_SIZE = 64  # of a dimension that the model leaves free


def main() -> int:
    parser = argparse.ArgumentParser(description="Ask a Triton server for a mask.")
    parser.add_argument("model", help="the name of the served model")
    parser.add_argument("--server", default="localhost:8000", help="HOST:PORT of HTTP")
    parser.add_argument("--timeout", type=float, default=10.0, help="in seconds")
    given = parser.parse_args()
    try:
        found = probe(f"http://{given.server}/v2/models/{given.model}", given.timeout)
    except (OSError, ValueError, LookupError) as error:
        found = f"{type(error).__name__}: {error}"
    print(f"{given.model} at {given.server}: {found or 'gives masks'}")
    return 1 if found else 0


def probe(url: str, timeout: float) -> str:
    """What is wrong with the model, or nothing."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy in between
    with opener.open(f"{url}/config", timeout=timeout) as answer:
        config = json.load(answer)
    request, mask_bytes = _request(config)
    try:
        with opener.open(
            urllib.request.Request(f"{url}/infer", *request), timeout=timeout
        ) as answer:
            content, length = answer.read(), int(answer.headers.get(HEADER_LENGTH, 0))
    except urllib.error.HTTPError as error:
        message = error.read().decode(errors="replace").strip()
        return "" if any(words in message for words in BUSY) else f"{error.code} {message}"
    mask = content[length:]
    if len(mask) != mask_bytes:
        return f"{len(mask)} bytes for a mask of {mask_bytes} pixels"
    classes = _class_count(config)
    if classes is not None and max(mask) >= classes:
        return f"the class id {max(mask)}, and there are {classes} classes"
    return ""


def _request(config: dict[str, Any]) -> tuple[tuple[bytes, dict[str, str]], int]:
    """Body and headers of a request with one grey frame, and the pixels of its mask."""
    (frames,), (masks,) = config["input"], config["output"]
    shape = [FREE_SIZE if size < 0 else size for size in map(int, frames["dims"])]
    shape = [1, *shape] if config["max_batch_size"] else shape
    frame = b"\x80" * (shape[0] * shape[1] * shape[2] * shape[3])
    head = json.dumps(
        {
            "inputs": [
                {
                    "name": frames["name"],
                    "shape": shape,
                    "datatype": "UINT8",
                    "parameters": {"binary_data_size": len(frame)},
                }
            ],
            "outputs": [{"name": masks["name"], "parameters": {"binary_data": True}}],
        }
    ).encode()
    headers = {HEADER_LENGTH: str(len(head)), "Content-Type": "application/octet-stream"}
    return (head + frame, headers), len(frame) // 3


def _class_count(config: dict[str, Any]) -> int | None:
    """From the card that refinenet export-triton puts into the configuration."""
    card = config.get("parameters", {}).get("card")
    return len(json.loads(card["string_value"])["classes"]) if card else None


if __name__ == "__main__":
    sys.exit(main())
