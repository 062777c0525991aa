"""Working ahead of use, in order: a few threads have the next values ready when they are asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


def ahead(
    keys: Iterable[Key], load: Callable[[Key], Value], threads: int = 1, depth: int = 2
) -> Generator[tuple[Key, Value], None, None]:
    """Each key with its loaded value, in order; at most `depth` values wait at any time.

    Close the iterator to stop early; it returns when the loads that had begun are over. What `load` raises is raised here.
    """
    source = iter(keys)
    with ThreadPoolExecutor(threads, thread_name_prefix="prefetch") as pool:
        waiting: deque[tuple[Key, Future[Value]]] = deque((key, pool.submit(load, key)) for key in islice(source, depth))
        try:
            while waiting:
                key, future = waiting.popleft()
                value = future.result()
                del future  # it would keep the value alive while the next one is being waited for
                waiting.extend((following, pool.submit(load, following)) for following in islice(source, 1))
                yield key, value
                del value
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
