"""How near a backend comes to what the machine allows (Williams, Waterman and Patterson, Roofline,
CACM 2009).

One frame takes at least as long as its multiply-accumulates take at the machine's measured peak,
and at least as long as its frame, mask and weights take to move. The larger of both is the limit.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.records.measurements import SERVER, Measurement, Peak
from benchmarks.records.record import Result


def limit_of(macs: int, moved_bytes: int, peak: Peak) -> float:
    """The least milliseconds for so much work."""
    return 1e3 * max(macs / peak.macs_per_second, moved_bytes / peak.bytes_per_second)


def measurement_of_limit(result: Result) -> Measurement | None:
    """The one whose time is held against the limit: the first of no server."""
    found = (entry for entry in result.measurements if entry.rounds and entry.scenario != SERVER)
    return next(found, None)


def peak_for(peaks: Sequence[Peak], device: str, precision: str) -> Peak | None:
    """The device's peak in a precision. A CPU has one: its backends compute in FP32 or beside it,
    so that INT8 kernels may well pass the limit."""
    of_device = [peak for peak in peaks if peak.device == device]
    exact = [peak for peak in of_device if peak.precision == precision]
    return next(iter(exact or (of_device if device == "cpu" else ())), None)
