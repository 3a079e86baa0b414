"""The machine is described by what it says itself, and by nothing where it says nothing."""

from pathlib import Path

import pytest

from benchmarks import environment as module
from benchmarks.environment import environment, parse_gpus
from benchmarks.record import Gpu


def test_the_environment_names_cpu_cores_and_versions() -> None:
    found = environment()
    assert found.cpu
    assert found.cores >= 1
    assert {"numpy", "torch"} <= found.versions.keys()
    assert found.utc.endswith("+00:00")


def test_gpus_are_read_line_by_line_and_missing_figures_stay_missing() -> None:
    listing = (
        "NVIDIA RTX A4000, 580.65.06, 210, 405, 12.05, 140.00, 31\n"
        "Orin (nvgpu), 540.4.0, [N/A], [N/A], [N/A], [N/A], [N/A]\n"
    )
    assert parse_gpus(listing) == (
        Gpu("NVIDIA RTX A4000", "580.65.06", 210.0, 405.0, 12.05, 140.0, 31.0),
        Gpu("Orin (nvgpu)", "540.4.0", None, None, None, None, None),
    )


def test_without_nvidia_smi_and_git_there_is_no_gpu_and_no_commit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = environment()
    assert (found.gpus, found.commit, found.commit_is_dirty) == ((), None, None)


def test_installed_inside_a_foreign_checkout_there_is_no_commit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "CHECKOUT", Path(module.__file__).resolve().parent)
    assert environment().commit is None
