"""What a Triton server says of a model: its card, what it takes, what runs it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.card import Card, parse_card, read_card_file
from runtime.errors import CardError, DeviceError, InputError, MissingPackage
from runtime.remote.address import Address, parse_address

ANY_NUMBER = 2**31 - 1
ANSWER_SECONDS = 10.0  # for what costs the server nothing
UNLIMITED = -1


@dataclass(frozen=True)
class ServedModel:
    """card: what refinenet export-triton put into the model's configuration.
    sha256, size_bytes: of the file that is served; None where the server does not say.
    backend: such as python. on_gpu: whether the server computes on a GPU.
    frames, masks: the names of input and output.
    input_shape: (N, H, W, 3), None for a free dimension. batch_limits: the smallest and largest N.
    server: such as "Triton 2.51.0"."""

    address: Address
    card: Card
    sha256: str | None
    size_bytes: int | None
    backend: str
    on_gpu: bool
    frames: str
    masks: str
    input_shape: tuple[int | None, int | None, int | None, int]
    batch_limits: tuple[int, int]
    server: str


def served_model(address: str, card: str | Path | None = None) -> ServedModel:
    """Ask the server. card: of a model whose configuration holds none.

    Raises InputError for a wrong address, a model that the server does not have or that takes no
    frames; CardError without a card; DeviceError if no server answers; MissingPackage without
    tritonclient.
    """
    place = parse_address(address)
    with closing_client(place) as client:
        return describe(client, place, card)


def describe(client: Any, address: Address, card: str | Path | None) -> ServedModel:
    """The same with an open client."""
    with failures_named(address):
        metadata = client.get_server_metadata(client_timeout=ANSWER_SECONDS)
        answer = client.get_model_config(address.name, as_json=True, client_timeout=ANSWER_SECONDS)
    return from_config(answer["config"], f"Triton {metadata.version}", address, card)


def from_config(
    config: Mapping[str, Any], server: str, address: Address, card: str | Path | None = None
) -> ServedModel:
    """config: Triton's ModelConfig as JSON, in which numbers of 64 bits are strings."""
    inputs, outputs = config.get("input", []), config.get("output", [])
    kinds = [(entry.get("data_type"), [*entry.get("dims", ())][-1:]) for entry in inputs]
    types = [entry.get("data_type") for entry in outputs]
    if kinds not in ([("TYPE_UINT8", [3])], [("TYPE_UINT8", ["3"])]) or types != ["TYPE_UINT8"]:
        raise InputError(
            f"{address} takes {len(inputs)} and gives {len(outputs)} tensors of other types; "
            "expected uint8 frames (N, H, W, 3) and uint8 masks. Serve what refinenet "
            "export-triton writes"
        )
    largest = int(config.get("max_batch_size", 0))
    dims = [None if int(size) < 0 else int(size) for size in inputs[0]["dims"]]
    shape = (None, *dims) if largest else tuple(dims)
    if len(shape) != 4:
        raise InputError(f"{address} takes frames of shape {shape}; expected (N, H, W, 3)")
    limits = (1, largest or ANY_NUMBER) if shape[0] is None else (shape[0], shape[0])
    facts = {
        key: value.get("string_value", "") for key, value in config.get("parameters", {}).items()
    }
    size_bytes = facts.get("size_bytes", "")
    return ServedModel(
        address,
        _card(facts, address, card),
        facts.get("sha256"),
        int(size_bytes) if size_bytes.isdecimal() else None,
        str(config.get("backend", "")),
        any(group.get("kind") == "KIND_GPU" for group in config.get("instance_group", [])),
        inputs[0]["name"],
        outputs[0]["name"],
        (shape[0], shape[1], shape[2], 3),
        limits,
        server,
    )


def _card(facts: Mapping[str, str], address: Address, card: str | Path | None) -> Card:
    if card is not None:
        return read_card_file(card)
    if "card" not in facts:
        raise CardError(
            f"{address} is served without a card; write its repository with refinenet "
            "export-triton, or say what it is with --card FILE"
        )
    return parse_card(facts["card"], Path(address.name))


@contextmanager
def closing_client(address: Address) -> Iterator[Any]:
    """A gRPC client that is closed at the end of the block."""
    client = open_client(address)
    try:
        yield client
    finally:
        client.close()


def open_client(address: Address) -> Any:
    """A gRPC client; nothing is sent yet."""
    try:
        import tritonclient.grpc as triton
    except ModuleNotFoundError as error:
        raise MissingPackage("tritonclient", "triton", f"{address}, a served model,") from error
    options: list[tuple[str, int]] = [
        ("grpc.max_send_message_length", UNLIMITED),
        ("grpc.max_receive_message_length", UNLIMITED),
    ]
    if address.is_on_this_machine():
        options.append(("grpc.enable_http_proxy", 0))  # a proxy cannot reach this machine
    return triton.InferenceServerClient(address.server, channel_args=options)


@contextmanager
def failures_named(address: Address) -> Iterator[None]:
    """The client's errors as ours, with what to do."""
    from tritonclient.utils import InferenceServerException

    try:
        yield
    except InferenceServerException as error:
        raise _named(str(error.status()), error.message().strip(), address) from error


def _named(status: str, message: str, address: Address) -> InputError | DeviceError:
    if "DEADLINE_EXCEEDED" in status or "Deadline Exceeded" in message:
        return DeviceError(
            f"{address.server} did not answer in time; see whether the server works: "
            "deploy/triton/probe.py"
        )
    if "timeout expired" in message or "maximum queue size" in message:
        return DeviceError(
            f"{address.server} refused a frame, since it has too much to do ({message}). Send "
            "fewer at once, or export with a larger --queue-ms"
        )
    if "unknown model" in message or "NOT_FOUND" in status:
        return InputError(
            f"{address.server} serves no model '{address.name}' ({message}); see the server's log"
        )
    unreachable = ("failed to connect", "dns resolution failed")
    if "UNAVAILABLE" in status and any(words in message.lower() for words in unreachable):
        return DeviceError(
            f"no server answers at {address.server}; start Triton, or check host and port (gRPC's, "
            "8001 by default)"
        )
    return DeviceError(f"{address} failed in the server: {message} ({status})")
