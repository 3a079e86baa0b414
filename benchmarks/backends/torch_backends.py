"""PyTorch as a backend: what the others must agree with, and what they must be faster than."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.backends.backend import CPU, CUDA, Backend, Candidate
from benchmarks.backends.origin import Origin
from export.frame_model import FrameModel
from runtime.card import Card
from runtime.errors import DeviceError

REFERENCE = "PyTorch eager"

Network = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Variant:
    """One way to run the same network in PyTorch.

    autocast: the type of its convolutions, or None for float32 throughout.
    compiler: of the network: none, inductor (torch.compile), aotinductor or torch_tensorrt.
    """

    name: str
    autocast: torch.dtype | None = None
    layout: torch.memory_format = torch.contiguous_format
    compiler: str | None = None

    @property
    def precision(self) -> str:
        return {None: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}[self.autocast]


CHANNELS_LAST = torch.channels_last
VARIANTS = MappingProxyType(  # by what --against calls them
    {
        "torch": (
            Variant(REFERENCE),
            Variant(f"{REFERENCE}, channels_last", layout=CHANNELS_LAST),
        ),
        "torch-autocast": (
            Variant("PyTorch autocast, channels_last", torch.float16, CHANNELS_LAST),
            Variant("PyTorch autocast, channels_last", torch.bfloat16, CHANNELS_LAST),
        ),
        "torch-compile": (
            Variant("torch.compile, channels_last", None, CHANNELS_LAST, "inductor"),
        ),
        "aotinductor": (Variant("AOTInductor", compiler="aotinductor"),),
        "torch-tensorrt": (Variant("Torch-TensorRT", torch.float16, compiler="torch_tensorrt"),),
    }
)


class TorchBackend:
    """A network with the same work around it as in the exported graph."""

    def __init__(self, network: Network, device: str, variant: Variant, owned: ExitStack) -> None:
        """owned: what closes with the backend."""
        place = torch.cuda.get_device_name() if device == CUDA else "CPU"
        threads = "" if device == CUDA else f", {torch.get_num_threads()} threads"
        self.description = f"PyTorch {torch.__version__}, {place}{threads}"
        self._network: Network | None = network
        # A compiler merges the steps that steps_ms tells apart.
        self._inner = network.network if isinstance(network, FrameModel) else None
        self._device, self._autocast, self._owned = device, variant.autocast, owned

    def __call__(self, frames: NDArray[np.uint8], /) -> NDArray[np.uint8]:
        """(N, H, W, 3) uint8 BGR to (N, H, W) uint8."""
        if self._network is None:
            raise RuntimeError("this backend is closed")
        with self._inference():
            masks = self._network(torch.from_numpy(frames).to(self._device))
            result: NDArray[np.uint8] = masks.cpu().numpy()
        return result

    def steps_ms(self, frames: NDArray[np.uint8], /) -> dict[str, float]:
        """See benchmarks.scenarios.budget.Stepwise; nothing where the network is compiled whole."""
        if self._network is None or self._inner is None:
            return {}
        marks_ns: list[int] = []
        hook = self._inner.register_forward_hook(lambda *_: marks_ns.append(self._now_ns()))
        try:
            with self._inference():
                marks_ns.append(self._now_ns())
                on_device = torch.from_numpy(frames).to(self._device)
                marks_ns.append(self._now_ns())
                masks = self._network(on_device)
                marks_ns.append(self._now_ns())
                masks.cpu()
                marks_ns.append(self._now_ns())
        finally:
            hook.remove()
        names = ("copy_in", "compute", "upsample_argmax", "copy_out")
        steps = {n: (b - a) / 1e6 for n, (a, b) in zip(names, pairwise(marks_ns), strict=True)}
        copies = ("copy_in", "copy_out") if self._device == CPU else ()
        return {name: ms for name, ms in steps.items() if name not in copies}

    @contextmanager
    def _inference(self) -> Iterator[None]:
        half = self._autocast is not None
        with (
            _as_device_error("PyTorch failed"),
            torch.inference_mode(),
            torch.autocast(self._device, self._autocast, enabled=half),
        ):
            yield

    def _now_ns(self) -> int:
        """After all that the device was given to do."""
        if self._device == CUDA:
            torch.cuda.synchronize()
        return time.perf_counter_ns()

    def close(self) -> None:
        self._network = self._inner = None
        self._owned.close()


def torch_candidates(
    origin: Origin,
    threads: int | None,
    against: Sequence[str],
    shape: tuple[int, int, int] | None,
) -> list[Candidate]:
    """PyTorch in float32, the reference, before all others.

    threads: for all of PyTorch in this process, or None for its own choice.
    against: names of VARIANTS besides the reference.
    shape: (N, H, W) that an ahead-of-time compiler compiles for; it takes no other. None where no
    size is known, so that nothing will be opened.

    They run on the GPU where PyTorch sees one.

    Raises InputError if the weights cannot be read or the factory fails, CheckpointError if the
    weights fit no network.
    """
    # FP32 whatever the file stores: the network that it fills is float32.
    card = replace(origin.open()[1], precision="fp32")
    if threads is not None:
        torch.set_num_threads(threads)
    torch.backends.cudnn.allow_tf32 = False  # or "FP32" on a GPU would mean ten bits of fraction
    device = CUDA if torch.cuda.is_available() else CPU
    chosen = [variant for word in against for variant in VARIANTS.get(word, ())]
    if not any(variant.name == REFERENCE for variant in chosen):
        chosen.insert(0, VARIANTS["torch"][0])
    return [
        Candidate(
            name=variant.name,
            device=device,
            file=origin.file,
            card=_card(card, variant, shape),
            opener=partial(_opener, origin, variant, device, shape),
        )
        for variant in chosen
    ]


def _card(card: Card, variant: Variant, shape: tuple[int, int, int] | None) -> Card:
    ahead = variant.compiler in ("aotinductor", "torch_tensorrt")
    own_shape = (*shape, 3) if ahead and shape is not None else None
    return replace(card, precision=variant.precision, input_shape=own_shape)


def _opener(
    origin: Origin, variant: Variant, device: str, shape: tuple[int, int, int] | None
) -> Callable[[], Backend]:
    if variant.compiler == "torch_tensorrt" and find_spec("torch_tensorrt") is None:
        raise DeviceError("torch_tensorrt is not installed: pip install torch-tensorrt")
    return partial(_open, origin, variant, device, shape)


def _open(
    origin: Origin, variant: Variant, device: str, shape: tuple[int, int, int] | None
) -> Backend:
    """Load and compile; torch.compile itself waits for the first frame."""
    network, card = origin.open()
    with ExitStack() as owned, _as_device_error(f"{variant.name} cannot be opened"):
        # The stubs do not know that .to() takes a layout.
        network = network.to(device, memory_format=variant.layout)  # type: ignore[call-overload]
        model = FrameModel(network, card).eval().to(device)
        frames = torch.zeros((*(shape or (1, 32, 32)), 3), dtype=torch.uint8, device=device)
        compiled = _compiled(model, variant, frames, owned)
        return TorchBackend(compiled, device, variant, owned.pop_all())


def _compiled(
    model: FrameModel, variant: Variant, frames: torch.Tensor, owned: ExitStack
) -> Network:
    if variant.compiler == "inductor":
        compiled: Network = torch.compile(model, dynamic=False)
        return compiled
    if variant.compiler == "aotinductor":
        return _compiled_ahead(model, frames, owned)
    if variant.compiler == "torch_tensorrt":
        torch_tensorrt = import_module("torch_tensorrt")
        half = {torch.float16}
        compiled = torch_tensorrt.compile(model, inputs=[frames], enabled_precisions=half)
        return compiled  # noqa: RET504  # the name gives it its type
    return model


def _compiled_ahead(model: FrameModel, frames: torch.Tensor, owned: ExitStack) -> Network:
    """torch.export, then a shared library that Inductor's compiler wrote, loaded again."""
    folder = owned.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
    with torch.inference_mode():
        program = torch.export.export(model, (frames,))
        package = torch._inductor.aoti_compile_and_package(
            program, package_path=str(Path(folder) / "model.pt2")
        )
        loaded: Network = torch._inductor.aoti_load_package(package)
    return loaded


@contextmanager
def _as_device_error(what: str) -> Iterator[None]:
    """What PyTorch refuses, out of memory or a compiler that fails, takes one backend away."""
    try:
        yield
    except RuntimeError as error:
        first_line = str(error).strip().partition("\n")[0]
        raise DeviceError(f"{what}: {first_line}") from error
