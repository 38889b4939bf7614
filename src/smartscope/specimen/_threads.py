"""A few threads for drawing; what is drawn does not depend on how many.

Work is cut into parts by size alone, and results are put together in the order of the
parts, so the same sums are made in the same order by one thread or by ten. numpy lets
other threads run while it works through a large array.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

A = TypeVar("A")
R = TypeVar("R")

_MOST = 4
_lock = threading.Lock()
_wanted: int | None = None
_pool: tuple[int, int, ThreadPoolExecutor] | None = None


def use_threads(count: int | None) -> None:
    """Draw with `count` threads in this process; None is one per core, at most 4."""
    global _wanted
    _wanted = count


def thread_count() -> int:
    """How many threads draw."""
    return min(os.cpu_count() or 1, _MOST) if _wanted is None else _wanted


def _threads() -> ThreadPoolExecutor:
    global _pool
    with _lock:
        # A forked process has the pool but not its threads.
        wanted = (os.getpid(), thread_count())
        if _pool is None or _pool[:2] != wanted:
            made = ThreadPoolExecutor(wanted[1], thread_name_prefix="specimen")
            _pool = (*wanted, made)
        return _pool[2]


def in_order(work: Callable[[A], R], parts: Iterable[A]) -> Iterator[R]:
    """Results of `work` for each part, in order, made a little ahead."""
    if thread_count() < 2:
        yield from map(work, parts)
        return
    pool, waiting = _threads(), iter(parts)
    ahead = deque(
        pool.submit(work, part) for part in islice(waiting, 2 * thread_count())
    )
    while ahead:
        done = ahead.popleft().result()
        ahead.extend(pool.submit(work, part) for part in islice(waiting, 1))
        yield done


def bands(height: int, width: int) -> list[slice]:
    """Rows of an image in parts that fit the cache."""
    rows = max(1, 65_536 // max(width, 1))
    return [slice(top, min(top + rows, height)) for top in range(0, height, rows)]
