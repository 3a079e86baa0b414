"""triton://HOST:PORT/NAME: where a served model is."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import InputError

SCHEME = "triton://"
DEFAULT_PORT = 8001  # Triton's for gRPC; 8000 is HTTP, 8002 metrics
_PARTS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^/:\[\]]+)(:(?P<port>\d+))?/(?P<name>[\w.-]+)/?")


@dataclass(frozen=True)
class Address:
    """host: a name or an IP address; IPv6 without brackets. name: of the model."""

    host: str
    port: int
    name: str

    def __str__(self) -> str:
        return f"{SCHEME}{self.server}/{self.name}"

    @property
    def server(self) -> str:
        """HOST:PORT as gRPC takes it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def is_on_this_machine(self) -> bool:
        """Whether all of the host's addresses are this machine's own."""
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_DGRAM)
        except OSError:  # gRPC says what is wrong with it
            return False
        return all(_is_own(family, place) for family, _, _, _, place in found)


def is_served(model: str | Path) -> bool:
    """Whether a MODEL is an address rather than a file."""
    return isinstance(model, str) and model.startswith(SCHEME)


def model_argument(text: str) -> Path | str:
    """A MODEL of a command line: the path of a file, or an address as it is typed."""
    return text if is_served(text) else Path(text)


def parse_address(text: str) -> Address:
    """InputError unless it is triton://HOST/NAME or triton://HOST:PORT/NAME."""
    parts = _PARTS.fullmatch(text.removeprefix(SCHEME))
    port = int(parts["port"] or DEFAULT_PORT) if parts else 0
    if parts is None or not 0 < port < 2**16:
        raise InputError(
            f"{text} is no address of a served model; expected triton://HOST:PORT/NAME, such as "
            f"triton://localhost:{DEFAULT_PORT}/street"
        )
    return Address(parts["host"].strip("[]"), port, parts["name"])


def _is_own(family: int, place: object) -> bool:
    """A socket can be bound to one's own addresses alone."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((place[0], 0))  # type: ignore[index]
    except OSError:
        return False
    return True
