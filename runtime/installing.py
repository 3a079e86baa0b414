"""The command that installs an extra of this project, from where this copy of it came.

The project is on no package index: people have a clone or a wheel. Standard library alone.
"""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import unquote, urlsplit

DISTRIBUTION = "refinenet-deploy"


def install(extra: str, options: str = "") -> str:
    """Such as pip install '/home/me/refinenet-deploy[rtx]'; options: further ones of pip."""
    return f"pip install {options}{' ' if options else ''}'{_source()}[{extra}]'"


def _source() -> str:
    """The clone, or the wheel that was installed; else a name to be replaced by its path."""
    root = Path(__file__).resolve().parents[1]
    if (root / "setup.py").is_file() and (root / "refinenet").is_dir():
        return str(root)
    try:
        record = distribution(DISTRIBUTION).read_text("direct_url.json")
    except PackageNotFoundError:
        return "PATH/OF/refinenet-deploy"  # the folder runtime/ alone was copied
    if record is None:
        return DISTRIBUTION  # pip found it by its name
    url = urlsplit(str(json.loads(record).get("url")))
    path = unquote(url.path)
    if url.scheme == "file" and Path(path).exists():
        return path
    if url.scheme.startswith("http"):
        return f"{DISTRIBUTION} @ {url.geturl()}"
    return f"PATH/OF/{Path(path).name or DISTRIBUTION}"
