"""EngineOptions to a TensorRT builder configuration, on every release.

What a release lacks is refused by name: nothing that was asked for is left out silently.
"""

from __future__ import annotations

from typing import Any

from export.building.engine_options import EngineOptions
from runtime.errors import DeviceError, InputError
from runtime.tensorrt_api import TensorRT, gpu_present


def network_flags(trt: TensorRT) -> int:
    """Strong typing has to be asked for in TensorRT 10; later it is all there is."""
    flags = trt.module.NetworkDefinitionCreationFlag
    return 1 << int(flags.STRONGLY_TYPED) if hasattr(flags, "STRONGLY_TYPED") else 0


def configure(trt: TensorRT, config: Any, options: EngineOptions) -> None:
    """Set everything but profile, timing cache and progress monitor.

    Raises InputError for what this package or release does not do, DeviceError for what needs a
    GPU where there is none.
    """
    flags = trt.module.BuilderFlag
    config.builder_optimization_level = options.optimization_level
    # So that the inspector can tell which layer runs in which precision.
    config.profiling_verbosity = trt.module.ProfilingVerbosity.DETAILED
    if not options.tf32:
        config.clear_flag(flags.TF32)
    if options.version_compatible:
        refuse_on_rtx(trt, "--version-compatible", "its engines run on the version that built it")
        config.set_flag(flags.VERSION_COMPATIBLE)
    if options.weights == "refittable":
        config.set_flag(flags.REFIT)
    elif options.weights == "stripped":
        # The same weights come back: TensorRT may then keep what it folded of them.
        config.set_flag(flags.STRIP_PLAN)
        config.set_flag(flags.REFIT_IDENTICAL)
    if hasattr(flags, "REQUIRE_USER_ALLOCATION"):
        # The runtime gives every context its memory; without the flag TensorRT-RTX may allocate
        # while it runs, and then its CUDA graphs cannot be captured.
        config.set_flag(flags.REQUIRE_USER_ALLOCATION)
    if options.workspace_mb is not None:
        workspace = trt.module.MemoryPoolType.WORKSPACE
        config.set_memory_pool_limit(workspace, options.workspace_mb * 2**20)
    _set_hardware(trt, config, options.hardware)
    _set_targets(trt, config, options.targets)


def refuse_unserved(*, dla: bool, sparsity: bool) -> None:
    """InputError for what TensorRT has and our networks gain nothing from."""
    if dla:
        raise InputError(
            "--dla is not offered: by NVIDIA's documentation a DLA computes FP16 and INT8 layers "
            "alone and no ArgMax, so that a graph from frames to masks would be split with the "
            "GPU, TensorRT 11.0 and 11.1 have no DLA, and TensorRT-RTX is for GPUs. Leave it out"
        )
    if sparsity:
        raise InputError(
            "--sparsity is not offered: it needs weights of which two in every four are zero, and "
            "nothing here trains such weights. Leave it out"
        )


def refuse_on_rtx(trt: TensorRT, option: str, reason: str) -> None:
    """InputError for an option that TensorRT-RTX has no use for."""
    if trt.name == "rtx":
        raise InputError(f"{option} is not for TensorRT-RTX: {reason}. Leave it out")


def _set_hardware(trt: TensorRT, config: Any, hardware: str) -> None:
    if hardware == "none":
        return
    refuse_on_rtx(
        trt, f"--hardware {hardware}", "it builds for all GPUs from sm_80 on, or for --target"
    )
    levels = trt.module.HardwareCompatibilityLevel
    if hardware == "ampere_plus":
        level = levels.AMPERE_PLUS
    elif hasattr(levels, "SAME_COMPUTE_CAPABILITY"):
        level = levels.SAME_COMPUTE_CAPABILITY
    else:
        raise InputError(f"{trt.title} does not know --hardware {hardware}; it has ampere_plus")
    config.hardware_compatibility_level = level


def _set_targets(trt: TensorRT, config: Any, targets: tuple[str, ...]) -> None:
    if not targets:
        return
    if not hasattr(trt.module, "ComputeCapability"):
        raise InputError(
            f"--target is TensorRT-RTX's; {trt.title} builds for the GPU it runs on. Leave it out"
        )
    members = _targets_of(trt)
    for target in targets:
        if target not in members:
            raise InputError(f"target '{target}' is unknown; expected some of {', '.join(members)}")
    if "current" in targets and len(targets) > 1:
        raise InputError(f"target current stands alone; found {', '.join(targets)}")
    if "current" in targets and not gpu_present():
        raise DeviceError(
            "target current is this machine's GPU, and it has none; name one, such as sm_86"
        )
    config.num_compute_capabilities = len(targets)
    for index, target in enumerate(targets):
        if not config.set_compute_capability(members[target], index):
            raise InputError(f"{trt.title} refuses the target {target}; leave it out")


def _targets_of(trt: TensorRT) -> dict[str, Any]:
    """RTX's targets by our name for them, oldest first: sm_75, …, and current."""
    if not hasattr(trt.module, "ComputeCapability"):
        return {}
    members = trt.module.ComputeCapability.__members__
    numbered = sorted((int(name[2:]), name) for name in members if name.startswith("SM"))
    current = {"current": members["CURRENT"]} if "CURRENT" in members else {}
    return {f"sm_{number}": members[name] for number, name in numbered} | current
