"""The errors of refinenet-deploy, all of one tree.

    DeployError              the user's input or environment is wrong; exit code 2
    ├── InputError           a file, folder, image or option that cannot be used; a ValueError too
    │   ├── CardError        a card that is missing, malformed, or contradicts its artifact
    │   └── CheckpointError  weights that fit no known network
    ├── MissingPackage       an optional dependency is not installed
    ├── EngineMismatch       an engine built for another package, version or GPU
    ├── DeviceError          CUDA, TensorRT, ONNX Runtime or a server refused a call
    └── SourceLost           a camera or stream that went away and stayed away
    CheckFailed              the work was done and a check of it failed; exit code 1

Every message says what was found, what was expected, and what to do.
"""

from __future__ import annotations


class DeployError(Exception):
    """The user's input or environment is wrong."""

    exit_code = 2


class InputError(DeployError, ValueError):
    """A file, folder, image or option that cannot be used.

    A ValueError too, which is what a program expects of a function that is given a wrong value. So
    `except ValueError` catches it: let it pass before, where that means something else.
    """


class CardError(InputError):
    """A card that is missing, malformed, or contradicts its artifact."""


class CheckpointError(InputError):
    """Weights that fit no known network."""


class MissingPackage(DeployError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        from runtime.installing import install  # metadata of packages, for the rare case alone

        super().__init__(
            f"{purpose} needs the package {package}, which is not installed. "
            f"Install it: {install(extra)}"
        )


class EngineMismatch(DeployError):
    """An engine built for another package, version or GPU."""


class DeviceError(DeployError):
    """CUDA, TensorRT, ONNX Runtime or a server refused a call."""


class SourceLost(DeployError):
    """A camera or stream that went away and stayed away."""


class CheckFailed(Exception):
    """The work was done and a check of it failed."""

    exit_code = 1
