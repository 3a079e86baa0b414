"""What all tests share: the real data beside the checkout, and the shipped weights' exports."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the checkout; tests that need it are skipped without it."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("the data in ../shared is not on this machine")
    return folder


@pytest.fixture(scope="session")
def camvid(shared: Path) -> Path:
    """CamVid's folder: 367 training and 101 validation images, 360x480, with labels."""
    return shared / "data/camvid"


@pytest.fixture(scope="session")
def photo() -> Path:
    """The outdoor photo of the demo, 427x640."""
    return ROOT / "demo/china.jpg"
