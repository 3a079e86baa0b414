"""What Python costs per frame in an engine: all but CUDA and TensorRT, which do nothing here.

python -m tools.python_share --json benchmarks/results/python-share.json

The copies of frame and mask into and out of host memory are part of it, and also measured alone.
What the real bindings need to convert the arguments of their eight or so calls is not.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from types import MappingProxyType

import numpy as np

from benchmarks.host.environment import environment, machine_state
from runtime import Segmenter
from runtime.arguments import DONE, Parser, positive, run_command
from runtime.card import Card
from runtime.engine.engine import Engine
from runtime.engine.loaded_engine import EngineOptions
from runtime.errors import CheckFailed
from runtime.files import written_whole
from runtime.frames import Frame
from tools.null_cuda import null_cuda, null_tensorrt

PROGRAM = "python -m tools.python_share"
LIMIT_US = 150.0
HEIGHT, WIDTH = 512, 512
FRAMES = 8  # 6 MiB in all, more than a core keeps in its own cache
WARM_UP = 20
CASES = MappingProxyType(
    {
        "graph": "one frame at a time, as a CUDA graph",
        "graph, out=": "the same, into an array that the caller keeps",
        "no graph": "one frame at a time, every call enqueued",
        "stream": "stream(), as a CUDA graph",
        "copies alone": "frame and mask copied by numpy, and nothing else",
    }
)


@dataclass(frozen=True)
class PythonShare:
    """cpu_us: the median CPU time of a frame, in microseconds, by case, for each round."""

    cases: dict[str, str]
    frames_per_round: int
    cpu_us: dict[str, list[float]]

    def median_us(self, case: str) -> float:
        """The median of the rounds."""
        return median(self.cpu_us[case])


def python_share(rounds: int, frames_per_round: int) -> PythonShare:
    """Measure every case in turn, `rounds` times, so that other load meets all alike."""
    random = np.random.default_rng(0)
    frames = [random.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8) for _ in range(FRAMES)]
    repeated = [frames[index % FRAMES] for index in range(WARM_UP + frames_per_round)]
    cpu_us: dict[str, list[float]] = {case: [] for case in CASES}
    with null_cuda(), _segmenter(graph=True) as graph, _segmenter(graph=False) as plain:
        out = np.empty((HEIGHT, WIDTH), np.uint8)
        measures: dict[str, Callable[[], list[float]]] = {
            "graph": lambda: _each(graph, repeated),
            "graph, out=": lambda: _each(lambda frame: graph(frame, out), repeated),
            "no graph": lambda: _each(plain, repeated),
            "stream": lambda: _stream(graph, repeated),
            "copies alone": lambda: _each(_copies(), repeated),
        }
        for _ in range(rounds):
            for case, measure in measures.items():
                cpu_us[case].append(round(median(measure()[WARM_UP:]), 2))
    return PythonShare(dict(CASES), frames_per_round, cpu_us)


def _segmenter(*, graph: bool) -> Segmenter:
    """On an engine that does nothing."""
    card = Card(
        "null", ("nothing",), ((0, 0, 0),), channel_order="BGR", input_shape=(1, HEIGHT, WIDTH, 3)
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "null.engine"
        path.write_bytes(b"null")
        trt = null_tensorrt((1, HEIGHT, WIDTH, 3))
        return Segmenter(Engine(path, card, trt, EngineOptions(cuda_graph=graph)))


def _each(call: Callable[[Frame], object], frames: Iterable[Frame]) -> list[float]:
    """The CPU time of each call, in microseconds."""
    times = []
    for frame in frames:
        started = time.thread_time_ns()
        call(frame)
        times.append((time.thread_time_ns() - started) / 1e3)
    return times


def _stream(segmenter: Segmenter, frames: Sequence[Frame]) -> list[float]:
    """The CPU time from one mask to the next, in microseconds."""
    times = []
    started = time.thread_time_ns()
    for _ in segmenter.stream(frames):
        ended = time.thread_time_ns()
        times.append((ended - started) / 1e3)
        started = ended
    return times


def _copies() -> Callable[[Frame], object]:
    host_in, host_out = np.empty((HEIGHT, WIDTH, 3), np.uint8), np.zeros((HEIGHT, WIDTH), np.uint8)

    def copy(frame: Frame) -> object:
        np.copyto(host_in, frame)
        return host_out.copy()

    return copy


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return run_command(_measure, PROGRAM, sys.argv[1:] if arguments is None else arguments)


def _measure(arguments: Sequence[str]) -> int:
    parser = Parser("", "Python's share per 512x512 frame, with CUDA that does nothing.", PROGRAM)
    parser.prog = PROGRAM
    parser.add_argument("--rounds", type=positive, default=15, help="default 15")
    parser.add_argument("--frames", type=positive, default=200, help="per round, default 200")
    parser.add_argument("--note", default="", help="what else ran on the machine")
    parser.add_argument("--json", type=Path, help="where to write the record")
    given = parser.parse_args(arguments)
    before = machine_state()
    share = python_share(given.rounds, given.frames)
    medians = {case: round(share.median_us(case), 1) for case in CASES}
    for case, microseconds in medians.items():
        print(f"{microseconds:6.1f} us of CPU time per frame, null CUDA: {CASES[case]}")
    if given.json is not None:
        record = {
            "command": " ".join((PROGRAM, *arguments)),
            "what": f"null CUDA, frames of {HEIGHT}x{WIDTH}, CPU time of the calling thread",
            "note": given.note,
            "environment": asdict(environment()),
            "before": asdict(before),
            "after": asdict(machine_state()),
            "limit_us": LIMIT_US,
            "median_us": medians,
            **asdict(share),
        }
        with written_whole(given.json) as temporary:
            temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    if medians["graph"] > LIMIT_US:
        raise CheckFailed(f"a frame takes {medians['graph']:.1f} us; at most {LIMIT_US:g}")
    return DONE


if __name__ == "__main__":
    sys.exit(main())
