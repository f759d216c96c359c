"""Stoikov's micro-price: the mid that is expected in the long run, given the imbalance and the spread of now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mbo.analytics.columns import (
    KEYS,
    Array,
    Columns,
    Source,
    book_columns,
    by_book,
    columns,
    key_columns,
    keys_of,
    nullable,
)
from mbo.analytics.quotes import TOP
from mbo.errors import RequestError
from mbo.units import UNDEF_PRICE

if TYPE_CHECKING:
    import pyarrow as pa

_ROUNDS = 10_000
_SMALL = 1e-12  # of the largest adjustment so far: further terms change nothing that a double shows


def fit_microprice(mbp: Source, tick_size: int, *, buckets: int = 10, spreads: int = 2) -> pa.Table:
    """Estimate the micro-price adjustments of every book from market by price.

    The micro-price is M + g(I, S): the mid plus what it is expected to move until its moves cancel out, where I is the imbalance
    Qb / (Qb + Qa) in one of `buckets` equal parts and S the spread in ticks, from 1 to `spreads` (Stoikov 2018, "The micro-price: a
    high-frequency estimator of future prices"). Rows of the data are the steps of a Markov chain on (I, S): Q holds the
    probabilities of steps without a change of the mid, T of steps with one, K the mean change of a step. Then
    G1 = (1 - Q)^-1 K, B = (1 - Q)^-1 T, and g = G1 + B G1 + B^2 G1 + ... Every step is counted mirrored as well (bids for asks),
    as in the paper, for then the sum converges.

    A row per book, spread and bucket: `observations` (steps from there, mirrored ones not counted), `adjustment` (float64, in units
    of 1e-9, null where nothing was observed, mirrored or not), `tick_size`. Rows with an empty side or another spread are no steps.
    """
    import pyarrow as pa

    if buckets < 2 or spreads < 1 or tick_size < 1:
        raise RequestError("fit_microprice needs two buckets, one spread and a tick_size in units of 1e-9 at least")
    rows, first = by_book(columns(mbp, [*KEYS, *TOP]))
    state = _states(rows, tick_size, buckets, spreads)
    keys, starts = keys_of(rows), np.append(np.flatnonzero(first), len(first))
    mid_x2 = rows["bid_px_00"] + np.where(state < 0, 0, rows["ask_px_00"])
    cells = buckets * spreads
    found, observed, books = [np.empty(0)], [np.empty(0, np.int64)], []
    for start, stop in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        gains, counts = _adjustments(state[start:stop], mid_x2[start:stop], cells, buckets)
        found.append(gains)
        observed.append(counts)
        books.append(keys[start])
    every = np.arange(cells * len(books)) % cells
    adjustments = np.concatenate(found)
    return pa.table(
        {
            **book_columns(np.repeat(np.array(books, np.int64), cells)),
            "spread_ticks": every // buckets + 1,
            "bucket": every % buckets,
            "observations": np.concatenate(observed),
            "adjustment": nullable(adjustments, np.isnan(adjustments)),
            "tick_size": np.full(len(every), tick_size),
        }
    )


def microprice(mbp: Source, fitted: pa.Table) -> pa.Table:
    """Give the micro-price row for row with market by price, by adjustments that `fit_microprice` estimated.

    `mid` is int64 in units of 1e-9 (half a unit rounded down), `microprice` float64 in the same units; null where a side is empty,
    `microprice` also where the spread, or what is known of the book, is outside what was fitted. Adjustments that were fitted to
    the very rows they are applied to have seen the future: fit on one day, apply on the next.
    """
    import pyarrow as pa

    rows = columns(mbp, [*KEYS, *TOP])
    table = {name: fitted[name].to_numpy() for name in fitted.column_names}
    missing = (rows["bid_px_00"] == UNDEF_PRICE) | (rows["ask_px_00"] == UNDEF_PRICE)
    bid, ask = np.where(missing, 0, rows["bid_px_00"]), np.where(missing, 0, rows["ask_px_00"])
    gain = np.full(len(bid), np.nan)
    if len(fitted):
        buckets, spreads = int(table["bucket"].max()) + 1, int(table["spread_ticks"].max())
        state = _states(rows, int(table["tick_size"][0]), buckets, spreads)
        books = keys_of(table)[:: buckets * spreads]
        place = np.searchsorted(books, keys_of(rows)).clip(max=len(books) - 1)
        known = (state >= 0) & (books[place] == keys_of(rows))
        gain[known] = table["adjustment"][(place * buckets * spreads + state)[known]]
    return pa.table(
        {
            **key_columns(rows),
            "mid": nullable(bid + ((ask - bid) >> 1), missing),
            "microprice": nullable((bid + (ask - bid) / 2) + gain, np.isnan(gain)),
        }
    )


def _states(rows: Columns, tick_size: int, buckets: int, spreads: int) -> Array:
    """Give each row the number of its (spread, bucket), spread by spread; -1 where it has none."""
    bid, ask = rows["bid_px_00"], rows["ask_px_00"]
    bid_sz, ask_sz = rows["bid_sz_00"].astype(np.int64), rows["ask_sz_00"].astype(np.int64)
    none = (bid == UNDEF_PRICE) | (ask == UNDEF_PRICE) | (bid_sz == 0) | (ask_sz == 0)
    gap = np.where(none, 0, ask - np.where(none, 0, bid))
    none |= (gap < tick_size) | (gap > spreads * tick_size) | (gap % tick_size != 0)
    bucket = bid_sz * buckets // np.where(none, 1, bid_sz + ask_sz)
    return np.where(none, -1, (gap // tick_size - 1) * buckets + bucket)


def _adjustments(state: Array, mid_x2: Array, cells: int, buckets: int) -> tuple[Array, Array]:
    """Give g of every state of one book, and how many steps begin in it."""
    steps = (state[:-1] >= 0) & (state[1:] >= 0)
    come, go, change = state[:-1][steps], state[1:][steps], np.diff(mid_x2)[steps] / 2
    counts = np.bincount(come, minlength=cells)
    mirror = np.arange(cells) // buckets * buckets + (buckets - 1 - np.arange(cells) % buckets)
    come, go = np.append(come, mirror[come]), np.append(go, mirror[go])
    change = np.append(change, -change)
    stays, moves = (np.zeros((cells, cells)) for _ in range(2))
    np.add.at(stays, (come[change == 0], go[change == 0]), 1)
    np.add.at(moves, (come[change != 0], go[change != 0]), 1)
    total = np.maximum(stays.sum(1) + moves.sum(1), 1)[:, None]
    mean = np.bincount(come, change, minlength=cells) / total[:, 0]
    # Where states never lead to a change, 1 - Q has no inverse: the smallest solution gives them 0, as it should be.
    solved = np.linalg.lstsq(np.eye(cells) - stays / total, np.column_stack([mean, moves / total]), rcond=None)[0]
    term, onward = solved[:, 0], solved[:, 1:]
    gains = term.copy()
    for _ in range(_ROUNDS):
        term = onward @ term
        if np.abs(term).max() <= _SMALL * np.abs(gains).max():
            break
        gains += term
    gains[counts + counts[mirror] == 0] = np.nan
    return gains, counts
