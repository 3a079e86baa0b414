"""What is measured of one backend: its rounds, how right it was, its memory, a frame's budget.

All times are in milliseconds, raw and rounded to whole microseconds. Statistics are derived from
them (`benchmarks.records.latency`, `benchmarks.comparison.compare`) and never stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SINGLE, MULTI, SERVER, OFFLINE = "single", "multi", "server", "offline"
SCENARIOS = (SINGLE, MULTI, SERVER, OFFLINE)

ROUND_STOPS = ("enough", "cap")
STOPS = ("stable", "time", "rounds", "error")


@dataclass(frozen=True)
class Phases:
    """Where an engine's time goes in trtexec's terms, one entry for every frame.

    enqueue is the host's time to put the work on the stream; h2d (copy in), compute and d2h (copy
    out) are each waited for, by the host's clock, so that compute includes enqueue. trtexec's
    latency is h2d + compute + d2h, by CUDA events: it leaves out what the host does around them,
    which Round.latencies_ms holds.
    """

    enqueue_ms: tuple[float, ...]
    h2d_ms: tuple[float, ...]
    compute_ms: tuple[float, ...]
    d2h_ms: tuple[float, ...]


@dataclass(frozen=True)
class Round:
    """One backend's turn: query after query, until the stop rule ended it.

    latencies_ms: of every query, from uint8 frames in host memory to uint8 masks in host memory;
    in the server scenario from the moment the frame arrived, waiting included.
    wall_ms: of the whole turn, the loop around the calls included.
    stopped_by: what ended it: `enough` (time and count both reached), `cap` (so slow that the count
    was not reached by then, or that a server can no longer hold its bound).
    cpu_ms: that this process computed in the turn, all threads together; time in which others had
    the processor is not in it. Over the queries it is the host's cost of one.
    workload_ms, workload_cpu_ms: the reference workload of the same device (Conditions.workloads),
    timed directly before and directly after this round, by the clock and by the processor. The
    round's median over theirs compares across records.
    arrivals_per_second: the rate at which frames arrived, in the server scenario alone.
    throttle_reasons: of the GPU at the end of the round (see GpuState), None where it is not known.
    """

    latencies_ms: tuple[float, ...]
    wall_ms: float
    stopped_by: str
    cpu_ms: float | None = None
    workload_ms: tuple[float, ...] = ()
    workload_cpu_ms: tuple[float, ...] = ()
    arrivals_per_second: float | None = None
    throttle_reasons: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.stopped_by not in ROUND_STOPS:
            raise ValueError(
                f"stopped_by is '{self.stopped_by}'; expected {', '.join(ROUND_STOPS)}"
            )
        if not self.latencies_ms or min(self.latencies_ms) < 0 or self.wall_ms <= 0:
            raise ValueError("a round needs latencies, none negative, and a wall time above zero")
        if min((*self.workload_ms, *self.workload_cpu_ms), default=1) <= 0:
            raise ValueError("the reference workload takes more than no time")


@dataclass(frozen=True)
class Measurement:
    """One backend in one scenario, at one batch and size.

    scenario: `single`: one frame at a time, the next when its mask is there. `multi`: queries of
    several frames, the next when all masks are there. `server`: frames arrive at random (Poisson),
    several rates are tried. `offline`: all frames at hand, as many at once as `batch` says.
    batch: frames per call of the backend. frames_per_query: that one latency stands for.
    height, width: of the frames.
    rounds: those that were measured; empty if `not_run`.
    stopped_by: what ended the rounds: `stable` (the interval of the median had become as narrow as
    asked), `time` (it had not when the time was over), `rounds` (a fixed number was asked for),
    `error`; None if `not_run`.
    error: what ended the measurement early, after the rounds that are there; else None.
    not_run: why this scenario, batch or size cannot be measured with this backend; else None.
    """

    scenario: str
    batch: int
    frames_per_query: int
    height: int
    width: int
    rounds: tuple[Round, ...]
    stopped_by: str | None
    error: str | None = None
    not_run: str | None = None

    def __post_init__(self) -> None:
        if self.scenario not in SCENARIOS:
            raise ValueError(f"scenario is '{self.scenario}'; expected {', '.join(SCENARIOS)}")
        if not self.rounds and self.not_run is None and self.error is None:
            raise ValueError("a measurement needs rounds, or the reason why there are none")
        if self.rounds and self.not_run is not None:
            raise ValueError("a measurement with rounds did run")
        if self.stopped_by not in (STOPS if self.not_run is None else (None,)):
            raise ValueError(f"stopped_by is {self.stopped_by!r}; expected {', '.join(STOPS)}")


@dataclass(frozen=True)
class Agreement:
    """How many pixels got the same class as in the reference, PyTorch FP32."""

    equal_pixels: int
    pixels: int

    def __post_init__(self) -> None:
        if not 0 <= self.equal_pixels <= self.pixels or self.pixels == 0:
            raise ValueError(f"{self.equal_pixels} equal of {self.pixels} pixels")

    @property
    def share(self) -> float:
        return self.equal_pixels / self.pixels


@dataclass(frozen=True)
class Accuracy:
    """How right a backend's masks were, on the record's images at one size.

    agreement: None for the reference itself, and without a reference.
    mean_iou: 0 to 1, None without labels. class_iou: in the order of Conditions.classes, None for
    a class that is neither labelled nor predicted; empty without labels.
    """

    height: int
    width: int
    agreement: Agreement | None
    mean_iou: float | None
    class_iou: tuple[float | None, ...] = ()

    def __post_init__(self) -> None:
        ious: Sequence[float | None] = (self.mean_iou, *self.class_iou)
        if any(iou is not None and not 0 <= iou <= 1 for iou in ious):
            raise ValueError("IoUs run from 0 to 1")


@dataclass(frozen=True)
class Memory:
    """What a backend added to the memory of the benchmark's process; None where it is not known.

    host_peak_bytes: the largest resident set while it was opened and gave its first masks, above
    the resident set before. device_peak_bytes: the same of the GPU's used memory.
    """

    host_peak_bytes: int | None
    device_peak_bytes: int | None


@dataclass(frozen=True)
class FrameBudget:
    """Where the time of one frame goes, from file to overlay; one entry for each image.

    decode_ms: from the file to a frame at the model's size. copy_in_ms, copy_out_ms: between host
    and GPU. compute_ms: the network. upsample_argmax_ms: from its scores to the mask. overlay_ms:
    colours over the frame. None: not there (no copies on a CPU), or not apart from compute_ms
    (upsampling and argmax in an ONNX file or an engine).
    """

    decode_ms: tuple[float, ...]
    copy_in_ms: tuple[float, ...] | None
    compute_ms: tuple[float, ...]
    upsample_argmax_ms: tuple[float, ...] | None
    copy_out_ms: tuple[float, ...] | None
    overlay_ms: tuple[float, ...]


@dataclass(frozen=True)
class LayerTime:
    """One layer or kernel of a backend, by its profiler."""

    name: str
    ms: float
    macs: int | None
    bytes: int | None


@dataclass(frozen=True)
class Roofline:
    """How near a backend comes to what the machine allows.

    macs: multiply-accumulates of one frame. bytes: that one frame must move at least.
    limit_ms: the larger of both over the machine's peaks (Record.peaks). share: limit_ms over the
    median latency of a frame, offline over its share of the wall time; 1 at the limit. layers: of a
    whole call, where a profiler told them apart.
    """

    macs: int
    bytes: int
    limit_ms: float
    share: float
    layers: tuple[LayerTime, ...] = ()


@dataclass(frozen=True)
class Peak:
    """What a device reaches, measured by a large matrix product and a large copy.

    device: cpu or cuda. precision: of the product. macs_per_second, bytes_per_second: reached.
    """

    device: str
    precision: str
    macs_per_second: float
    bytes_per_second: float
