"""Levels and orders of a book as values: sequences of rows that draw themselves and hand themselves to polars and pyarrow."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar, overload

import numpy as np
import numpy.typing as npt

from mbo.records import Side
from mbo.units import decimals_of, format_price, format_time

if TYPE_CHECKING:
    from mbo.schemas import PriceAs

LEVEL_DTYPE: Final = np.dtype([("price", "<i8"), ("size", "<u8"), ("count", "<u4")])
"""One price: 1e-9 units, the sum of its sizes, how many orders. An F_TOB or F_MBP level has a size and no orders."""
ORDER_DTYPE: Final = np.dtype(
    [("order_id", "<u8"), ("side", "u1"), ("price", "<i8"), ("size", "<u4"), ("ts_event", "<u8"), ("aggregate", "?")]
)
"""One order; `ts_event` (ns UTC) is since when it has stood where it stands. `aggregate` marks an F_TOB or F_MBP level's size,
which takes an order's place in the queue without being one."""
_QUEUED_DTYPE: Final = np.dtype(
    [
        ("order_id", "<u8"),
        ("side", "u1"),
        ("price", "<i8"),
        ("size", "<u4"),
        ("queue_ahead", "<u8"),
        ("ts_event", "<u8"),
    ]
)
_MOST_ROWS_DRAWN: Final = 60


class Level(NamedTuple):
    """One price of one side: price in units of 1e-9, the sum of its sizes, and how many orders."""

    price: int
    size: int
    count: int  # type: ignore[assignment]  # the field's own name, before tuple.count


class Order(NamedTuple):
    """One resting order; `queue_ahead` is the size that stands before it at its price, `ts_event` (ns UTC) since when it stands."""

    order_id: int
    side: Side
    price: int
    size: int
    queue_ahead: int
    ts_event: int


_Row = TypeVar("_Row", bound=tuple[Any, ...])


class Rows(Generic[_Row]):
    """A read-only table: `array` is its memory, an index gives a row, a slice a table.

    Behaves as a sequence without being one by type, for polars would then read it row by row and not through Arrow.
    """

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self.array = array
        array.flags.writeable = False

    def _row(self, values: tuple[Any, ...]) -> _Row:
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.array)

    @overload
    def __getitem__(self, index: int) -> _Row: ...
    @overload
    def __getitem__(self, index: slice) -> Rows[_Row]: ...
    def __getitem__(self, index: int | slice) -> _Row | Rows[_Row]:
        if isinstance(index, slice):
            return type(self)(self.array[index])
        return self._row(self.array[index].item())

    def __iter__(self) -> Iterator[_Row]:
        return map(self._row, self.array.tolist())

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and np.array_equal(self.array, other.array)

    __hash__ = None  # type: ignore[assignment]

    def arrow(self, *, px: PriceAs = "fixed") -> Any:
        """Copy to a `pyarrow.RecordBatch`; `px` says how prices leave: "fixed" (int64, 1e-9), "decimal" or "float"."""
        from mbo.schemas import to_arrow

        return to_arrow(self.array, self.array.dtype.names or (), px=px)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        import pyarrow as pa

        batch = self.arrow()
        return pa.RecordBatchReader.from_batches(batch.schema, [batch]).__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} rows)"

    def _repr_html_(self) -> str:
        names = self.array.dtype.names or ()
        decimals = decimals_of(self.array["price"])
        write = {"price": lambda price: format_price(price, decimals), "ts_event": format_time, "side": chr}
        head = "".join(f"<th>{escape(name)}</th>" for name in names)
        rows = "".join(
            "<tr>" + "".join(f"<td>{write.get(n, str)(v)}</td>" for n, v in zip(names, row, strict=True)) + "</tr>"
            for row in self.array[:_MOST_ROWS_DRAWN].tolist()
        )
        more = (
            f"<caption>the first {_MOST_ROWS_DRAWN} of {len(self):,}</caption>" if len(self) > _MOST_ROWS_DRAWN else ""
        )
        return f"<table>{more}<tr>{head}</tr>{rows}</table>"


class Levels(Rows[Level]):
    """Levels of one side, best first."""

    def _row(self, values: tuple[Any, ...]) -> Level:
        return Level(*values)


class Orders(Rows[Order]):
    """Orders in priority order: levels best first, inside a level who is filled first."""

    def _row(self, values: tuple[Any, ...]) -> Order:
        order_id, side, *rest = values
        return Order(order_id, Side(side), *rest)


def queued(orders: npt.NDArray[Any]) -> Orders:
    """Give orders (`ORDER_DTYPE`, whole levels in priority order) with the size that stands ahead of each at its price."""
    level_begins = np.ones(len(orders), bool)
    level_begins[1:] = (orders["price"][1:] != orders["price"][:-1]) | (orders["side"][1:] != orders["side"][:-1])
    before = np.cumsum(orders["size"], dtype=np.uint64) - orders["size"]
    out = np.empty(len(orders), _QUEUED_DTYPE)
    for name in set(_QUEUED_DTYPE.names or ()) - {"queue_ahead"}:
        out[name] = orders[name]
    if len(orders):
        out["queue_ahead"] = before - before[level_begins][np.cumsum(level_begins) - 1]
    return Orders(out[~orders["aggregate"]])
