"""README.md of a served model: how to start the server, and how to see that it works."""

from __future__ import annotations

from export.serving.candidate import ServingCandidate
from export.serving.serving_plan import GPU, ONNXRUNTIME, PYTHON, ServingPlan

NEWEST = "26.11"  # of Triton's containers, when this was written


def instructions(candidate: ServingCandidate, plan: ServingPlan) -> str:
    """The whole file; commands are to be typed in the repository, one folder up."""
    file = candidate.path.name
    takes = " x ".join("any" if n == -1 else str(n) for n in plan.frame_dims)
    batches = (
        f"up to {plan.max_batch} frames in a request"
        if plan.max_batch
        else f"{plan.frame_dims[0]} frame(s) in every request, no more and no fewer"
    )
    return f"""# {plan.name}

`{file}` (SHA-256 {candidate.sha256}) for Triton Inference Server's {plan.backend} backend.
It takes uint8 BGR frames `{candidate.frames}` of {takes}, {batches}, and gives uint8 masks
`{candidate.masks}`. A frame that waits longer than {plan.queue_ms} ms is refused.

## Start the server

```
{_start(plan)}
```

{_container(candidate, plan)}

`--ipc host` lets clients on the same machine hand frames over in shared memory. Where there are
none, give `--shm-size 1g` instead. The ports are open to this machine alone, since Triton asks
nobody who they are.

## See that it works

That the server calls itself ready proves nothing; compare masks:

```
pip install 'refinenet-deploy[triton,onnxruntime]'
python {plan.name}/smoke_test.py --model {file} --images photos --server localhost:8001
```

Then `refinenet segment photos --model triton://localhost:8001/{plan.name} --output masks`. Liveness
probe: `deploy/triton/probe.py` of refinenet-deploy, which asks for a mask.
"""


def _start(plan: ServingPlan) -> str:
    gpu = "--gpus all " if plan.device == GPU else ""
    cache = "-v refinenet-engines:/cache " if plan.backend == ONNXRUNTIME and gpu else ""
    image = "refinenet-triton" if plan.backend == PYTHON else "nvcr.io/nvidia/tritonserver:$TAG-py3"
    return (
        f"docker run --rm {gpu}--ipc host \\\n"
        "  -p 127.0.0.1:8000:8000 -p 127.0.0.1:8001:8001 -p 127.0.0.1:8002:8002 \\\n"
        f'  {cache}-v "$PWD":/models:ro {image} \\\n'
        f"  tritonserver --model-repository /models --disable-auto-complete-config"
    )


def _container(candidate: ServingCandidate, plan: ServingPlan) -> str:
    if plan.backend == PYTHON:
        return (
            "The image `refinenet-triton` is Triton with the runtime in it: "
            "`docker build -t refinenet-triton -f deploy/triton/Dockerfile .` in refinenet-deploy."
        )
    if plan.backend == ONNXRUNTIME:
        return (
            f"TAG is the container's release, such as {NEWEST}. The graph has operators of opset "
            "19, whose CUDA kernels came with ONNX Runtime 1.25: older containers compute some of "
            "it on the CPU."
        )
    engine = candidate.engine
    assert engine is not None
    own = (
        "The engine carries a runtime of its own: add "
        "`--backend-config=tensorrt,version-compatible=true` to the line above."
        if engine.version_compatible
        else "It loads with no other release."
    )
    return f"""The engine was built with TensorRT {engine.version}, on the GPU that it is to run on.
{own} TAG is a container with that release: NVIDIA's Frameworks Support Matrix lists them
(https://docs.nvidia.com/deeplearning/frameworks/support-matrix), and this shows what one has:

```
docker run --rm nvcr.io/nvidia/tritonserver:$TAG-py3 sh -c 'ls /usr/lib/*/libnvinfer.so.*'
```"""
