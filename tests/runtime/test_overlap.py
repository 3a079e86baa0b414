"""Ahead and Behind: in order, bounded, and no error or thread is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from runtime.overlap import Ahead, Behind


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name in ("ahead", "behind")]


def counted(produced: list[int], count: int) -> Iterator[int]:
    for number in range(count):
        produced.append(number)
        yield number


def test_items_come_in_order_and_no_thread_stays() -> None:
    with Ahead(range(1000), 4) as items:
        assert list(items) == list(range(1000))
        assert items.dropped == 0
    assert threads() == []


def test_no_more_is_produced_than_there_is_room_for() -> None:
    produced: list[int] = []
    with Ahead(counted(produced, 100), 4) as items:
        for consumed, _ in enumerate(items, start=1):
            # Four wait, and one is in the producer's hand.
            assert len(produced) <= consumed + 5
    assert len(produced) == 100


def test_the_next_item_is_made_while_the_consumer_works() -> None:
    second_made = threading.Event()

    def source() -> Iterator[int]:
        yield 0
        second_made.set()
        yield 1

    with Ahead(source(), 1) as items:
        next(items)
        assert second_made.wait(10)


def test_a_slow_consumer_gets_the_newest_and_the_rest_is_counted() -> None:
    all_made = threading.Event()

    def source() -> Iterator[int]:
        yield from range(50)
        all_made.set()

    with Ahead(source(), 1, newest=True) as items:
        first = next(items)
        assert all_made.wait(10)
        assert list(items) == ([49] if first < 49 else [])
        assert items.dropped == 50 - len({first, 49})


def test_an_error_comes_after_the_items_before_it() -> None:
    def failing() -> Iterator[int]:
        yield from range(3)
        raise OSError("unplugged")

    seen = []
    with Ahead(failing(), 1) as items, pytest.raises(OSError, match="unplugged"):
        seen.extend(items)
    assert seen == [0, 1, 2]


def test_closing_early_ends_the_thread() -> None:
    produced: list[int] = []
    items = Ahead(counted(produced, 10**9), 2)
    next(items)
    items.close()
    items.close()
    assert threads() == []
    assert len(produced) < 10


def test_work_behind_keeps_the_order_and_is_finished_at_the_end() -> None:
    done: list[int] = []

    def slowly(item: int) -> None:
        time.sleep(0.001)
        done.append(item)

    with Behind(slowly, 3) as work:
        for number in range(50):
            work.put(number)
            assert number - len(done) <= 4
    assert done == list(range(50))
    assert threads() == []


@pytest.mark.parametrize("count", [1, 50])
def test_an_error_of_the_work_reaches_the_caller(count: int) -> None:
    def failing(_: int) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"), Behind(failing, 2) as work:  # noqa: PT012
        for number in range(count):
            work.put(number)
    assert threads() == []
