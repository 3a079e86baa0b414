"""A few rows of the table in trials.py; `python -m tools.reliability` runs all of it."""

from __future__ import annotations

import pickle
import random
from contextlib import suppress
from pathlib import Path

import pytest

from refinenet.checkpoints.load import load_plain
from runtime.errors import DeployError
from tools.reliability.artifacts import CANARY, CHECKPOINT, Payload
from tools.reliability.confined import Limits, Outcome, Server
from tools.reliability.mutations import COMMON, Mutation
from tools.reliability.trials import KINDS, TRIALS, Case, cases, fault_in, run

# Commands that need no PyTorch, and what only they meet; the readers' own tests hold the rest.
QUICK = ("segment", "inspect", "report")
TELLING = (
    *("a pipe", "half", "noise", "100,000 levels deep", "all entries huge", "UTF-16"),
    *("claims 100,000 x 100,000 pixels", "20,000 x 20,000 pixels", "claims 2^31 - 1 frames"),
    *("a tensor of 10^12 values", "data in ../secret", "a card of another size", "of other bytes"),
)


def quick_cases() -> list[Case]:
    seen: set[tuple[str, str]] = set()
    chosen = []
    for case in cases():
        met = (case.trial.kind, case.mutation)
        if case.trial.name in QUICK and case.mutation in TELLING and met not in seen:
            seen.add(met)
            chosen.append(case)
    return [case for case in chosen if case.trial.kind != "weights"]


@pytest.mark.parametrize("case", quick_cases(), ids=str)
def test_a_broken_file_gets_one_line(
    case: Case, shelf: Path, tmp_path: Path, server: Server
) -> None:
    assert run(case, shelf, tmp_path / "room", server).fault is None


@pytest.mark.parametrize("name", [*COMMON, *CHECKPOINT])
def test_a_broken_checkpoint_is_refused_and_runs_no_code(
    name: str, shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "an archive of 3 GB in 3 MB":
        pytest.skip("takes a minute to make; the whole table has it")
    path = tmp_path / "broken.pth"
    path.write_bytes((shelf / "small.pth").read_bytes())
    monkeypatch.chdir(tmp_path)
    (COMMON | CHECKPOINT)[name].change(path, random.Random(name))
    with suppress(DeployError):
        load_plain(path)
    assert not (tmp_path / CANARY).exists()


def test_the_payload_is_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Payload()))
    assert (tmp_path / CANARY).exists()


@pytest.mark.parametrize(
    ("outcome", "found"),
    [
        (Outcome(0, "done", "", False, 1, 1), "took it"),
        (Outcome(1, "", "Traceback (most recent call last):\nKeyError", False, 1, 1), "traceback"),
        (Outcome(2, "", "one\ntwo\n", False, 1, 1), "on stderr"),
        (Outcome(-9, "", "", True, 1, 60), "still running"),
        (Outcome(-11, "", "", False, 1, 1), "ended by -11"),
        (Outcome(2, "", "refused\n", False, 3 * 2**30, 1), "held 3.0 GiB"),
    ],
)
def test_what_goes_wrong_is_seen(outcome: Outcome, found: str) -> None:
    case = Case(TRIALS[0], "missing")
    assert found in str(fault_in(case, outcome, set()))


def test_files_that_are_left_are_seen() -> None:
    case, refused = Case(TRIALS[0], "missing"), Outcome(2, "", "refused\n", False, 1, 1)
    assert fault_in(case, refused, set()) is None
    assert "left .out.1.part.png" in str(fault_in(case, refused, {".out.1.part.png"}))
    assert "left out.png" in str(fault_in(case, refused, {"out.png"}))
    assert "ran the code" in str(fault_in(case, refused, {CANARY}))


def test_a_command_that_asks_for_too_much_memory_is_stopped(shelf: Path, server: Server) -> None:
    limits = Limits(address_space_bytes=300 * 2**20)
    assert server.run(["inspect", "toy.fp32.onnx"], shelf, limits).exit_code != 0


def test_every_kind_has_a_trial() -> None:
    assert {trial.kind for trial in TRIALS} == KINDS.keys()
    assert all(isinstance(entry, Mutation) for kind in KINDS.values() for entry in kind.values())
