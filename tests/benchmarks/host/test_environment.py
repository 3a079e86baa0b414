"""The machine is described by what it says itself, and by nothing where it says nothing."""

from pathlib import Path

import pytest

from benchmarks.host import environment as module
from benchmarks.host.environment import environment, machine_state


def test_the_environment_names_cpu_cores_and_versions() -> None:
    found = environment()
    assert found.cpu
    assert found.cores >= 1
    assert {"numpy", "torch"} <= found.versions.keys()


def test_the_state_of_the_machine_says_when_and_how_busy() -> None:
    found = machine_state()
    assert found.utc.endswith("+00:00")
    assert found.load_average is not None
    assert found.load_average >= 0


def test_without_nvidia_smi_and_git_there_is_no_gpu_and_no_commit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = environment()
    assert (found.gpus, found.commit, found.commit_is_dirty) == ((), None, None)
    state = machine_state()
    assert (state.gpus, state.jetson) == ((), None)


def test_installed_inside_a_foreign_checkout_there_is_no_commit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "CHECKOUT", Path(module.__file__).resolve().parent)
    assert environment().commit is None
