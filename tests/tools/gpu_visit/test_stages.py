"""The stages of a visit: a step that fails stops nothing, and its results are packed at once."""

from __future__ import annotations

import re
import subprocess
import tarfile
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[3] / "tools/gpu_visit"
STAGES = ("cuda", "carry", "onnxruntime", "rtx", "rest")


def run_stage(folder: Path, steps: str, seconds: int = 60) -> tuple[int, list[str], Path]:
    """A stage of these steps alone: its exit code, what it printed, and its results, unpacked."""
    (folder / "toy.sh").write_text(f'source "{FOLDER}/steps.sh"\n{steps}\n')
    command = ["bash", folder / "toy.sh", folder / "came", folder / "kept", folder / "out"]
    done = subprocess.run([*command, str(seconds)], capture_output=True, text=True, timeout=60)
    with tarfile.open(folder / "out/toy.tar.gz") as archive:
        archive.extractall(folder / "unpacked", filter="data")
    return done.returncode, done.stdout.splitlines(), folder / "unpacked/toy"


def test_a_step_that_fails_stops_nothing_and_is_the_exit_code(tmp_path: Path) -> None:
    steps = "step first 9 sh -c 'echo said; exit 3'\nstep second 9 echo done"
    code, printed, results = run_stage(tmp_path, steps)
    assert code == 1
    assert re.fullmatch(r"== first: exit code 3, \d+ s", printed[0])
    assert printed[1] == "said"
    assert re.fullmatch(r"== second: exit code 0, \d+ s", printed[2])
    assert re.fullmatch(r"== toy: \d+ s", printed[-1])
    assert (results / "first.log").read_text() == "said\n"
    assert (results / "steps.txt").read_text().count("== ") == 3


def test_a_step_whose_time_is_up_is_ended(tmp_path: Path) -> None:
    code, printed, _ = run_stage(tmp_path, "step long 1 sleep 50\nstep second 9 echo done")
    assert code == 1
    assert printed[0].startswith("== long: exit code 124, ")
    assert printed[1].startswith("== second: exit code 0, ")


def test_what_comes_after_the_stages_time_is_not_run(tmp_path: Path) -> None:
    code, printed, results = run_stage(tmp_path, "step late 9 echo done", seconds=5)
    assert code == 1
    assert re.fullmatch(r"== late: NOT RUN, -?\d s are left", printed[0])
    assert not (results / "late.log").exists()


def test_a_stage_all_of_whose_steps_are_done_ends_with_0(tmp_path: Path) -> None:
    assert run_stage(tmp_path, "step only 9 true")[0] == 0


def test_results_are_packed_before_the_next_step_begins(tmp_path: Path) -> None:
    steps = 'step first 9 echo said\nstep second 9 tar xOf "$out/toy.tar.gz" toy/first.log'
    _, _, results = run_stage(tmp_path, steps)
    assert (results / "second.log").read_text() == "said\n"


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_says_what_it_needs(stage: str) -> None:
    done = subprocess.run(["bash", FOLDER / f"{stage}.sh"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "expected CAME KEPT OUT SECONDS" in done.stderr


def test_trainings_outlast_the_command_that_starts_them_and_end_when_told(tmp_path: Path) -> None:
    # A python3 that waits, in the place of the real one: no epoch fits into a test.
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/python3"
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\nexec sleep 50\n')
    program.chmod(0o755)
    script, kept = FOLDER / "trainings.sh", tmp_path / "kept"
    path = f"{tmp_path}/bin:/usr/bin:/bin"

    def trainings(*arguments: object) -> str:
        command = ["bash", script, *map(str, arguments)]
        done = subprocess.run(
            command, env={"PATH": path}, capture_output=True, text=True, check=True, timeout=20
        )
        return done.stdout

    started = trainings("start", kept, "cuda", "camvid", "weights")
    names = re.findall("^started: (.+)$", started, re.M)
    assert len(names) >= 2
    assert trainings("start", kept, "cuda", "camvid", "weights") == ""  # they run already
    pids = [int((kept / f"runs/{name}.pid").read_text()) for name in names]
    assert all(Path(f"/proc/{pid}").exists() for pid in pids)
    ended = trainings("end", kept)
    assert sorted(re.findall("^ended: (.+)$", ended, re.M)) == sorted(names)
    calls = (tmp_path / "calls").read_text().splitlines()
    assert len(calls) == len(names)
    assert all("--precision bf16" in call and "--device cuda" in call for call in calls)
