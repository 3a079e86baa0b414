"""Frames to masks with several frames under way, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, suppress
from types import TracebackType
from typing import Any, Protocol, TypeVar

from runtime.frames import Frame, Mask
from runtime.overlap import Ahead

Finish = Callable[[], Any]  # the mask of a frame, or the masks of a batch
Start = Callable[[Any], Finish]
Item = TypeVar("Item")


class MaskStream(Iterator[Mask]):
    """The masks of a stream. Whoever stops before its end calls close(), or leaves a with block.

    dropped: how many frames were passed over for newer ones; 0 unless only the latest count.
    """

    def __init__(
        self,
        frames: Iterable[Any],
        start: Start,
        depth: int,
        *,
        latest: bool,
        ended: Callable[[], None] | None = None,
        batch: int = 1,
        alike: Callable[[Any, Any], bool] = lambda *_: True,
    ) -> None:
        """start: puts a frame under way and returns what waits for its mask.

        batch: how many frames a file takes in each call. Above 1, `start` is given a list of so
        many frames, or fewer, and what it returns waits for all their masks. Where only the latest
        counts, the list holds one frame.
        alike: whether two frames can be in one batch.

        depth: how many frames are under way at most. latest: read `frames` in a thread of its own,
        keep only the newest frame, and have one under way, so that a mask is never of an old frame.
        ended: called after the last mask, or when the stream is closed before it.
        """
        self._newest = Ahead(frames, 1, newest=True) if latest else None
        source = iter(frames) if self._newest is None else self._newest
        depth = 1 if latest else depth
        if batch == 1:
            self._masks = in_order(source, start, depth, self._end)
        else:
            groups = grouped(source, 1 if latest else batch, alike)
            self._masks = _each(in_order(groups, start, depth, self._end))
        self._ended = ended

    @property
    def dropped(self) -> int:
        return 0 if self._newest is None else self._newest.dropped

    def __next__(self) -> Mask:
        return next(self._masks)

    def close(self) -> None:
        """Forget the masks of the frames under way, once they are done; again, it does nothing.

        Where only the latest count, it also waits for the frame that is being read.
        """
        self._masks.close()
        if self._newest is not None:  # it reads even before the first mask is asked for
            self._newest.close()

    def _end(self) -> None:
        if self._ended is not None:
            self._ended()
        if self._newest is not None:
            self._newest.close()

    def __enter__(self) -> MaskStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def grouped(
    frames: Iterator[Any], count: int, alike: Callable[[Any, Any], bool]
) -> Iterator[list[Any]]:
    """Lists of `count` frames in a row; of fewer at the end, before one that is not alike, and
    before an error of `frames`."""
    group: list[Any] = []
    try:
        for frame in frames:
            if group and not alike(group[0], frame):
                yield group
                group = []
            group.append(frame)
            if len(group) == count:
                yield group
                group = []
    except Exception:
        if group:
            yield group
        raise
    if group:
        yield group


def _each(groups: Generator[list[Mask], None, None]) -> Generator[Mask, None, None]:
    with closing(groups):
        for group in groups:
            yield from group


def in_order(
    frames: Iterator[Any], start: Start, depth: int, ended: Callable[[], None]
) -> Generator[Any, None, None]:
    """Start frames until `depth` are under way, and from then on one for each mask taken.

    An error of `frames`, or of starting one, arrives after the masks of the frames before it.
    """
    under_way: deque[Finish] = deque()
    failure: Exception | None = None
    try:
        while True:
            try:
                under_way.append(start(next(frames)))
            except StopIteration:
                break
            except Exception as error:
                failure = error
                break
            if len(under_way) == depth:
                yield under_way.popleft()()
        while under_way:
            yield under_way.popleft()()
    finally:
        for finish in under_way:
            with suppress(Exception):  # the consumer has gone, or has an earlier error to see
                finish()
        ended()
    if failure is not None:
        raise failure


class Streaming(Protocol):
    """What a Segmenter has for this."""

    def stream(self, frames: Iterable[Any]) -> MaskStream: ...


def with_masks(
    segmenter: Streaming, items: Iterable[Item], frame_of: Callable[[Item], Frame]
) -> Generator[tuple[Item, Mask], None, None]:
    """Segmenter.stream of every item's frame, each mask with its item."""
    waiting: deque[Item] = deque()

    def frames() -> Iterator[Frame]:
        for item in items:
            waiting.append(item)
            yield frame_of(item)

    with closing(segmenter.stream(frames())) as masks:
        for mask in masks:
            yield waiting.popleft(), mask
