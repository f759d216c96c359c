"""How likely and how soon orders are filled, from their lifetimes; orders that leave unfilled are censored, not failures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from mbo.analytics.columns import Array, Columns, Source, columns, nullable, reader
from mbo.errors import RequestError
from mbo.units import UNDEF_TIMESTAMP, parse_interval

if TYPE_CHECKING:
    import pyarrow as pa

To = Literal["first", "completion"]

_TIMES: Final = ("ts_entered", "ts_first_fill", "ts_ended")
_NEVER: Final = 2**63 - 1


def time_to_fill(lifetimes: Source, *, to: To = "completion") -> pa.Table:
    """Estimate the distribution of the time to fill from `lifetimes`, by Kaplan and Meier's estimator.

    At each time t (`time_ns`, since entry) at which orders were filled: `at_risk`, how many were in the book until then, `filled`,
    and `probability` = 1 - the product of (1 - filled / at_risk) up to t, float64: the chance of being filled by t if nobody
    cancelled. An order that leaves unfilled, or is open at the end, is censored at that time; fills come before censorings of the
    same time (Kaplan and Meier 1958; for orders: Lo, MacKinlay and Zhang 2002, "Econometric models of limit-order executions").
    It assumes that who cancels would have been filled like the rest, which traders who cancel ahead of a move do not bear out.

    `to="first"` is the time to the first fill, "completion" to the end of an order that was filled whole. Rows that begin before
    the records do (`began` is snapshot or unknown) are left out: that they had lasted so long is no chance. What is open counts up
    to the last time in the table.
    """
    import pyarrow as pa

    durations, filled = _durations(_lives(lifetimes), to)
    times, at_risk, events = _at_risk(durations, filled)
    return pa.table(
        {"time_ns": times, "at_risk": at_risk, "filled": events, "probability": 1 - _survival(at_risk, events)}
    )


def fill_probability(
    lifetimes: Source,
    by: str = "queue_ahead",
    *,
    bins: Sequence[int] | None = None,
    within: str | None = None,
    to: To = "completion",
) -> pa.Table:
    """Estimate the chance of being filled, for the orders in each bin of a column of `lifetimes` (queue_ahead, distance, size).

    `bins` are the lower edges, by default 0, 1, 2, 4, 8 and on; a bin reaches to the next edge, without it, and what is below the
    first edge is a bin of its own. Rows where the column is null, and those that begin before the records do, are left out. A row
    for each bin that has orders:

    * `low`, `high`: its edges, null where it has no end.
    * `orders`, `filled`, `left` (cancelled or moved away unfilled), `censored` (the rest: open, cleared).
    * `share` = filled / (filled + left), float64, null where both are 0: what became of them, cancellations and all.
    * `probability`: the chance of a fill within the time `within` ("10s"; without it: ever seen) if nobody cancelled, by Kaplan and
      Meier as in `time_to_fill`, float64.

    With `to="first"` an order counts as filled from its first fill on.
    """
    import pyarrow as pa

    limit = _NEVER if within is None else parse_interval(within)
    opened = reader(lifetimes)
    if by not in opened.schema.names or not pa.types.is_integer(opened.schema.field(by).type):
        raise RequestError(f"by={by!r}: it has to be a column of whole numbers, such as queue_ahead, distance or size")
    table = opened.read_all()
    table = table.filter(table[by].is_valid())
    lives = _lives(table)
    values = table[by].to_numpy().astype(np.int64)[lives["seen"]]
    edges = _edges(values, bins)
    durations, filled = _durations(lives, to)
    gone = np.isin(lives["outcome"][lives["seen"]], (_OUTCOME["cancelled"], _OUTCOME["modified"])) & ~filled
    place = np.searchsorted(edges, values, side="right")
    found = np.unique(place)
    limits = np.concatenate([[-_NEVER], edges, [_NEVER]])
    rows = []
    for number in found.tolist():
        own = place == number
        times, at_risk, events = _at_risk(durations[own], filled[own])
        kept = times <= limit
        survival = _survival(at_risk[kept], events[kept])
        rows.append(
            (int(own.sum()), int(filled[own].sum()), int(gone[own].sum()), 1 - survival[-1] if len(survival) else 0.0)
        )
    orders, done, left, chance = (
        (np.array(column) for column in zip(*rows, strict=True)) if rows else (np.empty(0, np.int64),) * 4
    )
    return pa.table(
        {
            "low": nullable(limits[found], found == 0),
            "high": nullable(limits[found + 1], found == len(edges)),
            "orders": orders,
            "filled": done,
            "left": left,
            "censored": orders - done - left,
            "share": nullable(done / np.maximum(done + left, 1), done + left == 0),
            "probability": chance.astype(np.float64),
        }
    )


_OUTCOME: Final = {"filled": 1, "cancelled": 2, "modified": 3}


def _lives(lifetimes: Source) -> Columns:
    """Read the times, the outcome as a number (what is none of `_OUTCOME` is 0), and who was seen to enter."""
    import pyarrow as pa

    table = lifetimes if isinstance(lifetimes, pa.Table) else reader(lifetimes).read_all()
    if not {"began", "outcome"} <= set(table.column_names):
        raise RequestError("these rows have no columns began and outcome: give the table of lifetimes()")
    lives = columns(table, _TIMES)
    lives["outcome"] = np.zeros(len(table), np.int8)
    for word, code in _OUTCOME.items():
        lives["outcome"][_equal(table["outcome"], word)] = code
    lives["seen"] = _equal(table["began"], "added") | _equal(table["began"], "moved")
    return lives


def _equal(words: pa.ChunkedArray, word: str) -> Array:
    """Say which words are this one; by their numbers in each chunk's dictionary, for polars' dictionaries have no plain text."""
    import pyarrow as pa

    parts = [np.empty(0, bool)]
    for chunk in words.chunks:
        coded = chunk if pa.types.is_dictionary(chunk.type) else chunk.cast(pa.string()).dictionary_encode()
        wanted = [number for number, name in enumerate(coded.dictionary.to_pylist()) if name == word]
        parts.append(np.isin(coded.indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False), wanted))
    return np.concatenate(parts)


def _edges(values: Array, bins: Sequence[int] | None) -> Array:
    if bins is None:
        most = max(int(values.max()), 1) if len(values) else 1
        return np.array([0, *(1 << power for power in range(most.bit_length()))], np.int64)
    edges = np.array(list(bins), np.int64)
    if not len(edges) or (np.diff(edges) <= 0).any():
        raise RequestError(f"bins={list(bins)}: they are edges, each larger than the one before")
    return edges


def _durations(lives: Columns, to: To) -> tuple[Array, Array]:
    """Give how long each order that was seen to enter was there, int64 ns, and whether it was filled then."""
    if to not in ("first", "completion"):
        raise RequestError(f"to={to!r}: it is 'first' or 'completion'")
    entered, first, ended = (lives[name] for name in _TIMES)
    known = lives["seen"]
    seen = [times[times != UNDEF_TIMESTAMP] for times in (entered, first, ended)]
    last = max((int(times.max()) for times in seen if len(times)), default=0)
    filled = first != UNDEF_TIMESTAMP if to == "first" else lives["outcome"] == _OUTCOME["filled"]
    stop = np.where(ended == UNDEF_TIMESTAMP, np.uint64(last), ended)
    if to == "first":
        stop = np.where(filled, first, stop)
    durations = stop[known].astype(np.int64) - entered[known].astype(np.int64)
    return durations, filled[known]


def _at_risk(durations: Array, filled: Array) -> tuple[Array, Array, Array]:
    """Give the times of fills, how many orders were there until then, and how many of them were filled."""
    times, events = np.unique(durations[filled], return_counts=True)
    at_risk = len(durations) - np.searchsorted(np.sort(durations), times, side="left")
    return times, at_risk, events


def _survival(at_risk: Array, events: Array) -> Array:
    survival: Array = np.cumprod(1 - events / at_risk)
    return survival
