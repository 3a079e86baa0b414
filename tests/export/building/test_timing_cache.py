"""Measured times are kept whole, by package, version and GPU, whoever else builds meanwhile."""

from __future__ import annotations

import multiprocessing
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from export.building.timing_cache import TimingCache
from runtime.errors import InputError
from runtime.tensorrt_api import TensorRT
from tools.reliability.simulated_timing import GPU, TRT, Config, build, kernels


def test_a_build_knows_what_the_last_one_measured(tmp_path: Path) -> None:
    build(tmp_path, "conv")
    config = Config()
    TimingCache(tmp_path, TRT, GPU).lend(config)
    assert set(config.times.known) == {"conv"}


def test_each_package_version_and_gpu_has_a_file_of_its_own(tmp_path: Path) -> None:
    others = (
        (TensorRT("tensorrt", "11.4.0.106", SimpleNamespace()), GPU),
        (TRT, "NVIDIA RTX A4000 sm_89"),
        (TRT, "Orin sm_87"),
    )
    files = {TimingCache(tmp_path, trt, gpu).file.name for trt, gpu in ((TRT, GPU), *others)}
    assert len(files) == 4
    assert "tensorrt-10.16.1.11-NVIDIA-RTX-A4000-sm_86.timing" in files


def test_times_of_a_build_that_ended_meanwhile_are_kept(tmp_path: Path) -> None:
    cache, config = TimingCache(tmp_path, TRT, GPU), Config()
    cache.lend(config)
    build(tmp_path, "theirs")
    config.times.known["ours"] = 2
    cache.keep(config)
    assert kernels(tmp_path) == {"ours", "theirs"}


def test_builds_side_by_side_lose_nothing(tmp_path: Path) -> None:
    names = {f"kernel {number}" for number in range(12)}
    builds = [multiprocessing.Process(target=build, args=(tmp_path, name)) for name in names]
    for process in builds:
        process.start()
    for process in builds:
        process.join()
    assert kernels(tmp_path) == names
    assert {path.suffix for path in tmp_path.iterdir()} == {".timing", ".lock"}


@pytest.mark.parametrize("content", [b"damaged", b'{"of another GPU": 1}'])
def test_what_cannot_be_joined_is_not_overwritten(content: bytes, tmp_path: Path) -> None:
    cache, config = TimingCache(tmp_path, TRT, GPU), Config()
    cache.lend(config)
    cache.file.write_bytes(content)  # by another, while this one builds
    with pytest.raises(InputError, match=re.escape(str(cache.file))):
        cache.keep(config)
    assert cache.file.read_bytes() == content


def test_times_of_another_machine_are_refused(tmp_path: Path) -> None:
    build(tmp_path, "conv")
    with pytest.raises(InputError, match=re.escape(str(tmp_path))):
        TimingCache(tmp_path, TRT, GPU).lend(Config(accepts=False))
