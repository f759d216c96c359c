"""Books as JSON, by one rule for numbers: what DBN holds in 64 bits (prices, order ids, times) is a text of decimal digits.

JavaScript and others read numbers as doubles, which hold whole numbers up to 2^53 only. Databento's own JSON has the same rule.
Everything else (sizes, counts, sequence numbers, flags) is a number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import orjson
from pydantic import BaseModel, Field

from mbo.units import format_price

if TYPE_CHECKING:
    import numpy.typing as npt

    from mbo.api.source import Instrument, View
    from mbo.book.interface import Anomaly
    from mbo.live.status import FeedStatus

Int64 = Annotated[str, Field(pattern=r"^-?[0-9]+$", examples=["64960000000"])]
"""A whole number of 64 bits as decimal digits."""


class RestingOrder(BaseModel):
    """One order, in its place; `queue_ahead` is the size before it at its price, `ts_event` since when it stands there."""

    order_id: Int64
    size: int
    queue_ahead: int
    ts_event: Int64


class PriceLevel(BaseModel):
    """One price of a side: in units of 1e-9, the same as a decimal text, the sum of its sizes, and how many orders."""

    price: Int64
    px: str
    size: int
    count: int
    orders: list[RestingOrder] | None = None


class FirstOf(BaseModel):
    """The first record that broke a rule; `index` counts the stream's records from 0."""

    index: int
    order_id: Int64
    ts_event: Int64
    sequence: int


class Counter(BaseModel):
    """How often a rule was broken, and the first record that did."""

    count: int
    first: FirstOf


class BookDocument(BaseModel):
    """A book, levels best first; see `mbo.book.render.document`. `stale`: it may be behind the exchange's."""

    symbol: str
    instrument_id: int
    publisher_id: int
    ts_event: Int64
    ts_recv: Int64
    sequence: int
    valid: bool
    synced: bool
    suspect: bool
    crossed: bool
    stale: bool
    equal_size: str
    messages: int
    events: int
    orders: int
    depth: list[int]
    digest: str | None
    counters: dict[str, Counter]
    bids: list[PriceLevel]
    asks: list[PriceLevel]


class OrderDocument(BaseModel):
    """One order, and the book's position when it was looked up."""

    symbol: str
    order_id: Int64
    side: str
    price: Int64
    px: str
    size: int
    queue_ahead: int
    ts_event: Int64
    book_ts_recv: Int64
    book_sequence: int
    stale: bool


class InstrumentDocument(BaseModel):
    """An instrument; `orders` and times are null before its first record."""

    symbol: str
    instrument_id: int
    publisher_id: int | None
    orders: int | None
    messages: int | None
    ts_recv: Int64 | None
    synced: bool | None


class InstrumentsDocument(BaseModel):
    """All instruments of the feed, and those of the store by file."""

    stale: bool
    instruments: list[InstrumentDocument]
    stored: list[StoredDocument]


class StoredDocument(BaseModel):
    """A stored file or session: the times (ts_recv) of its first and last message, and the symbols in it."""

    name: str
    dataset: str
    messages: int
    ts_min: Int64
    ts_max: Int64
    symbols: list[str]


def book_json(view: View, *, stale: bool) -> bytes:
    """Write a book."""
    status = view.status
    return orjson.dumps(
        {
            "symbol": view.symbol,
            "instrument_id": status.instrument_id,
            "publisher_id": status.publisher_id,
            "ts_event": str(status.ts_event),
            "ts_recv": str(status.ts_recv),
            "sequence": status.sequence,
            "valid": status.valid,
            "synced": status.synced,
            "suspect": status.suspect,
            "crossed": view.crossed,
            "stale": stale,
            "equal_size": "loses" if status.equal_size_loses else "keeps",
            "messages": status.messages,
            "events": status.events,
            "orders": status.orders,
            "depth": view.depths,
            "digest": view.digest,
            "counters": {rule: _counter(anomaly) for rule, anomaly in view.anomalies.items()},
            "bids": _side(view.bids, None if view.orders is None else view.orders[0]),
            "asks": _side(view.asks, None if view.orders is None else view.orders[1]),
        }
    )


def _counter(anomaly: Anomaly) -> dict[str, Any]:
    first = {"index": anomaly.index, "order_id": str(anomaly.order_id), "ts_event": str(anomaly.ts_event)}
    return {"count": anomaly.count, "first": {**first, "sequence": anomaly.sequence}}


def _side(levels: npt.NDArray[Any], orders: npt.NDArray[Any] | None) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = [
        {"price": str(price), "px": format_price(price), "size": size, "count": count}
        for price, size, count in levels.tolist()
    ]
    if orders is not None:
        by_price: dict[str, list[dict[str, Any]]] = {level["price"]: [] for level in shown}
        for order_id, _, price, size, ahead, ts_event in orders.tolist():
            if (queue := by_price.get(str(price))) is not None:
                one = {"order_id": str(order_id), "size": size, "queue_ahead": ahead, "ts_event": str(ts_event)}
                queue.append(one)
        for level in shown:
            level["orders"] = by_price[level["price"]]
    return shown


def order_json(view: View, *, stale: bool) -> bytes:
    """Write one order of a book."""
    order = view.order
    return orjson.dumps(
        {
            "symbol": view.symbol,
            "order_id": str(order.order_id),
            "side": order.side.name.lower(),
            "price": str(order.price),
            "px": format_price(order.price),
            "size": order.size,
            "queue_ahead": order.queue_ahead,
            "ts_event": str(order.ts_event),
            "book_ts_recv": str(view.status.ts_recv),
            "book_sequence": view.status.sequence,
            "stale": stale,
        }
    )


def instrument_document(one: Instrument) -> dict[str, Any]:
    """Describe an instrument in plain values."""
    status = one.status
    return {
        "symbol": one.symbol,
        "instrument_id": one.instrument_id,
        "publisher_id": None if status is None else status.publisher_id,
        "orders": None if status is None else status.orders,
        "messages": None if status is None else status.messages,
        "ts_recv": None if status is None else str(status.ts_recv),
        "synced": None if status is None else status.synced,
    }


def feed_document(status: FeedStatus | None) -> dict[str, Any] | None:
    """Describe how the feed stands in plain values."""
    if status is None:
        return None
    names = ("applied", "dropped", "connections", "connected", "stale", "ended", "gaps", "slow_warnings")
    return {name: getattr(status, name) for name in names}
