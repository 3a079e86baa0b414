"""Whole files of every kind but networks, and the server that runs commands on broken ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.reliability.confined import LIGHT, Server
from tools.reliability.shelf import fill_light


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only."""
    return fill_light(tmp_path_factory.mktemp("hostile") / "shelf")


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with Server(LIGHT) as server:
        yield server
