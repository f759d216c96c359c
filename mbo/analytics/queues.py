"""Queue positions: the true ones, out of market by order, and what estimators make of market by price alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from mbo.analytics.columns import Array, Source, book_columns, letters, record_batches
from mbo.analytics.estimators import MODELS, parsed
from mbo.errors import RequestError
from mbo.schemas import to_arrow

if TYPE_CHECKING:
    import pyarrow as pa

    from mbo.analytics._watch_kernels import Watch
    from mbo.book.interface import EqualSize

_ROWS: Final = 1 << 16
_TOUCHES: Final = 32
_COLUMNS: Final = ("ts_recv", "ts_event", "order_id", "price", "size", "queue_ahead", "orders_ahead", "queue_behind")


def queue_position(
    day: Source, order_id: int | Iterable[int], *, models: Sequence[str] = (), equal_size: EqualSize = "venue"
) -> pa.Table:
    """Follow one order, or several, through its queue: where it stands after each event that touched its level.

    `day` is as in `lifetimes`. Columns: ts_recv and ts_event of the event's last record, publisher_id, instrument_id, order_id,
    side, price (1e-9), size; `queue_ahead` and `queue_behind`, the sizes before and after it at its price; `orders_ahead`. One row
    an event (a book is valid only at its F_LAST), in the order of the events, while the order rests; none if it never does. For
    every estimator in `models` (see `estimate_queue`) a column `ahead_MODEL`, float64: what it would have believed, had it been
    told the truth at the end of the event by which the order came to its place, and market by price since; 0 once it is filled in
    part.
    """
    import pyarrow as pa

    ids: list[Any] = list(order_id) if isinstance(order_id, Iterable) else [order_id]
    if not all(isinstance(one, Integral) and 0 <= int(one) < 2**64 for one in ids):
        raise RequestError(f"order_id={order_id!r}: ids are whole numbers, and floats do not hold them all")
    wanted = np.unique(np.array([int(one) for one in ids], np.uint64))
    parts = [
        _position_table(rows, estimates, models) for rows, estimates in _observe(day, wanted, 0, models, equal_size)
    ]
    return pa.Table.from_batches(parts)


def _position_table(rows: Array, estimates: Array, models: Sequence[str]) -> pa.RecordBatch:
    import pyarrow as pa

    batch = to_arrow(rows, _COLUMNS)
    made = {name: batch.column(name) for name in _COLUMNS}
    return pa.record_batch(
        {
            "ts_recv": made["ts_recv"],
            "ts_event": made["ts_event"],
            **book_columns(rows["key"]),
            "order_id": made["order_id"],
            "side": letters(rows["side"]),
            **{name: made[name] for name in _COLUMNS[3:]},
            **{
                f"ahead_{model}": pa.array(np.ascontiguousarray(estimates[:, number]))
                for number, model in enumerate(models)
            },
        }
    )


def estimator_errors(
    day: Source, models: Sequence[str] = MODELS, *, levels: int = 10, one_in: int = 1, equal_size: EqualSize = "venue"
) -> pa.Table:
    """Measure how far queue-position estimators are from the true queue, over the orders of market by order.

    Every order that comes to a place in a queue (or, by a hash of its id, about one in `one_in`) is followed there until it moves,
    leaves or is first filled. After each event that touched its level, while that is one of the best `levels` (10 at most) of its
    side, every estimator's belief is compared with the truth. An estimator is told the truth when the order comes (that is not
    counted), then what market by price tells: the level's size after the event and what traded there, and the order's own size.
    It is told so also while the level is deeper than `levels`.

    A row for every book and model: `samples`, `mean_ahead` (the true size ahead), `bias` = mean of estimate - truth (above 0: it
    believes itself farther back than it is), `mae` and `rmse`, the mean absolute and the root mean square error: float64, in
    contracts or shares. Model "true" is the true queue, whose errors are 0. See `estimate_queue` for the models.
    """
    import pyarrow as pa

    if not 1 <= levels <= 10 or one_in < 1 or not models:
        raise RequestError("estimator_errors needs levels from 1 to 10, one_in from 1 on, and a model")
    sums: dict[int, Array] = {}
    for rows, estimates in _observe(day, np.empty(0, np.uint64), one_in, models, equal_size):
        compared = (rows["watch"] == _FOLLOWED) & (rows["filled"] == 0) & (rows["depth"] < levels)
        truth, keys = rows["queue_ahead"][compared].astype(np.float64), rows["key"][compared]
        error = estimates[compared] - truth[:, None]
        for key in np.unique(keys).tolist():
            own = keys == key
            mine = error[own]
            constant = np.broadcast_to([own.sum(), truth[own].sum()], (len(models), 2))
            found = np.column_stack([constant, mine.sum(0), np.abs(mine).sum(0), (mine * mine).sum(0)])
            sums[key] = sums.get(key, 0) + found
    books = np.array(sorted(sums), np.int64)
    total = np.concatenate([np.empty((0, 5)), *(sums[key] for key in books.tolist())])
    samples, ahead, bias, absolute, square = total.T
    return pa.table(
        {
            **book_columns(np.repeat(books, len(models))),
            "model": pa.array(list(models) * len(books), pa.string()),
            "samples": samples.astype(np.int64),
            "mean_ahead": ahead / samples,
            "bias": bias / samples,
            "mae": absolute / samples,
            "rmse": np.sqrt(square / samples),
        }
    )


# ---------------------------------------------------------------- what is observed


_FOLLOWED: Final = 2  # `watch` of a row that is not the first of its place


def _observe(
    day: Source, ids: npt.NDArray[np.uint64], one_in: int, models: Sequence[str], equal_size: EqualSize
) -> Iterator[tuple[Array, Array]]:
    """Replay and give (rows, estimates) of the watched orders, batch by batch; at first none, for the columns."""
    from mbo import _jit
    from mbo.analytics import _watch_kernels as kernels
    from mbo.book import Books

    _jit.announce("observe")
    kinds, exponents = parsed(models, truth=True)
    books = Books(equal_size=equal_size)
    watch = kernels.Watch(
        ids=ids, one_in=one_in, orders=np.zeros(0, kernels.WATCHED), estimates=np.zeros((0, len(kinds))),
        marks=np.zeros(0, kernels.MARK), touches=np.zeros((0, _TOUCHES), kernels.TOUCH), touched=np.zeros(0, np.int64),
        kinds=kinds, exponents=exponents, rows=np.empty(_ROWS, kernels.ROW),
        row_estimates=np.empty((_ROWS, len(kinds))), used=np.zeros(1, np.int64),
    )  # fmt: skip
    seen: list[tuple[Array, Array]] = []

    def take() -> None:
        count = int(watch.used[0])
        seen.append((watch.rows[:count].copy(), watch.row_estimates[:count].copy()))
        watch.used[0] = 0

    def observe(state: Any, batch: Any, rows: Any, start: int) -> tuple[int, int]:
        nonlocal watch
        watch = _with_room(watch, state)
        status, done = kernels.observe(state, watch, batch, start)
        if status == kernels.FULL:
            if watch.used[0] == 0:
                longer = 2 * len(watch.rows)
                watch = watch._replace(rows=np.empty(longer, kernels.ROW), row_estimates=np.empty((longer, len(kinds))))
            take()
        elif status == kernels.FULL_TOUCHES:
            watch = watch._replace(touches=np.concatenate([watch.touches, np.zeros_like(watch.touches)], axis=1))
        return status, done

    take()
    for records in record_batches(day):
        books._drive(observe, records, None)
        take()
        yield from seen
        seen.clear()
    yield from seen


def _with_room(watch: Watch, state: Any) -> Watch:
    """Have a place for every order, level and book that the engine has room for."""
    pairs = {
        "orders": state.orders,
        "estimates": state.orders,
        "marks": state.levels,
        "touches": state.books,
        "touched": state.books,
    }
    grown: dict[str, Any] = {}
    for name, theirs in pairs.items():
        ours = getattr(watch, name)
        if len(ours) < len(theirs):
            longer = np.zeros((len(theirs), *ours.shape[1:]), ours.dtype)
            longer[: len(ours)] = ours
            grown[name] = longer
    return watch._replace(**grown) if grown else watch
