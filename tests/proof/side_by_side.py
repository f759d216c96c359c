"""A fast book and a readable one, compared by everything that the interface says of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from mbo.book import L3Book
from mbo.book import engine as engine_module


def assert_alike(fast: L3Book, slow: L3Book, *, numbered: bool = True) -> None:
    """`numbered` says that both number their records alike, and not one of them among other instruments' records."""
    assert fast.status == slow.status
    assert _anomalies(fast, numbered) == _anomalies(slow, numbered)
    assert fast.bbo == slow.bbo
    assert fast.crossed == slow.crossed
    for side in ("bid", "ask"):
        assert fast.levels(side) == slow.levels(side)
        assert fast.depth(side) == slow.depth(side)
    assert fast.orders() == slow.orders()
    assert fast.digest() == slow.digest()
    for order in slow.orders():
        if order.order_id:  # an aggregate has no id, and an order of id 0 may stand beside it
            assert fast.order(order.order_id) == slow.order(order.order_id)


def _anomalies(book: L3Book, numbered: bool) -> dict[str, object]:
    return {rule: first if numbered else replace(first, index=0) for rule, first in book.anomalies.items()}


@contextmanager
def sizes(orders: int, levels: int, rungs: int, books: int) -> Iterator[None]:
    """Let books begin with arrays of these lengths."""
    with pytest.MonkeyPatch.context() as patch:
        for name, size in (("_ORDERS", orders), ("_LEVELS", levels), ("_RUNGS", rungs), ("_BOOKS", books)):
            patch.setattr(engine_module, name, size)
        yield
