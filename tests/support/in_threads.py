"""One piece of work in several threads at once."""

from __future__ import annotations

import threading
from collections.abc import Callable


def in_four_threads(work: Callable[[int], None]) -> None:
    """Call it with 0 to 3, each in a thread of its own, and wait for all."""
    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
