"""Which scenarios, batches and sizes are measured, and each of them with every backend."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from benchmarks.backends.backend import CUDA, Backend, Streamed
from benchmarks.backends.entrants import Entrant
from benchmarks.host.reference_workload import ReferenceWorkload
from benchmarks.records.measurements import MULTI, OFFLINE, SERVER, SINGLE, Measurement, Round
from benchmarks.scenarios.rounds import Contestant, Patience, play_in_turns
from benchmarks.scenarios.scenarios import (
    Frames,
    Query,
    RateSearch,
    StopRule,
    closed_loop,
    overlapping,
    poisson_arrivals,
    queries,
    rate_search,
    server_rule,
)
from runtime.errors import InputError

RATES_TRIED = 8  # by a server: halving as often leaves 1/256 of the range


@dataclass(frozen=True)
class Entry:
    """One measurement that every backend gets.

    batch: frames in one call. frames_per_query: that one latency stands for.
    """

    scenario: str
    batch: int
    frames_per_query: int
    size: tuple[int, int]


@dataclass(frozen=True)
class Load:
    """How hard it is asked: of the scenarios that need to be told.

    latency_bound_ms: that the server scenario holds its p99 under.
    streams: frames in a query of the multi-stream scenario, rounded up to full batches.
    seed: of the arrivals.
    """

    latency_bound_ms: float | None = None
    streams: int = 8
    seed: int = 0


def entries(
    scenarios: Sequence[str],
    batches: Sequence[int],
    sizes: Sequence[tuple[int, int]],
    load: Load,
) -> list[Entry]:
    """Every scenario with the batches that it knows, at every size.

    A single stream and a server take one frame at a time, and need a batch of 1 among the batches.

    Raises InputError where they have none, for batches that no scenario takes, and for a server
    without a bound.
    """
    alone = {SINGLE, SERVER} & set(scenarios)
    if alone and 1 not in batches:
        raise InputError(
            f"the scenario {sorted(alone)[0]} takes one frame at a time; expected --batch 1 among "
            "the batches, or --scenario offline"
        )
    larger = [batch for batch in batches if batch != 1]
    if larger and not {MULTI, OFFLINE} & set(scenarios):
        raise InputError(
            f"--batch {larger[0]} is for the scenarios offline and multi; expected one of them in "
            "--scenario"
        )
    if SERVER in scenarios and load.latency_bound_ms is None:
        raise InputError("the scenario server needs a bound; give --latency-bound MILLISECONDS")
    return [
        Entry(scenario, batch, _frames_per_query(scenario, batch, load.streams), size)
        for size in sizes
        for scenario in scenarios
        for batch in batches
        if scenario in (MULTI, OFFLINE) or batch == 1
    ]


def _frames_per_query(scenario: str, batch: int, streams: int) -> int:
    # Of full batches alone: a backend may insist on as many frames in every call.
    return {OFFLINE: batch, MULTI: math.ceil(streams / batch) * batch}.get(scenario, 1)


def measure_entry(
    entry: Entry,
    entrants: Sequence[Entrant],
    frames: Frames,
    rule: StopRule,
    patience: Patience,
    load: Load,
    workloads: Mapping[str, ReferenceWorkload],
    after_turn: Callable[[], object],
) -> None:
    """Measure the entry with every backend that runs and can; the others get their reason."""
    asked = queries(entry.scenario, frames, entry.batch, entry.frames_per_query)
    able = _able(entry, entrants)
    if entry.scenario == SERVER:
        each_seconds = min(patience.limit_seconds, patience.whole_seconds / max(len(able), 1))
        patience = Patience(RATES_TRIED, None, each_seconds, patience.whole_seconds)
    players: list[tuple[Entrant, Contestant]] = []
    for entrant, backend in able:
        play = _player(entry.scenario, backend, asked, rule, load, patience)
        device = entrant.candidate.device
        players.append((entrant, Contestant(play, workloads.get(device), device == CUDA)))
    reasons = play_in_turns([player for _, player in players], patience, after_turn)
    for (entrant, player), reason in zip(players, reasons, strict=True):
        entrant.error = player.error
        rounds = tuple(player.rounds)
        ended = None if player.given_up else reason
        entrant.measurements.append(
            _measurement(entry, rounds, ended, error=player.error, not_run=player.given_up)
        )


def leave_out(entry: Entry, entrants: Sequence[Entrant], reason: str) -> None:
    """Measure the entry with no backend; those that could have been measured get the reason."""
    for entrant, _ in _able(entry, entrants):
        entrant.measurements.append(_measurement(entry, (), None, not_run=reason))


def _able(entry: Entry, entrants: Sequence[Entrant]) -> list[tuple[Entrant, Backend]]:
    """Those that run and can; the others that were opened get their reason."""
    able: list[tuple[Entrant, Backend]] = []
    for entrant in entrants:
        if entrant.backend is None:
            continue
        if reason := _refusal(entrant, entry):
            entrant.measurements.append(_measurement(entry, (), None, not_run=reason))
        else:
            able.append((entrant, entrant.backend))
    return able


def _refusal(entrant: Entrant, entry: Entry) -> str | None:
    if entrant.error is not None:
        return f"lost before: {entrant.error}"
    if entrant.candidate.streamed and entry.scenario != OFFLINE:
        return "its frames overlap, which only offline measures"
    return entrant.candidate.refusal(entry.batch, entry.size)


def _measurement(
    entry: Entry,
    rounds: tuple[Round, ...],
    stopped_by: str | None,
    error: str | None = None,
    not_run: str | None = None,
) -> Measurement:
    return Measurement(
        entry.scenario,
        entry.batch,
        entry.frames_per_query,
        *entry.size,
        rounds,
        stopped_by,
        error,
        not_run,
    )


def _player(
    scenario: str,
    backend: Backend,
    asked: Sequence[Query],
    rule: StopRule,
    load: Load,
    patience: Patience,
) -> Callable[[], Round]:
    if isinstance(backend, Streamed):
        return partial(overlapping, backend, asked, rule)
    if scenario != SERVER:
        return partial(closed_loop, backend, asked, rule)
    assert load.latency_bound_ms is not None
    limit_seconds = patience.limit_seconds / RATES_TRIED
    return _Server(backend, asked, rule, load.latency_bound_ms, limit_seconds, load.seed)


class _Server:
    """Rounds of arrivals, each at the rate that the ones before it suggest."""

    def __init__(
        self,
        backend: Backend,
        asked: Sequence[Query],
        rule: StopRule,
        latency_bound_ms: float,
        limit_seconds: float,
        seed: int,
    ) -> None:
        self._backend, self._asked, self._rule = backend, asked, rule
        self._bound_ms, self._limit_seconds = latency_bound_ms, limit_seconds
        self._generator = np.random.default_rng(seed)
        self._search: RateSearch | None = None

    def __call__(self) -> Round:
        if self._search is None:
            alone = closed_loop(self._backend, self._asked, self._rule)
            self._search = rate_search(alone, self._bound_ms, self._limit_seconds)
        rate = self._search.next_rate
        measured = poisson_arrivals(
            self._backend,
            self._asked,
            rate,
            server_rule(self._rule, rate, self._limit_seconds),
            self._generator,
            self._bound_ms,
        )
        self._search.learn(measured, self._bound_ms)
        return measured
