"""Where a served model is: parsed, printed, and known to be here or elsewhere."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from runtime.errors import InputError
from runtime.remote.address import Address, is_served, model_argument, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("triton://gpu-1/street", Address("gpu-1", 8001, "street")),
        ("triton://gpu-1:9000/street.fp16", Address("gpu-1", 9000, "street.fp16")),
        ("triton://127.0.0.1:8001/a_b-c/", Address("127.0.0.1", 8001, "a_b-c")),
        ("triton://[::1]:8001/street", Address("::1", 8001, "street")),
    ],
)
def test_an_address_is_read_and_written(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        "triton://",
        "triton://gpu-1",
        "triton://gpu-1/",
        "triton:///street",
        "triton://gpu-1:/street",
        "triton://gpu-1:0/street",
        "triton://gpu-1:65536/street",
        "triton://gpu-1:http/street",
        "triton://gpu-1/street/2",
        "triton://gpu-1/../street",
        "triton://::1/street",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="triton://HOST:PORT/NAME"):
        parse_address(text)


def test_a_path_stays_a_path() -> None:
    assert model_argument("build/street.onnx") == Path("build/street.onnx")
    assert model_argument("triton://gpu-1/street") == "triton://gpu-1/street"
    assert not is_served(Path("triton://gpu-1/street"))


def test_this_machine_is_known_by_its_addresses() -> None:
    for host in ("localhost", "127.0.0.1", socket.gethostname()):
        assert Address(host, 8001, "street").is_on_this_machine(), host
    # 192.0.2.0/24 is for documentation alone (RFC 5737).
    assert not Address("192.0.2.1", 8001, "street").is_on_this_machine()
    assert not Address("no-such-host.invalid", 8001, "street").is_on_this_machine()
