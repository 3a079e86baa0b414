"""Backends take turns until they are stable or the time is over; one that fails stays out."""

from collections.abc import Callable, Iterator
from itertools import cycle

import pytest

from benchmarks.host.reference_workload import ReferenceWorkload, cpu_workload
from benchmarks.records.measurements import Round
from benchmarks.records.statistics import FEWEST_VALUES
from benchmarks.scenarios.rounds import (
    WORKLOAD_TIMES,
    Contestant,
    Deadline,
    Patience,
    play_in_turns,
)
from benchmarks.scenarios.scenarios import GivenUp
from runtime.errors import DeviceError


def contestant(play: Callable[[], Round], workload: ReferenceWorkload | None = None) -> Contestant:
    return Contestant(play, workload, on_gpu=False)


def rounds_of(*latencies_ms: float) -> Callable[[], Round]:
    """A backend whose rounds take so long, over and over again."""
    values: Iterator[float] = cycle(latencies_ms)
    return lambda: Round((next(values),), 1.0, "enough")


def seconds() -> Callable[[], float]:
    """A clock that moves by one second whenever it is asked."""
    now = iter(range(1000))
    return lambda: float(next(now))


def test_backends_take_turns() -> None:
    turns = list[str]()

    def playing(name: str) -> Callable[[], Round]:
        return lambda: (turns.append(name), Round((1.0,), 1.0, "enough"))[1]

    players = [contestant(playing(name)) for name in "ABC"]
    assert play_in_turns(players, Patience(2, None)) == ["rounds"] * 3
    assert "".join(turns) == "ABCABC"


def test_a_steady_backend_needs_no_more_rounds_than_asked_for() -> None:
    player = contestant(rounds_of(5.0))
    assert play_in_turns([player], Patience(6, 0.02, 60), clock_s=seconds()) == ["stable"]
    assert len(player.rounds) == 6


def test_who_has_given_up_is_not_waited_for() -> None:
    def give_up() -> Round:
        raise GivenUp("no rate holds the bound")

    clock, player = seconds(), contestant(give_up)
    play_in_turns([player], Patience(2, None, 60), clock_s=clock)
    assert (player.given_up, player.rounds) == ("no rate holds the bound", [])
    assert clock() < 10


def test_too_few_rounds_are_not_called_stable() -> None:
    player = contestant(rounds_of(5.0))
    assert play_in_turns([player], Patience(1, 0.02, 60), clock_s=seconds()) == ["stable"]
    assert len(player.rounds) == FEWEST_VALUES


def test_an_unsteady_one_gets_rounds_until_the_time_is_over() -> None:
    steady, unsteady = contestant(rounds_of(5.0)), contestant(rounds_of(5.0, 9.0))
    reasons = play_in_turns([steady, unsteady], Patience(3, 0.02, 20), clock_s=seconds())
    assert reasons == ["stable", "time"]
    assert len(steady.rounds) == len(unsteady.rounds) == 19


def test_the_time_for_all_of_it_ends_even_the_least_rounds() -> None:
    steady, other = contestant(rounds_of(5.0)), contestant(rounds_of(5.0))
    patience = Patience(30, 0.02, 60, whole_seconds=6)
    assert play_in_turns([steady, other], patience, clock_s=seconds()) == ["stable"] * 2
    assert len(steady.rounds) == len(other.rounds) == 5
    late = contestant(rounds_of(5.0))
    assert play_in_turns([late], Patience(30, 0.02, 60, 0.5), clock_s=seconds()) == ["time"]
    assert len(late.rounds) == 1


def test_a_deadline_comes_or_there_is_none() -> None:
    deadline = Deadline(2.5, seconds())
    assert [deadline.left_seconds for _ in range(3)] == [1.5, 0.5, -0.5]
    assert Deadline(None, seconds()).left_seconds == float("inf")
    assert not Deadline(None, seconds()).half_over
    deadline = Deadline(3, seconds())
    assert [deadline.half_over for _ in range(2)] == [False, True]


def test_a_device_that_fails_loses_its_own_rounds_alone() -> None:
    def failing() -> Round:
        if len(lost.rounds) == 2:
            raise DeviceError("an illegal address")
        return Round((1.0,), 1.0, "enough")

    lost, other = contestant(failing), contestant(rounds_of(1.0))
    assert play_in_turns([lost, other], Patience(5, 0.02, 0.0)) == ["error", "stable"]
    assert (len(lost.rounds), lost.error) == (2, "an illegal address")
    assert len(other.rounds) == 5


def test_whatever_a_round_raises_loses_its_own_rounds_alone() -> None:
    def failing() -> Round:
        raise TypeError("incompatible function arguments\nand a long story")

    def fail_workload() -> None:
        if calls:
            raise RuntimeError("no kernel image")
        calls.append(1)

    calls = list[int]()
    workload = ReferenceWorkload("work", fail_workload)
    lost, unfit, other = (
        contestant(failing),
        contestant(rounds_of(1.0), workload),
        contestant(rounds_of(1.0)),
    )
    play_in_turns([lost, unfit, other], Patience(2, None))
    assert lost.error == "TypeError: incompatible function arguments"
    assert unfit.error == "RuntimeError: no kernel image"
    assert len(other.rounds) == 2


def test_the_user_can_still_interrupt_a_round() -> None:
    def interrupted() -> Round:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        play_in_turns([contestant(interrupted)], Patience(1, None))


def test_the_reference_workload_is_timed_around_every_round() -> None:
    player = contestant(rounds_of(5.0), cpu_workload(threads=1))
    play_in_turns([player], Patience(1, None))
    (played,) = player.rounds
    assert len(played.workload_ms) == len(played.workload_cpu_ms) == 2 * WORKLOAD_TIMES
    # One thread never computes for longer than the clock says, but for the clocks' own grain.
    assert all(
        cpu <= wall + 1
        for wall, cpu in zip(played.workload_ms, played.workload_cpu_ms, strict=True)
    )


def test_the_reference_workload_is_the_same_work_every_time() -> None:
    fastest = [min(cpu_workload(threads=1)()[1] for _ in range(10)) for _ in range(2)]
    assert fastest[0] == pytest.approx(fastest[1], rel=0.5)
