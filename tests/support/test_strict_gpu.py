"""The strict GPU refuses what it should: a test against it can fail."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from strict_cuda import strict_bindings
from strict_gpu import Gpu, IllegalUse
from strict_module import StrictModule
from strict_tensorrt import EngineFile, StrictTensorRT

FILE = EngineFile((1, 2, 2, 3), scratch_bytes=256)
FREE = EngineFile((-1, 2, 2, 3), (((1, 2, 2, 3), (4, 2, 2, 3)),), scratch_bytes=256)


@pytest.fixture
def device() -> Gpu:
    pytest.importorskip("cuda.bindings.runtime", reason="cuda-python is not installed")
    return Gpu()


@pytest.fixture
def cuda(device: Gpu) -> StrictModule:
    """cudart, inside of the primary context."""
    cudart, driver = strict_bindings(device)
    driver.cuInit(0)
    driver.cuDevicePrimaryCtxRetain(driver.cuDeviceGet(0)[1])
    driver.cuCtxPushCurrent(driver.CUcontext(0x77))
    return cudart


def stream_of(cuda: Any) -> int:
    return int(cuda.cudaStreamCreateWithFlags(cuda.cudaStreamNonBlocking)[1])


def context_of(api: Path, device: Gpu, file: EngineFile = FILE) -> Any:
    """A context with everything set but the shape."""
    module = StrictTensorRT(api, device, file).module
    engine = module.Runtime(object()).deserialize_cuda_engine(b"engine")
    context = engine.create_execution_context(
        module.ExecutionContextAllocationStrategy.USER_MANAGED
    )
    context.set_device_memory(device.allocate("device", 256), 256)
    context.set_tensor_address("frame", device.allocate("device", 12))
    context.set_tensor_address("mask", device.allocate("device", 4))
    return context


@pytest.fixture
def latest(shared: Path) -> Path:
    return shared / "reference/tensorrt-api/11.4.0.106.json"


def test_a_name_that_cuda_does_not_have(cuda: Any) -> None:
    with pytest.raises(AttributeError, match="cudaMallocAnything"):
        cuda.cudaMallocAnything(1)


@pytest.mark.parametrize("args", [(), (1, 2)])
def test_a_wrong_number_of_arguments(cuda: Any, args: tuple[int, ...]) -> None:
    with pytest.raises(TypeError, match="argument"):
        cuda.cudaMalloc(*args)


def test_a_keyword_that_cuda_does_not_have(cuda: Any) -> None:
    with pytest.raises(TypeError, match="size_bytes"):
        cuda.cudaMalloc(size_bytes=1)


def test_an_argument_of_the_wrong_type(cuda: Any) -> None:
    with pytest.raises(IllegalUse, match="expected a cudaMemcpyKind"):
        cuda.cudaMemcpyAsync(1, 2, 3, 1, 4)


ILLEGAL: dict[str, Callable[[Any], object]] = {
    "was freed": lambda cuda: copied_after_free(cuda),
    "a block of 8": lambda cuda: cuda.cudaMemcpyAsync(
        cuda.cudaMalloc(8)[1],
        cuda.cudaHostAlloc(16, 0)[1],
        16,
        cuda.cudaMemcpyKind.cudaMemcpyHostToDevice,
        stream_of(cuda),
    ),
    "device memory where pinned": lambda cuda: cuda.cudaMemcpyAsync(
        cuda.cudaMalloc(8)[1],
        cuda.cudaMalloc(8)[1],
        8,
        cuda.cudaMemcpyKind.cudaMemcpyHostToDevice,
        stream_of(cuda),
    ),
    "no device memory": lambda cuda: twice(cuda.cudaFree, cuda.cudaMalloc(8)[1]),
    "does not exist or was destroyed": lambda cuda: twice(cuda.cudaStreamDestroy, stream_of(cuda)),
    "destroyed twice": lambda cuda: twice(
        cuda.cudaEventDestroy, cuda.cudaEventCreateWithFlags(0)[1]
    ),
    "never begun": lambda cuda: cuda.cudaStreamEndCapture(stream_of(cuda)),
    "never instantiated": lambda cuda: cuda.cudaGraphLaunch(
        cuda.cudaGraphExec_t(5), stream_of(cuda)
    ),
    "waits for the default stream": lambda cuda: cuda.cudaStreamCreateWithFlags(0),
    "not allocated as mapped": lambda cuda: cuda.cudaHostGetDevicePointer(
        cuda.cudaHostAlloc(8, 0)[1], 0
    ),
    "during a capture": lambda cuda: (capturing(cuda), cuda.cudaMalloc(8)),
    "is being captured": lambda cuda: cuda.cudaStreamSynchronize(capturing(cuda)),
    "is not simulated": lambda cuda: cuda.cudaDeviceReset(),
}


def test_another_thread_may_allocate_during_a_capture(cuda: Any, device: Gpu) -> None:
    capturing(cuda)
    found: list[Any] = []

    def allocate() -> None:
        device.current.append("primary")
        found.append(cuda.cudaMalloc(8)[1])

    thread = threading.Thread(target=allocate)
    thread.start()
    thread.join()
    assert device.bytes_at(found[0], 8, "device").size == 8


def copied_after_free(cuda: Any) -> None:
    """Legal when it was put on the stream, and no more when it runs."""
    target, source = cuda.cudaMalloc(8)[1], cuda.cudaHostAlloc(8, 0)[1]
    stream = stream_of(cuda)
    cuda.cudaMemcpyAsync(target, source, 8, cuda.cudaMemcpyKind.cudaMemcpyHostToDevice, stream)
    cuda.cudaFree(target)
    cuda.cudaStreamSynchronize(stream)


def capturing(cuda: Any) -> int:
    stream = stream_of(cuda)
    mode = cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
    cuda.cudaStreamBeginCapture(stream, mode)
    return stream


def twice(call: Callable[[Any], object], argument: Any) -> None:
    call(argument)
    call(argument)


@pytest.mark.parametrize("message", ILLEGAL)
def test_cuda_used_illegally(cuda: Any, message: str) -> None:
    with pytest.raises(IllegalUse, match=message):
        ILLEGAL[message](cuda)


def test_a_call_without_a_context(cuda: Any, device: Gpu) -> None:
    device.current.clear()
    with pytest.raises(IllegalUse, match="without a current context"):
        cuda.cudaMalloc(8)


def test_what_is_left_allocated_is_seen(cuda: Any, device: Gpu) -> None:
    cuda.cudaMalloc(8)
    stream_of(cuda)
    assert device.alive() == {"blocks": 1, "streams": 1, "events": 0, "graphs": 0, "contexts": 1}


@pytest.mark.usefixtures("cuda")
def test_tensorrt_has_only_the_names_of_its_release(device: Gpu, shared: Path) -> None:
    old = context_of(shared / "reference/tensorrt-api/10.3.0.json", device)
    with pytest.raises(IllegalUse, match=r"tensorrt 10\.3\.0 has no IExecutionContext\.is_stream"):
        old.is_stream_capturable(5)
    with pytest.raises(IllegalUse, match=r"has no IExecutionContext\.execute_async_v2"):
        old.execute_async_v2([], 5)


@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize(
    "args", [(), ("frame",), ("frame", (1, 2, 2, 3), 0), ("frame", 5), (b"frame", (1, 2, 2, 3))]
)
def test_tensorrt_takes_only_what_fits_an_overload(
    device: Gpu, latest: Path, args: tuple[Any, ...]
) -> None:
    with pytest.raises(IllegalUse, match="fits none of"):
        context_of(latest, device).set_input_shape(*args)


@pytest.mark.usefixtures("cuda")
def test_a_read_only_property_cannot_be_set(device: Gpu, latest: Path) -> None:
    with pytest.raises(IllegalUse, match=r"cannot be set: property \(read only\)"):
        context_of(latest, device).active_optimization_profile = 1


def test_executing_before_a_shape_is_set(cuda: Any, device: Gpu, latest: Path) -> None:
    with pytest.raises(IllegalUse, match="before the input's shape was set"):
        context_of(latest, device).execute_async_v3(stream_of(cuda))


def test_executing_before_the_addresses_are_set(cuda: Any, device: Gpu, latest: Path) -> None:
    module = StrictTensorRT(latest, device, FILE).module
    engine = module.Runtime(object()).deserialize_cuda_engine(b"engine")
    context = engine.create_execution_context()
    context.set_input_shape("frame", (1, 2, 2, 3))
    with pytest.raises(IllegalUse, match="with only"):
        context.execute_async_v3(stream_of(cuda))


def test_executing_on_a_stream_that_is_closed(cuda: Any, device: Gpu, latest: Path) -> None:
    context, stream = context_of(latest, device), stream_of(cuda)
    context.set_input_shape("frame", (1, 2, 2, 3))
    cuda.cudaStreamDestroy(stream)
    with pytest.raises(IllegalUse, match="does not exist or was destroyed"):
        context.execute_async_v3(stream)


def test_capturing_before_a_first_run(cuda: Any, device: Gpu, latest: Path) -> None:
    context = context_of(latest, device)
    context.set_input_shape("frame", (1, 2, 2, 3))
    with pytest.raises(IllegalUse, match="before this shape has run once"):
        context.execute_async_v3(capturing(cuda))


def test_a_context_that_is_gone_before_its_work(cuda: Any, device: Gpu, latest: Path) -> None:
    context, stream = context_of(latest, device), stream_of(cuda)
    context.set_input_shape("frame", (1, 2, 2, 3))
    context.execute_async_v3(stream)
    del context
    with pytest.raises(IllegalUse, match="gone before its work was done"):
        cuda.cudaStreamSynchronize(stream)


@pytest.mark.usefixtures("cuda")
def test_a_second_context_has_no_profile_yet(device: Gpu, latest: Path) -> None:
    module = StrictTensorRT(latest, device, FREE).module
    engine = module.Runtime(object()).deserialize_cuda_engine(b"engine")
    first, second = engine.create_execution_context(), engine.create_execution_context()
    assert first.set_input_shape("frame", (1, 2, 2, 3))
    with pytest.raises(IllegalUse, match="before a profile was chosen"):
        second.set_input_shape("frame", (1, 2, 2, 3))


def test_late_work_shows_a_mask_that_is_read_too_early(
    cuda: Any, device: Gpu, latest: Path
) -> None:
    context, stream = context_of(latest, device), stream_of(cuda)
    frame = device.blocks[context._simulation.addresses["frame"]].array
    mask = device.blocks[context._simulation.addresses["mask"]].array
    frame[:] = np.tile([0, 0, 9], 4)
    context.set_input_shape("frame", (1, 2, 2, 3))
    context.execute_async_v3(stream)
    assert mask.tolist() != [2, 2, 2, 2]
    cuda.cudaStreamSynchronize(stream)
    assert mask.tolist() == [2, 2, 2, 2]
