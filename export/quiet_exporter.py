"""torch.onnx.export without what it prints, writes into the file and collects on the way."""

from __future__ import annotations

import gc
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO

import onnx


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Tracing makes many objects that stay: looking through them again and again takes up to a
    seventh of the exporter's time and finds little."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def quiet_exporter() -> Iterator[None]:
    """Hide what the exporter says of packages that it looks for and of its own deprecations, and
    the graph that torch.export prints before it fails."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            redirect_stderr(StringIO()),
            redirect_stdout(StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def exporters_reason(error: BaseException) -> str:
    """What the error that the exporter's own came from says, without its pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return " ".join(lines[0].split())[:300].rstrip(".")


def forget_source(model: onnx.ModelProto) -> None:
    """Drop the exporter's notes on where in whose files each node stands: they name folders of this
    machine, quote the code of a network of the user's, and make the same export other bytes."""
    graph = model.graph
    for part in (graph, *graph.input, *graph.output, *graph.node, *graph.value_info):
        del part.metadata_props[:]
