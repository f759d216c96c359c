"""Whole books as rows of mbo.book_snapshots, and back into an engine that goes on where they were taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from mbo.book import ANOMALIES, Anomaly, Book, Books
from mbo.book.rows import ORDER_DTYPE
from mbo.records import MBO_DTYPE, MBO_LENGTH, RTYPE_MBO, Action, Flag, RecordArray, Side
from mbo.store.columns import BUILD
from mbo.symbols import SymbolMap
from mbo.units import UNDEF_PRICE

if TYPE_CHECKING:
    import pyarrow as pa

_SLOT_FIELDS: Final = (
    "ts_recv", "ts_event", "sequence", "channel_id", "flags", "synced", "suspect", "in_snapshot", "messages", "events",
)  # fmt: skip
_RULES: Final = tuple(ANOMALIES)
_UNSIGNED: Final = 2**64 - 1


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """A book after message `row_num` of its file.

    `base`: it stands at the end of an event with a time, so that a replay to an instant may begin with it. `ts_high` is the latest
    ts_recv of any such end so far, `segment` bounds the ts_recv of the messages since the snapshot before; ns UTC, -1 for none.
    """

    publisher_id: int
    instrument_id: int
    row_num: int
    base: bool
    ts_high: int
    segment: tuple[int, int]
    slot: dict[str, int]
    """What the engine keeps of a book beside its orders."""
    orders: npt.NDArray[Any]
    """`ORDER_DTYPE`, in priority order."""
    anomalies: dict[str, Anomaly]


def take(books: Books, book: Book, *, row_num: int, base: bool, ts_high: int, segment: tuple[int, int]) -> Snapshot:
    """Copy a book."""
    row = books._state.books[book._index]
    status = book.status
    slot = {name: int(row[name]) for name in _SLOT_FIELDS}
    return Snapshot(
        status.publisher_id,
        status.instrument_id,
        row_num,
        base,
        ts_high,
        segment,
        slot,
        book._all_orders(),
        book.anomalies,
    )


def restore(snapshot: Snapshot, symbols: SymbolMap) -> Books:
    """Build the book again, with its counters and anomalies: what follows does to it what it did to the one it was taken of."""
    books = Books(symbols=symbols)
    books.apply(_records(snapshot))
    slot = books._state.books[0]
    for name, value in snapshot.slot.items():
        slot[name] = value
    kept = books._state.anomalies[0]
    kept[:] = np.zeros(1, kept.dtype)
    for rule, anomaly in snapshot.anomalies.items():
        values = (anomaly.count, anomaly.index, anomaly.order_id, anomaly.ts_event, anomaly.sequence)
        kept[_RULES.index(rule)] = values
    return books


def _records(snapshot: Snapshot) -> RecordArray:
    """Write the orders as messages: an R, then an A for each."""
    orders = snapshot.orders
    records = np.zeros(len(orders) + 1, MBO_DTYPE)
    records["length"], records["rtype"] = MBO_LENGTH, RTYPE_MBO
    records["publisher_id"], records["instrument_id"] = snapshot.publisher_id, snapshot.instrument_id
    records["flags"] = int(Flag.SNAPSHOT)
    clear, adds = records[:1], records[1:]
    clear["action"], clear["side"], clear["price"] = Action.CLEAR, Side.NONE, UNDEF_PRICE
    for name in ("order_id", "side", "price", "size", "ts_event"):
        adds[name] = orders[name]
    adds["action"] = Action.ADD
    adds["flags"][orders["aggregate"]] |= np.uint8(Flag.MBP)
    records["flags"][-1] |= np.uint8(Flag.LAST)
    return records


def to_rows(snapshots: Sequence[Snapshot], file_id: int) -> pa.RecordBatch:
    """Make rows of mbo.book_snapshots."""
    import pyarrow as pa

    def column(values: list[Any], kind: pa.DataType) -> pa.Array:
        return pa.array(values, kind)

    rows: dict[str, Any] = {
        "publisher_id": column([one.publisher_id for one in snapshots], pa.uint16()),
        "instrument_id": column([one.instrument_id for one in snapshots], pa.uint32()),
        "file_id": column([file_id] * len(snapshots), pa.uint64()),
        "row_num": column([one.row_num for one in snapshots], pa.uint64()),
        "build": column([BUILD] * len(snapshots), pa.uint16()),
        "base": column([int(one.base) for one in snapshots], pa.uint8()),
        "ts_high": column([one.ts_high for one in snapshots], pa.int64()),
        "segment_low": column([one.segment[0] for one in snapshots], pa.int64()),
        "segment_high": column([one.segment[1] for one in snapshots], pa.int64()),
    }
    for name, (kind, signed) in _SLOT_TYPES.items():
        values = [one.slot[name] for one in snapshots]
        if signed:
            values = [value - 2**64 if value >= 2**63 else value for value in values]
            rows[name] = pa.array(values, pa.timestamp("ns", "UTC"))
        else:
            rows[name] = pa.array(values, getattr(pa, kind)())
    ends = np.cumsum([0, *(len(one.orders) for one in snapshots)])
    orders = np.concatenate([np.empty(0, ORDER_DTYPE), *(one.orders for one in snapshots)])
    for name in ("order_id", "side", "price", "size", "ts_order", "aggregate"):
        rows[name] = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.array(_order_field(orders, name)))
    found = [list(one.anomalies.items()) for one in snapshots]
    rows["anomaly"] = pa.array([[rule for rule, _ in one] for one in found], pa.list_(pa.string()))
    for name in ("count", "index", "order_id", "ts_event", "sequence"):
        kind = pa.uint32() if name == "sequence" else pa.uint64()
        rows[f"anomaly_{name}"] = pa.array([[getattr(a, name) for _, a in one] for one in found], pa.list_(kind))
    return pa.record_batch(rows)


_SLOT_TYPES: Final = {
    "ts_recv": ("", True), "ts_event": ("", True), "sequence": ("uint32", False), "channel_id": ("uint8", False),
    "flags": ("uint8", False), "synced": ("uint8", False), "suspect": ("uint8", False), "in_snapshot": ("uint8", False),
    "messages": ("uint64", False), "events": ("uint64", False),
}  # fmt: skip


def _order_field(orders: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
    if name == "ts_order":
        return np.ascontiguousarray(orders["ts_event"]).view(np.int64)
    values = np.ascontiguousarray(orders[name])
    return values.view(np.uint8) if name == "aggregate" else values


def from_row(table: pa.Table) -> Snapshot:
    """Read one row back."""
    import pyarrow as pa

    one: dict[str, Any] = {}
    lists: dict[str, npt.NDArray[Any]] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        whole = column.combine_chunks()
        if isinstance(whole, pa.ChunkedArray):
            whole = whole.chunk(0)
        if pa.types.is_list(whole.type) and name in _ORDER_FIELDS:
            lists[name] = np.asarray(whole.flatten())
        else:
            one[name] = (whole.view(pa.int64()) if pa.types.is_timestamp(whole.type) else whole).to_pylist()[0]
    orders = np.zeros(len(lists["order_id"]), ORDER_DTYPE)
    for name in ("order_id", "side", "price", "size", "aggregate"):
        orders[name] = lists[name]
    orders["ts_event"] = lists["ts_order"].view(np.uint64)
    columns = [one[f"anomaly_{name}"] for name in ("count", "index", "order_id", "ts_event", "sequence")]
    anomalies = {rule: Anomaly(*values) for rule, *values in zip(one["anomaly"], *columns, strict=True)}
    slot = {name: one[name] & _UNSIGNED for name in _SLOT_FIELDS}
    return Snapshot(
        one["publisher_id"], one["instrument_id"], one["row_num"], bool(one["base"]), one["ts_high"],
        (one["segment_low"], one["segment_high"]), slot, orders, anomalies,
    )  # fmt: skip


_ORDER_FIELDS: Final = frozenset({"order_id", "side", "price", "size", "ts_order", "aggregate"})
