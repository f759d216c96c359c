"""Work on other threads, in order and bounded: what comes next is made ahead, what came is worked on side by side."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_END: Final = object()


def ahead(items: Iterable[_Item], depth: int = 3) -> Iterator[_Item]:
    """Give the items on in order, up to `depth` of them made before they are asked for, all on one other thread.

    It pays where making them releases the GIL, as kernels, readers and compressors do. What making one raises is raised in its
    place; nothing is made any more once the iterator is closed.

    >>> list(ahead(range(5)))
    [0, 1, 2, 3, 4]
    """
    source = iter(items)
    with ThreadPoolExecutor(1, "mbo-ahead") as maker:
        coming = deque(maker.submit(next, source, _END) for _ in range(depth))
        try:
            while (item := coming.popleft().result()) is not _END:
                coming.append(maker.submit(next, source, _END))
                yield item  # type: ignore[misc]
        finally:
            for future in coming:
                future.cancel()


def side_by_side(items: Iterable[_Item], work: Callable[[_Item], _Result], workers: int = 2) -> Iterator[_Result]:
    """Have `work` done on the items by so many threads, and give what it returns, in order.

    One more item waits at most. What the work raises is raised in the item's place; then nothing more is begun.

    >>> list(side_by_side(range(5), lambda number: number * number))
    [0, 1, 4, 9, 16]
    """
    with ThreadPoolExecutor(workers, "mbo-side") as pool:
        under_way: deque[Future[_Result]] = deque()
        try:
            for item in items:
                under_way.append(pool.submit(work, item))
                if len(under_way) > workers:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()
