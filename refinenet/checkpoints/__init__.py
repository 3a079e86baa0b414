"""Weights on disk: ours and the published ones, which are recognized by their keys."""
