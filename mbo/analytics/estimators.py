"""Queue-position estimators: what market by price alone tells of how much stands ahead of an order."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from mbo.analytics.columns import (
    KEYS,
    Array,
    Columns,
    Source,
    columns,
    key_columns,
    keys_of,
    level_count,
    nullable,
    reader,
)
from mbo.errors import RequestError, TimeError
from mbo.records import Action, Flag, Side
from mbo.units import UNDEF_PRICE, Time, parse_time

if TYPE_CHECKING:
    import pyarrow as pa

    from mbo.book.interface import SideLike

MODELS: Final = ("risk_averse", "log", "power1", "power2", "power3")
"""The estimators that `estimator_errors` compares unless told otherwise."""


def estimate_queue(
    mbp: Source,
    side: SideLike,
    price: int,
    entered: Time,
    *,
    ahead: int | None = None,
    size: int = 0,
    until: Time | None = None,
    models: Sequence[str] = MODELS,
) -> pa.Table:
    """Estimate the size ahead of an order from market by price of one book, event by event.

    The order joined `price` (1e-9) on `side` by the event that was the last at `entered` (ts_recv), with the size `ahead` in front
    of it, or behind all that stood there then. `size` is its own, if it is one of those in the data; 0 is an order that is not, as
    in a backtest. With V the size ahead, X the others' size at the price (the level's, less `size`), and after each event the
    traded size N and the X' that is left:

    1. trades come off the front: V becomes max(V - N, 0), and X becomes max(X - N, 0);
    2. what else is gone, D = X - X' > 0, was cancelled, and p D of it ahead: V becomes max(V - p D, 0);
    3. what is new stands behind; V is at most X'.

    p = f(V) / (f(V) + f(X - V)) (Rigtorp 2013, "Estimating order queue position"; the backtester hftbacktest calls 1 - p its
    probability model). The models: "risk_averse", p = 0: only trades bring it forward; "log": f(x) = log(1 + x); "powerN", such as
    "power1" or "power2.5": f(x) = x^N, of which 1 spreads cancellations evenly.

    A row for every event from `entered` up to `until`: ts_recv, ts_event, publisher_id, instrument_id, `queue_size` (the level's
    size, null while it is deeper than the rows show), `traded`, and for every model `ahead_MODEL`, float64, in contracts or shares.
    What happens while the level is not visible is taken in when it is again. Raises `RequestError` where the rows are of several
    books, or do not show the level when the order enters, `TimeError` where none is as early as `entered`.
    """
    import pyarrow as pa

    from mbo.analytics import _watch_kernels as kernels
    from mbo.book.interface import as_side

    kinds, exponents = parsed(models, truth=False)
    opened = reader(mbp)
    letter = "bid" if as_side(side) == Side.BID else "ask"
    levels = level_count(opened.schema.names)
    names = [f"{letter}_{what}_{level:02}" for what in ("px", "sz") for level in range(levels)]
    rows = columns(opened, [*KEYS, "action", "side", "price", "size", "flags", *names])
    if len(np.unique(keys_of(rows))) > 1:
        raise RequestError("these rows are of several books: select one symbol and publisher")
    ends = _event_ends(rows)
    times = rows["ts_recv"][ends]
    begun = np.flatnonzero(times <= np.uint64(parse_time(entered)))
    if not len(begun):
        raise TimeError(f"no event is as early as {entered}")
    traded = _traded_at(rows, as_side(side), price)
    volumes = np.add.reduceat(traded, np.concatenate([[0], ends[:-1] + 1]))
    stop = len(ends) if until is None else int(np.searchsorted(times, np.uint64(parse_time(until)), side="right"))
    chosen = slice(int(begun[-1]), max(stop, int(begun[-1])))
    last = ends[chosen]
    standing = _size_at(rows, last, letter, price, levels)
    others = np.where(standing < 0, -1.0, np.maximum(standing - size, 0).astype(np.float64))
    if len(others) and others[0] < 0:
        raise RequestError(f"the level at {price} is deeper than these rows show when the order enters")
    made = {}
    for model, kind, exponent in zip(models, kinds.tolist(), exponents.tolist(), strict=True):
        belief = others.copy()
        if len(belief):
            belief[0] = others[0] if ahead is None else min(float(ahead), others[0])
            kernels.advance_all(others, volumes[chosen].astype(np.float64), kind, exponent, belief)
        made[f"ahead_{model}"] = belief
    return pa.table(
        {
            **key_columns({name: rows[name][last] for name in KEYS}),
            "queue_size": nullable(standing, standing < 0),
            "traded": volumes[chosen],
            **made,
        }
    )


def _event_ends(rows: Columns) -> Array:
    """Find the last row of every event: a row that is no trade, a trade with F_LAST, or one before another ts_event."""
    ends = (rows["action"] != Action.TRADE) | (rows["flags"] & int(Flag.LAST) != 0)
    ends[:-1] |= rows["ts_event"][:-1] != rows["ts_event"][1:]
    ends[-1:] = True
    return np.flatnonzero(ends)


def _traded_at(rows: Columns, side: Side, price: int) -> Array:
    """Give what each row takes from the resting orders of a price: a trade of the other side's aggressor, or of none."""
    hit = (rows["action"] == Action.TRADE) & (rows["price"] == price) & (rows["side"] != side)
    return np.where(hit, rows["size"], 0).astype(np.int64)


def _size_at(rows: Columns, last: Array, letter: str, price: int, levels: int) -> Array:
    """Give the size at a price in some rows, 0 where it has none, -1 where it is deeper than the rows show."""
    found = np.zeros(len(last), np.int64)
    for level in range(levels):
        found += np.where(rows[f"{letter}_px_{level:02}"][last] == price, rows[f"{letter}_sz_{level:02}"][last], 0)
    deepest = rows[f"{letter}_px_{levels - 1:02}"][last]
    deeper = price < deepest if letter == "bid" else price > deepest
    return np.where((deepest != UNDEF_PRICE) & deeper, -1, found)


def parsed(models: Sequence[str], *, truth: bool) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Read the names of models as the kernels know them: a kind and an exponent each."""
    from mbo.analytics import _watch_kernels as kernels

    simple = {"risk_averse": kernels.RISK_AVERSE, "log": kernels.LOG} | ({"true": kernels.TRUE} if truth else {})
    kinds, exponents = [], []
    for model in models:
        power = re.fullmatch(r"power(\d+(?:\.\d+)?)", model, re.ASCII)
        if model not in simple and (not power or float(power[1]) == 0):
            raise RequestError(
                f"no model {model!r}: there are {', '.join(simple)}, and power1, power2, power2.5 and so on"
            )
        kinds.append(kernels.POWER if power else simple[model])
        exponents.append(float(power[1]) if power else 1.0)
    return np.array(kinds, np.int64), np.array(exponents, np.float64)
