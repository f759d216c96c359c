"""Work on other threads, in order and bounded: what comes next is made ahead, what came is worked on side by side."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

_Item = TypeVar("_Item")
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


def side_by_side(items: Iterable[_Item], work: Callable[[_Item], object], workers: int = 2) -> Iterator[_Item]:
    """Have `work` done on the items by so many threads, and give each on, in order, when that is done.

    One more item waits at most. What the work raises is raised in the item's place; then nothing more is begun.

    >>> list(side_by_side(range(5), str))
    [0, 1, 2, 3, 4]
    """
    with ThreadPoolExecutor(workers, "mbo-side") as pool:
        under_way: deque[tuple[_Item, Future[object]]] = deque()
        try:
            for item in items:
                under_way.append((item, pool.submit(work, item)))
                if len(under_way) > workers:
                    yield _done(under_way)
            while under_way:
                yield _done(under_way)
        finally:
            for _, future in under_way:
                future.cancel()


def _done(under_way: deque[tuple[_Item, Future[object]]]) -> _Item:
    item, future = under_way.popleft()
    future.result()
    return item
