"""Under which conditions a record was made, in sentences."""

from __future__ import annotations

from benchmarks.records.record import Record
from benchmarks.scenarios.scenarios import SERVER_QUERIES


def conditions_text(record: Record) -> str:
    """What was asked of every backend."""
    asked = record.conditions
    threads = "threads by each library's default"
    if asked.threads is not None:
        threads = _counted(asked.threads, "thread")
    images = _counted(len(asked.images), "real image")
    sizes = ", ".join(f"{size.height}x{size.width}" for size in asked.sizes)
    parts = [
        f"Scenario {', '.join(f'`{name}`' for name in asked.scenarios)} (MLPerf-style), "
        f"batch {', '.join(map(str, asked.batches))}, {images} at {sizes}",
        f"latency from a uint8 frame to a uint8 mask, both in host memory, {threads}",
        f"{_rounds(record)} of at least {asked.seconds:g} s and {asked.minimum_count} frames, at "
        f"most {asked.cap_seconds:g} s, after warm-up",
    ]
    if asked.latency_bound_ms is not None:
        parts.append(
            f"server under a p99 of {asked.latency_bound_ms:g} ms, "
            f"at least {SERVER_QUERIES} arrivals"
        )
    if asked.total_seconds is not None:
        parts.append(f"no further rounds after {asked.total_seconds:g} s in all")
    if asked.reference:
        parts.append(f"pixel agreement with {asked.reference} in FP32")
    if asked.labels:
        parts.append(f"mIoU on {asked.labels}")
    return "; ".join(parts) + ". ≈ marks low confidence: fewer than 100 samples lie beyond it."


def machine_text(record: Record) -> str:
    """Where, with what, and when."""
    machine, before = record.environment, record.before
    load = "" if before.load_average is None else f", load average {before.load_average:g} before"
    versions = ", ".join(f"{package} {found}" for package, found in machine.versions.items())
    commit = (machine.commit or "")[:12] + (" with changes" if machine.commit_is_dirty else "")
    parts = [
        f"{machine.cpu}, {machine.cores} cores{load}",
        *([f"{gpu.name}, driver {gpu.driver}" for gpu in machine.gpus] or ["no GPU"]),
        f"{machine.system}, Python {machine.python}, {versions}",
        *([f"commit {commit}"] if commit else []),
        before.utc,
    ]
    return "; ".join(parts) + "."


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' if count != 1 else ''}"


def _rounds(record: Record) -> str:
    asked = record.conditions
    if asked.stable_within is None:
        return f"{asked.rounds} interleaved rounds"
    return (
        f"at least {asked.rounds} interleaved rounds, until medians are stable within "
        f"{asked.stable_within:.0%} or {asked.limit_seconds:g} s are over,"
    )
