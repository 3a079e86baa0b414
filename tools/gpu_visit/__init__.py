"""A quarter of an hour on a machine with a GPU and no network: see docs/gpu-visit.md."""
