"""A folder or file of the user's that is imported in place of one of our packages.

Our packages have plain names, and Python takes the first of a name that it finds: with python -m
that may be the user's own runtime/ in the folder that the command is started from. Standard library
alone, since it is asked when `runtime` itself is another's.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

OWN_PACKAGES = ("refinenet", "export", "runtime", "benchmarks")


def shadow() -> str | None:
    """What is wrong, in one line, where one of the packages is not ours; None where all are."""
    root = Path(__file__).resolve().parents[1]
    for package in OWN_PACKAGES:
        found = _origin(package)
        if found is not None and found.parent.parent != root:
            return (
                f"{found} is imported as '{package}' in place of this toolkit's own package, "
                f"{root / package}; rename yours, or start from another folder and leave yours "
                "out of PYTHONPATH"
            )
    return None


def _origin(package: str) -> Path | None:
    """The file that `import package` runs, or has run."""
    module = sys.modules.get(package)
    if module is not None:
        file = getattr(module, "__file__", None)
    else:
        spec = find_spec(package)
        file = spec.origin if spec is not None else None
    return None if file is None else Path(file).resolve()
