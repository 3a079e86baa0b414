"""The model of Triton's python backend: frames to masks by runtime.Segmenter.

`refinenet export-triton --backend python` copies this file into the repository as model.py. Triton
runs it in a process of its own, which needs refinenet-deploy and what runs the model file, such as
refinenet-deploy[onnxruntime].
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray

from runtime import Segmenter


class TritonPythonModel:
    """One instance; Triton gives it the requests of one batch at a time."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the model file; what it raises keeps the server from calling the model ready."""
        _check_tensors()
        config = json.loads(args["model_config"])
        self._frames, self._masks = config["input"][0]["name"], config["output"][0]["name"]
        self._batched = config["max_batch_size"] > 0
        file = config["parameters"]["model_file"]["string_value"]
        path = Path(args["model_repository"]) / args["model_version"] / file
        on_gpu = config["parameters"]["device"]["string_value"] == "gpu"
        provider = "cuda" if on_gpu and path.suffix == ".onnx" else None
        self._segmenter = Segmenter.open(
            path, provider=provider, card=path.with_name("model.card.json")
        )

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer every request, the frames of all that have one size in one call."""
        batches = [
            pb_utils.get_input_tensor_by_name(request, self._frames).as_numpy()
            for request in requests
        ]
        alike: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for index, frames in enumerate(batches):  # (N, H, W, 3)
            alike[frames.shape[1:]].append(index)
        answers: dict[int, Any] = {}
        for indices in alike.values():
            answers |= self._answers(indices, [batches[index] for index in indices])
        return [answers[index] for index in range(len(requests))]

    def _answers(self, indices: list[int], batches: list[NDArray[np.uint8]]) -> dict[int, Any]:
        """The answer to each of these requests, by its index; an error is the answer to all."""
        try:
            frames = [frame for batch in batches for frame in batch]
            masks = iter(self._segmenter.segment_batch(frames))
            found = [np.stack([next(masks) for _ in batch]) for batch in batches]
        except Exception as error:  # the server must go on, and the client must be told
            failed = pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error)))
            return dict.fromkeys(indices, failed)
        return {
            index: pb_utils.InferenceResponse([pb_utils.Tensor(self._masks, mask)])
            for index, mask in zip(indices, found, strict=True)
        }

    def finalize(self) -> None:
        """Close the model file."""
        self._segmenter.close()


def _check_tensors() -> None:
    """An older python backend beside numpy 2 answers with empty masks and reports no error: it
    takes an array for one of 0 bytes, which its own copy shows."""
    values = np.arange(1, 65, dtype=np.uint8)
    copy = pb_utils.Tensor.from_dlpack("copy", pb_utils.Tensor("values", values))
    if not np.array_equal(copy.as_numpy(), values):
        raise RuntimeError(
            f"this Triton's python backend cannot use numpy {np.__version__}: it would answer with "
            "empty masks. Install 'numpy<2' and 'opencv-python-headless<4.12'"
        )
