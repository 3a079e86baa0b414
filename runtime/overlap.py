"""Work that overlaps with the caller's: items made ahead of it, and items finished behind it.

Each has one thread and a queue of bounded length, so that the slowest stage sets the pace and
memory stays bounded.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")


class Ahead(Generic[T]):
    """An iterator over `items`, which a thread of its own produces up to `length` ahead.

    newest: do not wait for a slow consumer, but drop the oldest item that is ready.
    dropped: how many were.

    An error of `items` arrives after the items before it.
    """

    def __init__(self, items: Iterable[T], length: int, *, newest: bool = False) -> None:
        self._items, self._length, self._newest = items, length, newest
        self._ready: deque[T] = deque()
        self._changed = threading.Condition()
        self._ended = self._closed = False
        self._failure: BaseException | None = None
        self.dropped = 0
        self._thread = threading.Thread(target=self._produce, name="ahead", daemon=True)
        self._thread.start()

    def _produce(self) -> None:
        try:
            for item in self._items:
                self._offer(item)
                if self._closed:
                    break
        except BaseException as error:  # raised again in the consumer's thread
            self._failure = error
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _offer(self, item: T) -> None:
        with self._changed:
            while self._is_full() and not self._newest and not self._closed:
                self._changed.wait()
            if self._closed:
                return
            if self._is_full():
                self._ready.popleft()
                self.dropped += 1
            self._ready.append(item)
            self._changed.notify_all()

    def _is_full(self) -> bool:
        return len(self._ready) >= self._length

    def __iter__(self) -> Ahead[T]:
        return self

    def __next__(self) -> T:
        with self._changed:
            while not self._ready and not self._ended:
                self._changed.wait()
            if self._ready:
                item = self._ready.popleft()
                self._changed.notify_all()
                return item
        if self._failure is not None:
            raise self._failure
        raise StopIteration

    def close(self) -> None:
        """End the thread after the item that it is producing; again, it does nothing."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def __enter__(self) -> Ahead[T]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Behind(Generic[T]):
    """Calls `work` with every item that it is given, in order, in a thread of its own.

    Leaving the block waits for the last item. An error of `work` is raised by the next put or, at
    the latest, there; the items after it are thrown away.
    """

    def __init__(self, work: Callable[[T], None], length: int) -> None:
        self._work, self._length = work, length
        self._waiting: deque[T] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._consume, name="behind", daemon=True)
        self._thread.start()

    def put(self, item: T) -> None:
        """Hand over an item; waits while `length` others do."""
        with self._changed:
            while len(self._waiting) >= self._length and self._failure is None:
                self._changed.wait()
            if self._failure is not None:
                raise self._failure
            self._waiting.append(item)
            self._changed.notify_all()

    def _consume(self) -> None:
        try:
            while (item := self._next()) is not None:
                self._work(item[0])
        except BaseException as error:  # raised again in the caller's thread
            with self._changed:
                self._failure = error
                self._waiting.clear()
                self._changed.notify_all()

    def _next(self) -> tuple[T] | None:
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            if not self._waiting:
                return None
            item = self._waiting.popleft()
            self._changed.notify_all()
            return (item,)

    def close(self) -> None:
        """Wait for the last item; again, it does nothing. Raises the error of `work`, if any."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def __enter__(self) -> Behind[T]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
