"""What a frame costs beyond GPU time and copies, and how near a stream comes to the GPU's rate.

python -m tools.gpu_visit.frame_cost --json frame-cost.json

The network is the stand-in of the tests, on real CUDA, at several GPU times and under two loads: a
kernel that spins, which leaves the GPU's memory alone, and one that keeps all of it busy. Needs
tests/support on PYTHONPATH.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
from stand_in.kernels import Control, Kernels
from stand_in.network import StandIn, write_engine

from benchmarks.host.environment import environment, machine_state
from runtime import Segmenter
from runtime.arguments import DONE, Parser, positive, run_command
from runtime.card import Card
from runtime.cuda import gpu
from runtime.engine.engine import Engine
from runtime.engine.loaded_engine import EngineOptions
from runtime.errors import CheckFailed, DeployError
from runtime.files import written_whole
from runtime.frames import Frame
from tools.gpu_visit.bare_frame import BareFrame
from tools.gpu_visit.growth import Growth, memory_now

PROGRAM = "python -m tools.gpu_visit.frame_cost"
SHAPE = (1, 512, 512, 3)
FRAMES = 8  # 6 MiB in all, as tools/python_share.py
WARM_UP = 20
SCRATCH_BYTES = 256 * 2**20  # several times the L2 cache of any GPU, so that memory is the limit
LOADS = ("spin", "memory")
GPU_MS = (0.25, 0.5, 1.0, 2.0, 4.0)
AIM_BEYOND_US = 50.0
AIM_SHARE = 0.95
AIM_SHARE_FROM_MS = 1.0
# Of ten thousand frames; a leak of one byte a pixel would be 2.5 GB.
LIMIT_GPU_MIB, LIMIT_HOST_MIB = 16.0, 64.0


@dataclass(frozen=True)
class FrameCost:
    """One load at one GPU time; medians.

    network_ms: the network alone, by CUDA events. frame_ms: with both copies, one after the other.
    enqueue_us: what the host spends to put the network on a stream.
    host_copies_us: frame and mask copied by numpy into and out of pinned memory.
    latency_us: of a call, by percentile.
    beyond_us: the median latency less frame_ms and host_copies_us.
    stream_fps: frames per second of stream(). share: of the rate that network_ms allows.
    """

    load: str
    aimed_ms: float
    network_ms: float
    frame_ms: float
    enqueue_us: float
    host_copies_us: float
    latency_us: dict[str, float]
    beyond_us: float
    stream_fps: float
    share: float


def measure(
    cuda: ModuleType, gpu_ms: Sequence[float], frames: int, endurance: int
) -> tuple[list[FrameCost], Growth]:
    """Every load at every GPU time with so many frames, and then `endurance` frames in a row.

    Raises DeployError if one mask is wrong. A CUDA context is current.
    """
    random = np.random.default_rng(0)
    different = [random.integers(0, 256, SHAPE[1:], np.uint8) for _ in range(FRAMES)]
    stand_in, costs = StandIn(), []
    card = Card(
        "stand-in", ("b", "g", "r"), ((0, 0, 255), (0, 255, 0), (255, 0, 0)), channel_order="BGR"
    )
    with tempfile.TemporaryDirectory() as folder:
        capability = cuda.current_device().compute_capability
        path = write_engine(
            Path(folder) / "stand-in.engine",
            SHAPE,
            scratch_bytes=SCRATCH_BYTES,
            compute_capability=capability,
        )
        options = EngineOptions(mapped_memory=False)
        with (
            closing(BareFrame(cuda, stand_in, path, SHAPE)) as bare,
            Segmenter(Engine(path, card, stand_in.trt, options)) as segmenter,
        ):
            both = (bare.kernels, stand_in.kernels)
            for load in LOADS:
                for aimed_ms in gpu_ms:
                    _set(both, _control(bare, load, aimed_ms))
                    costs.append(_cost(bare, segmenter, different, load, aimed_ms, frames))
            _set(both, Control(delay_us=1e3 * gpu_ms[0]))
            growth = _endurance(segmenter, different, endurance)
    return costs, growth


def _set(both: Sequence[Kernels], control: Control) -> None:
    for kernels in both:
        kernels.set(control)


def _control(bare: BareFrame, load: str, aimed_ms: float) -> Control:
    """The load that makes the network take about so long."""
    bare.kernels.set(Control())
    base_ms = bare.network_ms()
    wanted_ms = max(0.0, aimed_ms - base_ms)
    if load == "spin":
        return Control(delay_us=1e3 * wanted_ms)
    bare.kernels.set(Control(stream_bytes=SCRATCH_BYTES))
    pass_ms = bare.network_ms() - base_ms  # of the whole scratch memory, read and written
    return Control(stream_bytes=max(0, int(SCRATCH_BYTES * wanted_ms / max(pass_ms, 1e-6))))


def _cost(
    bare: BareFrame,
    segmenter: Segmenter,
    different: Sequence[Frame],
    load: str,
    aimed_ms: float,
    count: int,
) -> FrameCost:
    repeated = [different[index % FRAMES] for index in range(WARM_UP + count)]
    expected = [frame.argmax(2).astype(np.uint8) for frame in different]
    network_ms, frame_ms = bare.network_ms(), bare.frame_ms()
    host_copies_us = bare.host_copies_us(different[0])
    times, masks = [], []
    for frame in repeated:
        started = time.perf_counter_ns()
        mask = segmenter(frame)
        times.append((time.perf_counter_ns() - started) / 1e3)
        masks.append(mask)
    _require_right(masks, expected)
    latency_us = np.percentile(times[WARM_UP:], [50, 90, 99]).round(1).tolist()
    list(segmenter.stream(repeated[:WARM_UP]))
    started = time.perf_counter_ns()
    masks = list(segmenter.stream(repeated))
    fps = len(masks) / ((time.perf_counter_ns() - started) / 1e9)
    _require_right(masks, expected)
    return FrameCost(
        load=load,
        aimed_ms=aimed_ms,
        network_ms=round(network_ms, 4),
        frame_ms=round(frame_ms, 4),
        enqueue_us=round(bare.enqueue_us(), 1),
        host_copies_us=round(host_copies_us, 1),
        latency_us=dict(zip(("p50", "p90", "p99"), latency_us, strict=True)),
        beyond_us=round(latency_us[0] - 1e3 * frame_ms - host_copies_us, 1),
        stream_fps=round(fps, 1),
        share=round(fps * network_ms / 1e3, 4),
    )


def _require_right(masks: Sequence[Frame], expected: Sequence[Frame]) -> None:
    for index, mask in enumerate(masks):
        if not np.array_equal(mask, expected[index % FRAMES]):
            raise DeployError(f"the mask of frame {index} is wrong: no figure of this run counts")


def _endurance(segmenter: Segmenter, different: Sequence[Frame], count: int) -> Growth:
    """`count` frames through stream(), which keeps none of them."""
    expected = [frame.argmax(2).astype(np.uint8) for frame in different]
    for _ in segmenter.stream(different * WARM_UP):
        pass  # what is allocated once stays
    before, started = memory_now(), time.perf_counter()
    frames = (different[index % FRAMES] for index in range(count))
    for index, mask in enumerate(segmenter.stream(frames)):
        if index % 100 == 0:
            _require_right([mask], expected[index % FRAMES :])
    return Growth.since(before, count, time.perf_counter() - started)


def missed(costs: Sequence[FrameCost], growth: Growth) -> list[str]:
    """Every aim that was missed, in words with the figures."""
    words = []
    for cost in costs:
        where = f"{cost.load}, {cost.aimed_ms:g} ms"
        if cost.beyond_us > AIM_BEYOND_US:
            words.append(f"{where}: {cost.beyond_us:g} us beyond GPU and copies")
        if cost.aimed_ms >= AIM_SHARE_FROM_MS and cost.share < AIM_SHARE:
            words.append(f"{where}: a stream has {cost.share:.1%} of the GPU's rate")
    if growth.gpu_mib > LIMIT_GPU_MIB or growth.host_mib > LIMIT_HOST_MIB:
        words.append(f"{growth.frames} frames: {growth.words}")
    return words


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return run_command(_main, PROGRAM, sys.argv[1:] if arguments is None else arguments)


def _main(arguments: Sequence[str]) -> int:
    parser = Parser("", "What a 512x512 frame costs beyond GPU time and copies.", PROGRAM)
    parser.prog = PROGRAM
    parser.add_argument("--cuda", choices=tuple(gpu.IMPLEMENTATIONS), default="cuda-python")
    parser.add_argument("--frames", type=positive, default=300, help="of a figure, default 300")
    parser.add_argument("--endurance", type=positive, default=10_000, help="default 10000")
    parser.add_argument("--json", type=Path, help="where to write the record")
    given = parser.parse_args(arguments)
    cuda, before = gpu.choose(given.cuda), machine_state()
    device, context = cuda.current_device(), cuda.Context()
    with closing(context), context:
        costs, growth = measure(cuda, GPU_MS, given.frames, given.endurance)
    for cost in costs:
        print(
            f"{cost.load:6} {cost.network_ms:7.3f} ms: {cost.latency_us['p50']:8.1f} us a frame, "
            f"{cost.beyond_us:6.1f} beyond, stream {cost.share:.1%} of the GPU's rate"
        )
    print(f"{growth.frames} frames: {growth.words}")
    failures = missed(costs, growth)
    if given.json is not None:
        record = {
            "command": " ".join((PROGRAM, *arguments)),
            "card": asdict(device),
            "cuda": cuda.TITLE,
            "graphs": cuda.HAS_GRAPHS,
            "frame": SHAPE,
            "frames_per_figure": given.frames,
            "environment": asdict(environment()),
            "before": asdict(before),
            "after": asdict(machine_state()),
            "aims": {"beyond_us": AIM_BEYOND_US, "share": AIM_SHARE, "from_ms": AIM_SHARE_FROM_MS},
            "costs": [asdict(cost) for cost in costs],
            "growth": asdict(growth),
            "missed": failures,
        }
        with written_whole(given.json) as temporary:
            temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    if failures:
        raise CheckFailed("; ".join(failures))
    return DONE


if __name__ == "__main__":
    sys.exit(main())
