"""A GPU in numpy that works as late as CUDA allows, and refuses what CUDA forbids.

What is put on a stream runs when somebody waits for it and not before, or, with a seed, at random
moments before that. So a frame overwritten too early, a mask read too early and a missing wait
between two streams all show as wrong masks. Illegal use raises IllegalUse, which fails the test.
"""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
LEGACY = 1  # the default stream's own handle


class IllegalUse(AssertionError):
    """A call that CUDA or TensorRT forbids, or that leaves the process other than it was."""


@dataclass
class Mark:
    """A point in a stream's order."""

    stream: int
    done: bool = False


@dataclass
class Operation:
    run: Callable[[], None]
    waits_for: Mark | None = None


@dataclass
class Block:
    kind: str  # device, pinned or mapped
    array: Bytes
    freed: bool = False


@dataclass
class Gpu:
    """One GPU with its memory, streams, events, graphs and contexts.

    seed: run work at random moments; None: as late as possible.
    calls: the names of all calls, in order.
    free_bytes: what is left of the memory.
    """

    seed: int | None = None
    calls: list[str] = field(default_factory=list)
    free_bytes: int = 8 * 2**30
    integrated: bool = False
    failing: dict[str, int] = field(default_factory=dict)  # name: after how many calls

    def __post_init__(self) -> None:
        self.lock = threading.RLock()
        self.blocks: dict[int, Block] = {}
        self.streams: dict[int, deque[Operation]] = {LEGACY: deque()}
        self.captures: dict[int, list[Operation]] = {}
        self.captured_by: dict[int, int] = {}  # stream: thread
        self.events: dict[int, Mark | None] = {}
        self.graphs: dict[int, list[Operation]] = {}
        self.executables: dict[int, list[Operation]] = {}
        self.retained = 0
        self.launched = 0
        self._current = threading.local()
        self._handles = count(0x1000)
        self._addresses = count(0x10_0000_0000, 2**32)
        self._random = random.Random(self.seed)

    # Contexts

    @property
    def current(self) -> list[str]:
        """The thread's stack of contexts."""
        if not hasattr(self._current, "stack"):
            self._current.stack = []
        stack: list[str] = self._current.stack
        return stack

    def need_context(self, call: str) -> None:
        if not self.current:
            raise IllegalUse(f"{call} without a current context leaves the primary one behind")
        if self.current[-1] == "primary" and not self.retained:
            raise IllegalUse(f"{call} in a primary context that nobody retains")

    # Memory

    def allocate(self, kind: str, size: int) -> int:
        if size <= 0:
            raise IllegalUse(f"{size} bytes of {kind} memory")
        array = np.full(size, 0xAA, np.uint8)  # never zero by chance
        address = array.ctypes.data if kind != "device" else next(self._addresses)
        self.blocks[address] = Block(kind, array)
        return int(address)

    def mapped_address(self, address: int) -> int:
        block = self.blocks[address]
        if block.kind != "mapped":
            raise IllegalUse("a device address of memory that was not allocated as mapped")
        alias = next(self._addresses)
        self.blocks[alias] = block
        return alias

    def free(self, address: int, *kinds: str) -> None:
        block = self.blocks.get(address)
        if block is None or block.freed or block.kind not in kinds:
            raise IllegalUse(f"free of {address:#x}, which is no {' or '.join(kinds)} memory")
        block.freed = True

    def bytes_at(self, address: int, size: int, *kinds: str) -> Bytes:
        """The live memory there; kinds: which are allowed."""
        for start, block in self.blocks.items():
            offset = address - start
            if 0 <= offset < block.array.size and not block.freed:
                if block.kind not in kinds:
                    raise IllegalUse(f"{block.kind} memory where {' or '.join(kinds)} is needed")
                if offset + size > block.array.size:
                    raise IllegalUse(f"{size} bytes at {offset} of a block of {block.array.size}")
                return block.array[offset : offset + size]
        raise IllegalUse(f"{address:#x} is not allocated, or was freed")

    def alive(self) -> dict[str, int]:
        """What is not freed, by kind: all 0 after a clean end."""
        blocks = {id(block): block for block in self.blocks.values() if not block.freed}
        return {
            "blocks": len(blocks),
            "streams": len(self.streams) - 1,
            "events": len(self.events),
            "graphs": len(self.graphs) + len(self.executables),
            "contexts": self.retained,
        }

    # Work

    def new_handle(self) -> int:
        return next(self._handles)

    def queue(self, stream: int, operation: Operation) -> None:
        if stream not in self.streams:
            raise IllegalUse(f"work for stream {stream:#x}, which does not exist or was destroyed")
        if stream in self.captures:
            if operation.waits_for is not None:
                raise IllegalUse("a wait for an event outside of the capture")
            self.captures[stream].append(operation)
        else:
            self.streams[stream].append(operation)

    def record(self, event: int, stream: int) -> None:
        if event not in self.events:
            raise IllegalUse(f"event {event:#x} does not exist or was destroyed")
        mark = Mark(stream)
        self.events[event] = mark

        def reached() -> None:
            mark.done = True

        self.queue(stream, Operation(reached))

    def wait(self, stream: int, event: int) -> None:
        if event not in self.events:
            raise IllegalUse(f"event {event:#x} does not exist or was destroyed")
        mark = self.events[event]
        if mark is not None:
            self.queue(stream, Operation(lambda: None, waits_for=mark))

    def finish(self, stream: int) -> None:
        """Run what the stream holds, and of the others only what it waits for."""
        if stream not in self.streams:
            raise IllegalUse(f"stream {stream:#x} does not exist or was destroyed")
        if stream in self.captures:
            raise IllegalUse("waiting for a stream that is being captured")
        while self.streams[stream]:
            self._step(stream)
            self.drift()

    def _step(self, stream: int) -> None:
        operation = self.streams[stream][0]
        mark = operation.waits_for
        while mark is not None and not mark.done:
            self._step(mark.stream)
        self.streams[stream].popleft().run()

    def drift(self) -> None:
        """Some work, at some moment."""
        if self.seed is None:
            return
        for _ in range(self._random.choice((0, 0, 1, 2))):
            busy = [
                stream
                for stream, waiting in self.streams.items()
                if waiting and (waiting[0].waits_for is None or waiting[0].waits_for.done)
            ]
            if busy:
                self.streams[self._random.choice(busy)].popleft().run()

    def copy(self, target: int, source: int, size: int, to: tuple[str, ...], of: tuple[str, ...]):
        """The copy as work; both ends are checked now and again when it runs."""

        def run() -> None:
            self.bytes_at(target, size, *to)[:] = self.bytes_at(source, size, *of)

        self.bytes_at(target, size, *to)
        self.bytes_at(source, size, *of)
        return Operation(run)

    def fails(self, call: str) -> bool:
        """Whether this call was told to fail now."""
        self.calls.append(call)
        if call not in self.failing:
            return False
        self.failing[call] -= 1
        return self.failing[call] < 0
