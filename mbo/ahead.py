"""Work one step ahead: what comes next is made on a second thread while what came is used."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
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
