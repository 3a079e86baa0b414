"""Maintainers' programs, outside the wheel: `python -m tools.NAME --help`."""
