"""A book as a document for machines, and as a ladder in text for people; `mbo.book.picture` draws the same for notebooks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from mbo.records import Side
from mbo.units import decimals_of, format_price, format_time

if TYPE_CHECKING:
    from mbo.book.interface import L3Book
    from mbo.book.rows import Level, Levels

LADDER_DEPTH: Final = 10
_FIRST: Final = ("index", "order_id", "ts_event", "sequence")
_BAR_CELLS: Final = 16
_COLUMNS: Final = ("orders", "bid size", "price", "ask size", "orders")


def document(book: L3Book, *, depth: int | None = None, orders: bool = False) -> dict[str, Any]:
    """Describe a book in plain values, ready for JSON.

    `bids` and `asks` are best first, all levels or `depth` of them, each with `price` (integer, 1e-9), `px` (the same as a decimal
    text), `size` and `count`; with `orders` every level lists its orders in priority order. Times are ns since 1970 UTC.
    `counters` has every rule that a record broke: how often, and the first record.
    """
    status = book.status
    return {
        "symbol": book.symbol or str(status.instrument_id),
        "instrument_id": status.instrument_id,
        "publisher_id": status.publisher_id,
        "ts_event": status.ts_event,
        "ts_recv": status.ts_recv,
        "sequence": status.sequence,
        "valid": status.valid,
        "synced": status.synced,
        "suspect": status.suspect,
        "crossed": book.crossed,
        "equal_size": "loses" if status.equal_size_loses else "keeps",
        "messages": status.messages,
        "events": status.events,
        "orders": status.orders,
        "digest": book.digest(),
        "counters": {
            rule: {"count": anomaly.count, "first": {name: getattr(anomaly, name) for name in _FIRST}}
            for rule, anomaly in book.anomalies.items()
        },
        "bids": _side_document(book, Side.BID, depth, orders),
        "asks": _side_document(book, Side.ASK, depth, orders),
    }  # fmt: skip


def _side_document(book: L3Book, side: Side, depth: int | None, orders: bool) -> list[dict[str, Any]]:
    levels: list[dict[str, Any]] = [
        {"price": level.price, "px": format_price(level.price), "size": level.size, "count": level.count}
        for level in book.levels(side, depth)
    ]
    for index, level in enumerate(levels if orders else []):
        level["orders"] = [
            {"order_id": order.order_id, "size": order.size, "ts_event": order.ts_event}
            for order in book.orders(side, level=index)
        ]
    return levels


def headline(book: L3Book) -> str:
    """Say in one line what a ladder shows and how far it can be trusted."""
    notes = doubts(book)
    return standing(book) + (f"  ({'; '.join(notes)})" if notes else "")


def standing(book: L3Book) -> str:
    """Say whose book it is, as of when (ts_recv), and how many orders it has."""
    status = book.status
    when = format_time(status.ts_recv) if status.messages else "no records"
    return f"{book.symbol or status.instrument_id}  {when}  {status.orders:,} orders"


def doubts(book: L3Book) -> list[str]:
    """Say what keeps a book from being trusted; nothing where nothing does."""
    status = book.status
    notes = [] if status.synced else ["not synced: orders from before the data are missing"]
    notes += ["suspect: a gap, or inferred"] if status.suspect else []
    notes += ["crossed"] if book.crossed else []
    return notes + ([] if status.valid or not status.messages else ["inside an event"])


def bbo_text(book: L3Book) -> tuple[str, str]:
    """Write the best bid and ask as "price x size (orders)"; a side without levels is a dash."""
    bids, asks, write, _ = best_levels(book, 1)
    bid, ask = (
        f"{write(side[0])} x {side[0].size:,} ({count_text(side[0])})" if len(side) else "-" for side in (bids, asks)
    )
    return bid, ask


def ladder_text(book: L3Book, depth: int = LADDER_DEPTH) -> str:
    """Draw the best `depth` levels of each side as text, asks on top, the best of each side nearest the middle."""
    bids, asks, write, largest = best_levels(book, depth)
    wide = _BAR_CELLS + 10
    count, bid, price, ask, _ = _COLUMNS
    lines = [headline(book), f"{count:>7} {bid:>{wide}} {price:^14} {ask:<{wide}} {count:<7}"]
    for level in reversed(asks):
        bar = _bar(level.size, largest)
        lines.append(f"{'':>34} {write(level):^14} {level.size:<9,} {bar:<{_BAR_CELLS}} {count_text(level):<7}")
    for level in bids:
        bar = _bar(level.size, largest)
        lines.append(f"{count_text(level):>7} {bar:>{_BAR_CELLS}} {level.size:>9,} {write(level):^14}")
    return "\n".join(line.rstrip() for line in lines)


def best_levels(book: L3Book, depth: int) -> tuple[Levels, Levels, Callable[[Level], str], int]:
    """Give `depth` levels of the bids and the asks, best first, how to write their prices, and the largest size of them."""
    bids, asks = book.levels(Side.BID, depth), book.levels(Side.ASK, depth)
    decimals = decimals_of(level.price for side in (bids, asks) for level in side)
    largest = max((level.size for side in (bids, asks) for level in side), default=1)
    return bids, asks, lambda level: format_price(level.price, decimals), largest


def count_text(level: Level) -> str:
    """Write how many orders a level has; a top-of-book feed does not say."""
    return f"{level.count:,}" if level.count else "-"


def _bar(size: int, largest: int) -> str:
    return "█" * max(1, round(size / largest * _BAR_CELLS))
