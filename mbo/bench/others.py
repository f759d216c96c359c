"""Books and decoders of other people, given the very records that ours are given. What is not installed is left out, and said.

Only what they do is timed: columns, fields and objects that they take are made beforehand, unless a row's name says otherwise.
Each has to end in our book, order by order in the queues' sequence, or give the file's own bytes.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np

import mbo
from mbo.bench.machine import memory_gb_per_s
from mbo.bench.row import Row
from mbo.bench.timing import RUNS, Build
from mbo.book.interface import digest_of
from mbo.book.rows import ORDER_DTYPE
from mbo.errors import InternalError
from mbo.records import MBO_DTYPE, Action, RecordArray, Side
from mbo.simulator import write_session

DECODED: Final = 1_000_000  # records of a file
MEMORY: Final = "the speed of memory"
NAUTILUS: Final = "nautilus_trader, deltas made and applied"
NAUTILUS_MADE: Final = "nautilus_trader, deltas made beforehand"
NAUTILUS_BULK: Final = "nautilus_trader, one list of deltas made beforehand"
QUEUE: Final = "mbo-queue, all records in one call"
DETAILS: Final = {
    NAUTILUS: "OrderBook L3_MBO, a record is an OrderBookDelta from Python",
    NAUTILUS_MADE: "apply_delta only",
    NAUTILUS_BULK: "apply_deltas only",
    QUEUE: "C++; finds each fill's place in its queue too, has no batches, no instruments, and begins anew each time",
}
_BESIDE: Final = {
    "core": {
        "nautilus_trader": "nautilus_trader (make bench-env, then make bench or PYTHONPATH=.bench)",
        "mboq": "mbo-queue (likewise)",
        "databento": "databento (the extra `dev`)",
    },
    "live": {"databento": "databento (the extra `dev`)"},
    "dashboard": {"playwright": "playwright and Chromium (without them no page is drawn)"},
    "store": {"duckdb": "duckdb (make bench-env, then make bench or PYTHONPATH=.bench)"},
}
_TICK: Final = 10_000_000  # of the simulated instruments, 1e-9
_CHUNK_BYTES: Final = 1 << 16


def left_out(suites: Iterable[str]) -> list[str]:
    """Say of each suite what would run beside ours, were it installed, and what installs it."""
    absent = {
        suite: [name for package, name in _BESIDE.get(suite, {}).items() if find_spec(package) is None]
        for suite in suites
    }
    said = [f"not installed, left out of {suite}: {', '.join(names)}" for suite, names in absent.items() if names]
    if "core" in absent and not os.environ.get("MBO_DATA"):
        said.append("left out of core: the book of CLX5, for MBO_DATA does not say where real data lies")
    return said


def books(records: RecordArray) -> dict[str, Build]:
    """Give what builds each other book that is installed, of the records of one instrument that end with an event's last."""
    found: dict[str, Build] = {}
    if find_spec("nautilus_trader") is not None:
        found |= _nautilus(records)
    if find_spec("mboq") is not None:
        found[QUEUE] = _queue(records)
    return found


# ---------------------------------------------------------------- nautilus_trader's book


class _NautilusBook:
    """Its order book, for its digest."""

    def __init__(self, book: Any, price_unit: int, size_unit: int) -> None:
        self.book = book
        self._price_unit = price_unit
        self._size_unit = size_unit

    def digest(self) -> str:
        """Hash the orders of its levels, in their sequence there."""
        rows = [
            (order.order_id, side, order.price.raw // self._price_unit, order.size.raw // self._size_unit, 0, False)
            for side, levels in ((Side.BID, self.book.bids()), (Side.ASK, self.book.asks()))
            for level in levels
            for order in level.orders()
        ]
        return digest_of(np.array(rows, ORDER_DTYPE))


def _nautilus(records: RecordArray) -> dict[str, Build]:
    data, enums = import_module("nautilus_trader.model.data"), import_module("nautilus_trader.model.enums")
    instrument = import_module("nautilus_trader.model.identifiers").InstrumentId.from_str("SIM1.SIM")
    order_book = import_module("nautilus_trader.model.book").OrderBook
    size_unit = 10 ** int(import_module("nautilus_trader.model.objects").FIXED_PRECISION)
    price_unit = size_unit // 10**9
    actions, sides = enums.BookAction, {int(Side.BID): enums.OrderSide.BUY, int(Side.ASK): enums.OrderSide.SELL}
    by_action = {int(Action.ADD): actions.ADD, int(Action.MODIFY): actions.UPDATE, int(Action.CANCEL): actions.DELETE}
    make = data.OrderBookDelta.from_raw
    fields = [
        (
            instrument, by_action.get(action, actions.CLEAR), sides.get(side, enums.OrderSide.NO_ORDER_SIDE), price * price_unit, 9,
            size * size_unit, 0, number, flags, sequence, ts_event, ts_recv,
        )
        for action, side, number, price, size, flags, sequence, ts_event, ts_recv in _changes(records)
    ]  # fmt: skip
    made = [make(*one) for one in fields]
    bulk = data.OrderBookDeltas(instrument, made)

    def new() -> _NautilusBook:
        return _NautilusBook(order_book(instrument, enums.BookType.L3_MBO), price_unit, size_unit)

    one_by_one, of_made, at_once = new(), new(), new()  # each is gone on with: the records begin with a clear

    def build() -> _NautilusBook:
        apply = one_by_one.book.apply_delta
        for one in fields:
            apply(make(*one))
        return one_by_one

    def build_of_made() -> _NautilusBook:
        apply = of_made.book.apply_delta
        for delta in made:
            apply(delta)
        return of_made

    def build_at_once() -> _NautilusBook:
        at_once.book.apply_deltas(bulk)
        return at_once

    return {NAUTILUS: build, NAUTILUS_MADE: build_of_made, NAUTILUS_BULK: build_at_once}


def _changes(records: RecordArray) -> Iterator[tuple[int, ...]]:
    """Give the records that change a book, in terms of one that knows no queue's rules but takes updates of an order.

    Trades and fills are left out. A part that is cancelled becomes an update to the rest. An order that grows goes to the end of
    its queue, where an update would leave it in its place: it is cancelled and added.
    """
    resting: dict[int, tuple[int, int]] = {}
    names = ("action", "side", "order_id", "price", "size", "flags", "sequence", "ts_event", "ts_recv")
    for record in zip(*(records[name].tolist() for name in names), strict=True):
        action, side, number, price, size, *rest = record
        if action in (Action.TRADE, Action.FILL):
            continue
        if action == Action.CLEAR:
            resting.clear()
            yield (action, side, 0, 0, 0, *rest)
            continue
        stood_at, stood = resting.get(number, (price, 0))
        if action == Action.CANCEL:
            if number not in resting:  # of before the file begins: only a book that counts it has something to do
                continue
            del resting[number]
            if size < stood:
                resting[number] = (stood_at, stood - size)
                action = int(Action.MODIFY)
            yield (action, side, number, price, max(0, stood - size), *rest)
            continue
        if action == Action.MODIFY and price == stood_at and 0 < stood < size:
            yield (int(Action.CANCEL), side, number, price, 0, *rest)
            action = int(Action.ADD)
        resting[number] = (price, size)
        yield (action, side, number, price, size, *rest)


# ---------------------------------------------------------------- mbo-queue's core


class _QueueTable:
    """The orders that it gives of an instant, for their digest."""

    def __init__(self, orders: dict[str, Any]) -> None:
        self._orders = orders

    def digest(self) -> str:
        """Hash the orders in their sequence, bids first; its sides are 1 and -1."""
        rows = np.zeros(len(self._orders["order_id"]), ORDER_DTYPE)
        rows["side"] = np.where(self._orders["side"] == 1, int(Side.BID), int(Side.ASK))
        for name in ("order_id", "price", "size"):
            rows[name] = self._orders[name]
        return digest_of(rows)


def _queue(records: RecordArray) -> Build:
    fast, reference = import_module("mboq.fast"), import_module("mboq.reference")
    names = ("ts_event", "order_id", "price", "size", "flags", "action", "side")
    columns = {name: np.ascontiguousarray(records[name]) for name in names}
    after = [int(records["ts_event"].max()) + 1]

    def build() -> _QueueTable:
        # No labels of orders near the best price, and the whole book once, after its last event.
        found = fast.run(columns, tick=_TICK, label_ticks=0, queue_times=after, queue_levels=len(records))
        return _QueueTable(dict(zip(reference.QUEUE_COLUMNS, found["queue"].T, strict=True)))

    return build


# ---------------------------------------------------------------- decoders


def decoders() -> Iterator[Row]:
    """Measure reading a file, plain and with Zstandard, by ours and by Databento's own; the first of each two is ours."""
    with tempfile.TemporaryDirectory(prefix="mbo-bench-") as folder:
        for name, kind in (("session.dbn", "file"), ("session.dbn.zst", "Zstandard file")):
            path = Path(folder) / name
            write_session(path, DECODED, seed=1)
            yield from _decoded(path, kind)


def _decoded(path: Path, kind: str) -> Iterator[Row]:
    def ours() -> Iterator[tuple[int, Any]]:
        return ((len(batch), batch) for batch in mbo.read_dbn(path).batches())

    def theirs() -> Iterator[tuple[int, Any]]:
        library, header = import_module("databento_dbn"), 1
        packed = library.Compression.ZSTD if path.suffix == ".zst" else library.Compression.NONE
        decoder = library.DBNDecoder(compression=packed)
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                decoder.write(chunk)
                decoded = decoder.decode()[header:]
                header = 0
                yield len(decoded), decoded

    def array() -> Iterator[tuple[int, Any]]:
        found = import_module("databento").DBNStore.from_file(path).to_ndarray()
        yield len(found), found

    expected = mbo.read_dbn(path).load().tobytes()
    readers: dict[str, Callable[[], Iterator[tuple[int, Any]]]] = {
        f"{kind} to records": ours, f"{kind} by databento_dbn.DBNDecoder, to objects": theirs
    }  # fmt: skip
    if find_spec("databento") is not None:
        readers[f"{kind} by databento.DBNStore, to an array"] = array
    rates: dict[str, list[float]] = {name: [] for name in readers}
    for name, read in readers.items():  # a first run of each, and what comes out of it
        if b"".join(_bytes(found) for _, found in read()) != expected:
            raise InternalError(f"{name}: it gives other records than the file has")
    for _ in range(RUNS):
        for name, read in readers.items():
            begun = time.perf_counter()
            count = sum(count for count, _ in read())
            rates[name].append(count / (time.perf_counter() - begun) / 1e6)
            if count != len(expected) // MBO_DTYPE.itemsize:
                raise InternalError(f"{name}: it gives {count:,} records, not those of the file")
    details = ["in arrays, each record's length and type checked", "nothing is asked of them", ""]
    rows = [
        Row(name, DECODED, values, "M/s", detail=detail)
        for (name, values), detail in zip(rates.items(), details, strict=False)
    ]
    ratios = {row.name: rows[0].median / row.median for row in rows[1:]}
    if path.suffix == ".dbn":
        ratios[MEMORY] = rows[0].median * MBO_DTYPE.itemsize / 1e3 / memory_gb_per_s()
    rows[0].ratios.update(ratios)
    yield from rows


def _bytes(found: Any) -> bytes:
    return found.tobytes() if isinstance(found, np.ndarray) else b"".join(map(bytes, found))
