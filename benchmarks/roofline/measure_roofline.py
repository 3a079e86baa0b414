"""The roofline of every backend of a record, from the graphs behind its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.backends.backend import ONNX_RUNTIME_CPU, TRITON, model_files
from benchmarks.records.latency import summarize
from benchmarks.records.measurements import OFFLINE, LayerTime, Measurement, Peak, Roofline
from benchmarks.records.record import Record, Result
from benchmarks.roofline.graph_cost import GraphCost, graph_cost
from benchmarks.roofline.layer_times import layer_times
from benchmarks.roofline.limits import limit_of, measurement_of_limit, peak_for
from benchmarks.roofline.machine_peak import machine_peaks
from runtime.card import needed_card, read_card
from runtime.files import sha256_of


def with_roofline(record: Record, models: Sequence[Path], card_file: Path | None = None) -> Record:
    """The record with the machine's peaks, and the roofline of every result whose graph is there.

    models: the files and folders that the record was made from. The work of an engine is that of
    the ONNX file it was built from, the work of PyTorch that of the FP32 file of its weights.
    card_file: the card of models that carry none.

    Raises InputError for a graph whose work cannot be counted.
    """
    peaks = machine_peaks(record.conditions.threads)
    graphs = _graphs_by_hash(models, card_file)
    results = []
    for result in record.results:
        graph, frame = graphs.get(result.sha256), _frame_time(result)
        if result.name.startswith(TRITON):  # a server's peak is not this machine's
            graph = None
        if graph is not None and frame is not None:
            result = replace(result, roofline=_roofline(result, graph, frame, peaks, record))
        results.append(result)
    return replace(record, peaks=peaks, results=tuple(results))


def roofline(
    cost: GraphCost, peak: Peak, frame_ms: float, layers: tuple[LayerTime, ...]
) -> Roofline:
    """Of one backend. frame_ms: of one frame."""
    macs, moved_bytes = cost.macs // cost.batch, cost.bytes // cost.batch
    limit_ms = limit_of(macs, moved_bytes, peak)
    return Roofline(macs, moved_bytes, limit_ms, limit_ms / frame_ms, layers)


def _roofline(
    result: Result, graph: Path, frame: tuple[Measurement, float], peaks: Sequence[Peak], of: Record
) -> Roofline | None:
    peak = peak_for(peaks, result.device, result.precision)
    if peak is None:
        return None
    measurement, frame_ms = frame
    size = measurement.height, measurement.width
    layers: tuple[LayerTime, ...] = ()
    if result.name == ONNX_RUNTIME_CPU:
        layers = layer_times(graph, size, of.conditions.threads, measurement.batch)
    return roofline(graph_cost(graph, size), peak, frame_ms, layers)


def _frame_time(result: Result) -> tuple[Measurement, float] | None:
    """The measurement that is held against the limit, and the milliseconds of one frame in it.

    Offline it is wall time: where frames overlap, a latency includes the wait for those before.
    """
    entry = measurement_of_limit(result)
    if entry is None:
        return None
    found = summarize(entry.rounds)
    query_ms = 1e3 / found.frames_per_second if entry.scenario == OFFLINE else found.median_ms
    return entry, query_ms / entry.frames_per_query


def _graphs_by_hash(models: Sequence[Path], card_file: Path | None) -> Mapping[str, Path]:
    """The ONNX file behind a file's hash: its own, the engine's built from it, the weights'."""
    files = model_files(models)
    graphs = {sha256_of(file): file for file in files if file.suffix == ".onnx"}
    for file in files:
        card = read_card(file, needed_card(file, card_file))
        parents = card.parents
        if file.suffix == ".engine" and parents.get("onnx") in graphs:
            graphs[sha256_of(file)] = graphs[parents["onnx"]]
        elif file.suffix == ".onnx" and card.precision == "fp32":
            graphs.setdefault(parents.get("weights", ""), file)
    return graphs
