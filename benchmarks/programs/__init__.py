"""Programs of their own, each `python -m benchmarks.programs.NAME --help`."""
