"""Options become settings on every release, and what a release lacks is refused by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from releases import NAMES, Config, release

from export.building import builder_config
from export.building.builder_config import configure, network_flags, refuse_unserved
from export.building.engine_options import EngineOptions
from runtime.errors import DeviceError, InputError

PLAIN = EngineOptions()
FULL = ("10.3.0", "10.8.0.43", "10.16.1.11", "11.4.0.106")


def asked(shared: Path, name: str, options: EngineOptions) -> dict[str, object]:
    """What the builder of a release is asked for."""
    config = Config(shared, name)
    configure(release(shared, name), config, options)
    result: dict[str, object] = config.asked
    return {key: names(value) for key, value in result.items()}


def names(value: object) -> object:
    """The names of enum members."""
    if isinstance(value, list):
        return [names(entry) for entry in value]
    return getattr(value, "name", value)


@pytest.mark.parametrize("name", NAMES)
def test_every_release_builds_with_detailed_layers_and_without_tf32(
    name: str, shared: Path
) -> None:
    # TensorRT-RTX alone has the flag that makes sure that its graphs can be captured.
    capture = {} if name in FULL else {"set_flag": ["REQUIRE_USER_ALLOCATION"]}
    assert asked(shared, name, PLAIN) == capture | {
        "builder_optimization_level": 3,
        "profiling_verbosity": "DETAILED",
        "clear_flag": ["TF32"],
    }
    assert "clear_flag" not in asked(shared, name, replace(PLAIN, tf32=True))
    assert network_flags(release(shared, name)) > 0


@pytest.mark.parametrize("name", FULL)
def test_an_engine_can_be_built_to_last_and_to_travel(name: str, shared: Path) -> None:
    options = replace(PLAIN, version_compatible=True, hardware="ampere_plus")
    settings = asked(shared, name, options)
    assert settings["set_flag"] == ["VERSION_COMPATIBLE"]
    assert settings["hardware_compatibility_level"] == "AMPERE_PLUS"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("weights", "flags"),
    [("refittable", ["REFIT"]), ("stripped", ["STRIP_PLAN", "REFIT_IDENTICAL"])],
)
def test_weights_can_be_left_out_or_open(
    name: str, weights: str, flags: list[str], shared: Path
) -> None:
    found = asked(shared, name, replace(PLAIN, weights=weights))["set_flag"]
    assert isinstance(found, list)
    assert [flag for flag in found if flag != "REQUIRE_USER_ALLOCATION"] == flags


@pytest.mark.parametrize("name", NAMES)
def test_the_workspace_is_limited_where_it_is_asked_for(name: str, shared: Path) -> None:
    settings = asked(shared, name, replace(PLAIN, workspace_mb=64))
    assert settings["set_memory_pool_limit"] == ["WORKSPACE"]
    assert "set_memory_pool_limit" not in asked(shared, name, PLAIN)


@pytest.mark.parametrize("option", ["dla", "sparsity"])
def test_what_gains_nothing_is_refused_with_the_reason(option: str) -> None:
    given = {"dla": False, "sparsity": False} | {option: True}
    with pytest.raises(InputError, match=rf"--{option} is not offered: .*Leave it out"):
        refuse_unserved(**given)
    refuse_unserved(dla=False, sparsity=False)


def test_a_level_that_a_release_lacks_is_refused(shared: Path) -> None:
    options = replace(PLAIN, hardware="same_compute_capability")
    level = asked(shared, "11.4.0.106", options)["hardware_compatibility_level"]
    assert level == "SAME_COMPUTE_CAPABILITY"
    with pytest.raises(InputError, match=r"TensorRT 10\.3\.0 does not know .*; it has ampere_plus"):
        asked(shared, "10.3.0", options)


@pytest.mark.parametrize(
    ("options", "option"),
    [
        (replace(PLAIN, version_compatible=True), "--version-compatible"),
        (replace(PLAIN, hardware="ampere_plus"), "--hardware ampere_plus"),
    ],
)
def test_what_is_not_for_rtx_is_refused(options: EngineOptions, option: str, shared: Path) -> None:
    with pytest.raises(InputError, match=rf"{option} .*TensorRT-RTX"):
        asked(shared, "rtx-1.7.1.116", options)


@pytest.mark.parametrize("name", FULL)
def test_targets_are_for_rtx_alone(name: str, shared: Path) -> None:
    with pytest.raises(InputError, match="--target is TensorRT-RTX's"):
        asked(shared, name, replace(PLAIN, targets=("sm_86",)))


def test_all_targets_of_rtx_are_offered(shared: Path) -> None:
    targets = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_120", "sm_121")
    settings = asked(shared, "rtx-1.7.1.116", replace(PLAIN, targets=targets))
    assert settings["num_compute_capabilities"] == 6
    assert settings["set_compute_capability"] == ["SM75", "SM80", "SM86", "SM89", "SM120", "SM121"]


def test_current_is_this_machines_gpu_and_stands_alone(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    current = replace(PLAIN, targets=("current",))
    monkeypatch.setattr(builder_config, "gpu_present", lambda: True)
    assert asked(shared, "rtx-1.7.1.116", current)["set_compute_capability"] == ["CURRENT"]
    with pytest.raises(InputError, match="current stands alone; found sm_86, current"):
        asked(shared, "rtx-1.7.1.116", replace(PLAIN, targets=("sm_86", "current")))
    monkeypatch.setattr(builder_config, "gpu_present", lambda: False)
    with pytest.raises(DeviceError, match="has none; name one, such as sm_86"):
        asked(shared, "rtx-1.7.1.116", current)
