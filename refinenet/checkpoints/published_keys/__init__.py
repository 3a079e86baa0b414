"""The keys of published checkpoints, and the same weights under this project's keys: one file for
each source."""
