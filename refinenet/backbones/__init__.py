"""The image classifiers that the networks are built on."""
