"""Fuzz one reader guided by its coverage; needs `pip install atheris`, which no test does.

python tools/reliability/coverage_fuzz.py card -max_total_time=60
"""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["refinenet", "runtime", "benchmarks", "json", "yaml"]):
    from tools.reliability.readers import READERS, fault_of
    from tools.reliability.shelf import fill_light


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in READERS:
        sys.exit(f"expected one of: {', '.join(READERS)}")
    name = sys.argv.pop(1)
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    shelf = fill_light(folder / "shelf")
    reader = READERS[name]
    path = shelf / (reader.file or "words")
    seeds = folder / "seeds"
    seeds.mkdir()
    (seeds / "whole").write_bytes(path.read_bytes() if reader.file else b"\1\2")
    os.chdir(shelf)

    def try_one(data: bytes) -> None:
        path.write_bytes(data)
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            fault = fault_of(reader, path)
        if fault:
            raise RuntimeError(fault)

    atheris.Setup([*sys.argv, str(seeds)], try_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
