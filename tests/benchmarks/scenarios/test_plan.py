"""Which scenario gets which batches, and what becomes of a backend that cannot, or fails."""

import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.backends.backend import CPU, Backend, Candidate
from benchmarks.backends.entrants import Entrant
from benchmarks.records.measurements import Measurement
from benchmarks.scenarios.plan import Entry, Load, entries, leave_out, measure_entry
from benchmarks.scenarios.rounds import Patience
from benchmarks.scenarios.scenarios import StopRule, queries
from runtime.card import Card
from runtime.errors import DeviceError, InputError

SIZE = (4, 5)
CARD = Card(variant="lw-mobilenetv2", classes=("a",), palette=((0, 0, 0),))
FRAMES = np.zeros((3, *SIZE, 3), np.uint8)


class Device:
    """A backend that fails after some calls."""

    description = "a device"

    def __init__(self, lasts: int = 10**9) -> None:
        self.left = lasts

    def __call__(self, frames: NDArray[np.uint8], /) -> NDArray[np.uint8]:
        if self.left == 0:
            raise DeviceError("an illegal address")
        self.left -= 1
        return frames[..., 0]

    def close(self) -> None: ...


def entrant(backend: Backend, batch: int | None = None, streamed: bool = False) -> Entrant:
    card = CARD if batch is None else Card(**CARD.__dict__ | {"input_shape": (batch, *SIZE, 3)})
    opener = partial(partial, Device)
    return Entrant(Candidate("a", CPU, Path("a"), card, opener, streamed), backend)


def measured(
    entry: Entry, *entrants: Entrant, rounds: int = 3, latency_bound_ms: float = 1000.0
) -> list[Measurement]:
    rule = StopRule(seconds=0.0, minimum_count=2, warm_up_ms=0.0)
    patience, load = Patience(rounds, None), Load(latency_bound_ms=latency_bound_ms)
    measure_entry(entry, entrants, FRAMES, rule, patience, load, {}, lambda: None)
    return [entrant.measurements[-1] for entrant in entrants]


def test_one_frame_at_a_time_has_no_batches() -> None:
    plan = entries(("single", "multi", "offline"), (1, 4), (SIZE,), Load(streams=8))
    assert [(e.scenario, e.batch, e.frames_per_query) for e in plan] == [
        ("single", 1, 1),
        *(("multi", 1, 8), ("multi", 4, 8)),
        *(("offline", 1, 1), ("offline", 4, 4)),
    ]


def test_queries_of_several_streams_are_full_batches() -> None:
    plan = entries(("multi",), (1, 3, 16), (SIZE,), Load(streams=8))
    assert [(e.batch, e.frames_per_query) for e in plan] == [(1, 8), (3, 9), (16, 16)]
    asked = queries("multi", FRAMES, 3, plan[1].frames_per_query)
    assert {len(frames) for query in asked for frames in query} == {3}


@pytest.mark.parametrize(
    ("scenario", "batches", "message"),
    [("single", (4,), "--batch 1"), ("server", (1,), "--latency-bound")],
)
def test_a_plan_that_cannot_be_is_refused(
    scenario: str, batches: tuple[int, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        entries((scenario,), batches, (SIZE,), Load())


def test_every_backend_that_can_is_measured_and_the_others_say_why_not() -> None:
    entry = Entry("offline", 2, 2, SIZE)
    any_batch, two, four = measured(
        entry, entrant(Device()), entrant(Device(), batch=2), entrant(Device(), batch=4)
    )
    assert len(any_batch.rounds) == len(two.rounds) == 3
    assert four.rounds == ()
    assert " 4 " in str(four.not_run)


def test_overlapping_frames_are_for_offline_alone() -> None:
    (single,) = measured(Entry("single", 1, 1, SIZE), entrant(Device(), streamed=True))
    assert single.not_run == "its frames overlap, which only offline measures"


def test_a_device_that_fails_keeps_its_rounds_and_gets_no_more() -> None:
    failing, other = entrant(Device(lasts=6)), entrant(Device())
    lost, kept = measured(Entry("single", 1, 1, SIZE), failing, other, rounds=4)
    # A round is one call to warm up and two that count; the third round fails.
    assert (len(lost.rounds), lost.error, lost.stopped_by) == (2, "an illegal address", "error")
    assert len(kept.rounds) == 4
    (next_one,) = measured(Entry("offline", 1, 1, SIZE), failing)
    assert next_one.not_run == "lost before: an illegal address"


def test_a_server_tries_rates_and_finds_what_it_can_do() -> None:
    (server,) = measured(Entry("server", 1, 1, SIZE), entrant(Device()))
    rates = [played.arrivals_per_second for played in server.rounds]
    assert len(rates) == len(set(rates)) == 8


def test_servers_share_the_time_for_all_of_them() -> None:
    entry, devices = Entry("server", 1, 1, SIZE), [entrant(Device()) for _ in range(4)]
    rule, load = StopRule(seconds=0.0, minimum_count=2, warm_up_ms=0.0), Load(latency_bound_ms=1e3)
    patience = Patience(limit_seconds=60.0, whole_seconds=0.8)
    measure_entry(entry, devices, FRAMES, rule, patience, load, {}, lambda: None)
    for device in devices:
        (found,) = device.measurements
        # A rate has a fortieth of a second, in which a thousand come only above 44000 a second.
        slowest = [played.arrivals_per_second for played in found.rounds]
        assert all(rate and rate > 44000 for rate in slowest)
        assert slowest or " 44000.0 " in str(found.not_run)


def test_what_is_left_out_has_its_reason() -> None:
    able, four = entrant(Device()), entrant(Device(), batch=4)
    leave_out(Entry("offline", 2, 2, SIZE), [able, four], "the time was over")
    reasons = [device.measurements[-1].not_run for device in (able, four)]
    assert reasons == ["the time was over", four.candidate.refusal(2, SIZE)]


def test_a_server_that_cannot_hold_its_bound_says_so_and_runs_on_elsewhere() -> None:
    class Slow(Device):
        def __call__(self, frames: NDArray[np.uint8], /) -> NDArray[np.uint8]:
            time.sleep(0.002)
            return super().__call__(frames)

    device = entrant(Slow())
    (server,) = measured(Entry("server", 1, 1, SIZE), device, latency_bound_ms=1.0)
    assert server.not_run is not None
    assert server.not_run.endswith(" 1 ms")
    (single,) = measured(Entry("single", 1, 1, SIZE), device)
    assert len(single.rounds) == 3
