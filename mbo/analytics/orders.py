"""What becomes of orders: one row for each, from entry to end, read off market by order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import numpy.typing as npt

from mbo.analytics.columns import Source, book_columns, letters, named, nullable, record_batches
from mbo.errors import RequestError
from mbo.schemas import to_arrow

if TYPE_CHECKING:
    import pyarrow as pa

    from mbo.book.interface import EqualSize

Per = Literal["order", "place"]

BEGAN: Final = ("added", "snapshot", "unknown", "moved")
"""How a row of `lifetimes` begins."""
OUTCOMES: Final = ("open", "filled", "cancelled", "modified", "cleared", "replaced", "unseen")
"""How a row of `lifetimes` ends."""
_COLUMNS: Final = ("order_id", "price", "ts_entered", "ts_first_fill", "ts_ended", "filled", "modifies")
_ROWS: Final = 1 << 12  # at first; doubled whenever they are full


def lifetimes(day: Source, *, per: Per = "order", equal_size: EqualSize = "venue") -> pa.Table:
    """Follow every order from its entry to its end; one row for each, in the order in which they were first seen.

    `day` is `Records`, an array of MBO records, or a table with the columns of MBO. Times are ts_event, the matching engine's.
    With `per="place"` an M that costs an order its place in the queue ends the row and begins another: what a fill probability by
    the queue ahead needs, for behind a new queue it is a new order.

    Columns: publisher_id, instrument_id, order_id, side; `price` (1e-9) and `size` shown at its begin; `began` and `outcome`, see
    below; `ts_entered`, `ts_first_fill`, `ts_ended`, null where it did not happen or was not seen; `filled`, the sum of its F while
    it rested (what it took as an aggressor before is not in it; of an iceberg it can be more than `size`); `modifies`, how often
    its owner changed it (an M or partial C that only follows a fill of the same event is not counted); `queue_ahead`, the size in
    front of it at its begin; `distance` (1e-9), how far its price then was behind the best of its side, negative where it
    improved it, null on an empty side.

    `began`: "added" by an A; "snapshot": restored by one, so it rested before; "unknown": first named by an M, C or F, so it rested
    before the records begin; "moved": the next place of an order. The middle two have no `queue_ahead`, "unknown" has no
    `ts_entered` and no `size`. A snapshot in the middle of the records goes on with the rows of the orders it restores.

    `outcome`: "filled" if its last C only took away what the F of the same event had filled; else "cancelled"; "modified" away to
    another place (per="place"); "cleared" by an R, a snapshot without one, or a top-of-book record; "replaced" by an A with its id;
    "open" at the end of the records; "unseen": only fills of it were seen, it never was in the book (hidden, or inside an auction).
    The sum of `filled` is the sum of all F.

    `equal_size` is the book's rule, see `mbo.book.interface`. Raises `RecordError` or `RequestError` where `day` is something else.
    """
    import pyarrow as pa

    if per not in ("order", "place"):
        raise RequestError(f"per={per!r}: it is 'order' or 'place'")
    rows = _rows(day, per == "place", equal_size)
    batch = to_arrow(rows, _COLUMNS)
    made = {name: batch.column(name) for name in _COLUMNS}
    unseen = rows["began"] == BEGAN.index("unknown")
    unknown = rows["queue_ahead"] < 0
    return pa.table(
        {
            **book_columns(rows["key"]),
            "order_id": made["order_id"],
            "side": letters(rows["side"]),
            "price": made["price"],
            "size": nullable(np.ascontiguousarray(rows["size"]), unseen),
            "began": named(rows["began"], BEGAN),
            "outcome": named(rows["outcome"], OUTCOMES),
            **{name: made[name] for name in _COLUMNS[2:]},
            "queue_ahead": nullable(np.ascontiguousarray(rows["queue_ahead"]), unknown),
            "distance": nullable(np.ascontiguousarray(rows["distance"]), unknown | (rows["distance"] == 2**63 - 1)),
        }
    )


def _rows(day: Source, places: bool, equal_size: EqualSize) -> npt.NDArray[Any]:
    from mbo import _jit
    from mbo.analytics import _life_kernels as kernels
    from mbo.book import Books

    _jit.announce("follow")
    books = Books(equal_size=equal_size)
    lives = kernels.Lives(
        np.zeros(_ROWS, kernels.LIFE),
        np.full(2 * _ROWS, -1, np.int32),
        np.zeros(1, np.int64),
        np.zeros(4, np.int64),
        places,
    )

    def follow(state: Any, batch: Any, rows: Any, start: int) -> tuple[int, int]:
        nonlocal lives
        if lives.used[0] == len(lives.rows):
            longer = np.zeros(2 * len(lives.rows), kernels.LIFE)
            longer[: len(lives.rows)] = lives.rows
            lives = lives._replace(rows=longer, table=np.full(2 * len(longer), -1, np.int32))
            kernels.reindex(lives)
        if len(lives.clears) < len(state.books):
            lives = lives._replace(
                clears=np.concatenate([lives.clears, np.zeros(len(state.books) - len(lives.clears), np.int64)])
            )
        status, done = kernels.follow(state, lives, batch, start)
        return status, done

    for records in record_batches(day):
        books._drive(follow, records, None)
    return lives.rows[: lives.used[0]]
