"""Who was the aggressor of a trade: what the exchange says, and what the classical rules would have guessed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from mbo.analytics.columns import (
    KEYS,
    Array,
    Columns,
    Source,
    before,
    book_columns,
    by_book,
    columns,
    key_columns,
    keys_of,
    nullable,
    prices,
)
from mbo.analytics.quotes import TOP
from mbo.records import Action, Side
from mbo.units import UNDEF_PRICE

if TYPE_CHECKING:
    import pyarrow as pa

RULES: Final = ("tick_rule", "lee_ready", "emo")


def sign_trades(tbbo: Source) -> pa.Table:
    """Sign every trade as the exchange does and by three rules: 1 bought, -1 sold by the aggressor, null where unknown (int8).

    Takes trades with the quote just before them: `day.tbbo()`, or market by price, of which other rows are left out.

    * aggressor: the exchange's own, from `side`; null for side N (implied trades, auctions).
    * tick_rule: the sign of the last change of the trade price in the book; null before the first change.
    * lee_ready: above the mid bought, below it sold, at it the tick rule (Lee and Ready 1991). Their lag of five seconds made up
      for the late quotes of their day; here it is the quote that stood when the trade came.
    * emo: at the ask bought, at the bid sold, else the tick rule (Ellis, Michaely and O'Hara 2000).

    A quote with an empty side, locked or crossed tells nothing: the tick rule then decides. Rows in the order of the trades, with
    their price (1e-9) and size.
    """
    import pyarrow as pa

    rows = columns(tbbo, [*KEYS, "action", "side", "price", "size", *TOP[:2]])
    rows = {name: values[rows["action"] == Action.TRADE] for name, values in rows.items()}
    signs = _signs(rows)
    return pa.table(
        {
            **key_columns(rows),
            "price": prices(rows["price"]),
            "size": rows["size"],
            **{name: nullable(sign, sign == 0) for name, sign in signs.items()},
        }
    )


def _signs(rows: Columns) -> dict[str, Array]:
    price, bid, ask = rows["price"], rows["bid_px_00"], rows["ask_px_00"]
    tick = _tick_rule(rows)
    quoted = (price != UNDEF_PRICE) & (bid != UNDEF_PRICE) & (ask != UNDEF_PRICE) & (bid < ask)
    # Compared doubled, so that a mid between two units of 1e-9 is exact.
    low, high = np.where(quoted, bid, 0), np.where(quoted, ask, 0)
    from_mid = np.sign((np.where(quoted, price, 0) - low) - (high - np.where(quoted, price, 0))).astype(np.int8)
    at_quote = (price == ask).astype(np.int8) - (price == bid).astype(np.int8)
    return {
        "aggressor": (rows["side"] == Side.BID).astype(np.int8) - (rows["side"] == Side.ASK).astype(np.int8),
        "tick_rule": tick,
        "lee_ready": np.where(quoted & (from_mid != 0), from_mid, tick),
        "emo": np.where(quoted & (at_quote != 0), at_quote, tick),
    }


def _tick_rule(rows: Columns) -> Array:
    """Carry the sign of the last change of price on, book by book; trades without a price neither change nor end it."""
    keys = keys_of(rows)
    order = np.argsort(keys, kind="stable")
    order = order[rows["price"][order] != UNDEF_PRICE]
    priced, first = by_book({name: rows[name][order] for name in ("publisher_id", "instrument_id", "price")})
    change = np.sign(priced["price"] - before(priced["price"], first, 0)).astype(np.int8)
    change[first] = 0
    # Where the price did not change, the last row that did, or the first of the book, says it.
    source = np.maximum.accumulate(np.where(first | (change != 0), np.arange(len(change)), 0))
    signs = np.zeros(len(keys), np.int8)
    signs[order] = change[source]
    return signs


def signing_accuracy(tbbo: Source) -> pa.Table:
    """Count, for each book and rule of `sign_trades`, how often it agrees with the exchange.

    Over the trades whose aggressor the exchange names: `right`, `wrong`, `unsigned` (the rule says nothing), and `accuracy` =
    right / (right + wrong), float64, null where both are 0. Ordered by book, then as in `sign_trades`.
    """
    import pyarrow as pa

    rows = columns(tbbo, [*KEYS, "action", "side", "price", "size", *TOP[:2]])
    rows = {name: values[rows["action"] == Action.TRADE] for name, values in rows.items()}
    signs = _signs(rows)
    known = signs["aggressor"] != 0
    keys, place = np.unique(keys_of(rows), return_inverse=True)
    count = np.zeros((len(keys), len(RULES), 3), np.int64)
    for number, rule in enumerate(RULES):
        verdict = np.where(signs[rule] == 0, 2, (signs[rule] != signs["aggressor"]).astype(np.int64))
        np.add.at(count, (place[known], number, verdict[known]), 1)
    right, wrong, unsigned = count.reshape(-1, 3).T
    decided = right + wrong
    return pa.table(
        {
            **book_columns(np.repeat(keys, len(RULES))),
            "rule": pa.array(list(RULES) * len(keys), pa.string()),
            "right": right,
            "wrong": wrong,
            "unsigned": unsigned,
            "accuracy": nullable(right / np.maximum(decided, 1), decided == 0),
        }
    )
