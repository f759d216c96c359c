"""Short streams of MBO records for the book's tests, and random ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from mbo.book import Books
from mbo.records import MBO_DTYPE, MBO_LENGTH, RTYPE_MBO, RecordArray
from mbo.units import UNDEF_PRICE, UNDEF_SIZE

LAST, TOB, SNAPSHOT, MBP, BAD_TS, MAYBE_BAD = 128, 64, 32, 16, 8, 4
TICK = 10_000_000


def record(
    action: str,
    order_id: int = 0,
    side: str = "N",
    price: int | None = None,
    size: int = 0,
    flags: int = LAST,
    **other: Any,
) -> RecordArray:
    """One record; `price` in ticks of 0.01, none is UNDEF. `publisher_id` is 1 (GLBX) and `instrument_id` 7 unless said."""
    one = np.zeros(1, MBO_DTYPE)
    one["length"], one["rtype"] = MBO_LENGTH, RTYPE_MBO
    one["action"], one["side"] = ord(action), ord(side)
    one["order_id"], one["size"], one["flags"] = order_id, size, flags
    one["price"] = UNDEF_PRICE if price is None else price * TICK
    for name, value in {"publisher_id": 1, "instrument_id": 7, **other}.items():
        one[name] = value
    return one


def tape(*lines: str, **other: Any) -> RecordArray:
    """Records from lines like `A 1 B 100 5` (action, order id, side, price in ticks, size); flags may follow, F_LAST if not.

    Times and sequence count the records: ts_event 1000, 1001 ...; ts_recv a hundred later.
    """
    records = [np.empty(0, MBO_DTYPE)]
    for number, line in enumerate(lines):
        action, order_id, side, price, size, *flags = [*line.split(), *["0", "N", "-", "0"][len(line.split()) - 1 :]]
        clock = {"ts_event": 1000 + number, "ts_recv": 1100 + number, "sequence": 10 + number}
        records.append(
            record(
                action,
                int(order_id),
                side,
                None if price == "-" else int(price),
                int(size),
                sum(map(int, flags)) if flags else LAST,
                **clock | other,
            )
        )
    return np.concatenate(records)


def wild(
    seed: int, count: int, *, ids: int = 40, prices: int = 30, books: int = 1, nonsense: float = 0.05
) -> RecordArray:
    """Random records, mostly sensible ones: few ids and prices, so that they meet; `nonsense` is the share that breaks rules."""
    random = np.random.default_rng(seed)
    records = np.zeros(count, MBO_DTYPE)
    records["length"], records["rtype"] = MBO_LENGTH, RTYPE_MBO
    records["publisher_id"] = random.integers(1, 3, count)
    records["instrument_id"] = random.integers(1, books + 1, count)
    records["order_id"] = random.integers(0, ids, count)
    records["price"] = random.integers(-prices // 2, prices // 2, count) * TICK
    records["size"] = random.integers(1, 6, count)
    records["action"] = random.choice(list(b"AACCCMMTFN"), count)
    records["side"] = random.choice(list(b"AB"), count)
    records["flags"] = random.choice([0, LAST, LAST | 2], count)
    records["ts_event"] = np.arange(count) + 1000
    records["ts_recv"] = np.arange(count) + 1100
    records["sequence"] = np.arange(count)
    odd = {
        "action": list(b"RX\x00\xffR"),
        "side": list(b"NZ\x00"),
        "price": [UNDEF_PRICE, -(2**63), 2**63 - 2, 0],
        "size": [0, UNDEF_SIZE, UNDEF_SIZE - 1],
        "flags": [
            SNAPSHOT,
            SNAPSHOT | LAST,
            TOB,
            TOB | LAST,
            MBP,
            MBP | LAST,
            MBP | SNAPSHOT,
            MAYBE_BAD,
            255,
            TOB | MBP,
        ],
    }
    for name, values in odd.items():
        where = random.random(count) < nonsense / len(odd)
        records[name][where] = random.choice(np.array(values, MBO_DTYPE[name]), int(where.sum()))
    return records


def reading_ahead(books: Books) -> None:
    """Have books ask the cache for what later records need, however small they are."""
    books._state.pool["ahead_from"] = 0
