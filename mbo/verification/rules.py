"""What is checked, in words: the rules, why an exception may be none, and the rules that are wrong on purpose.

The rules come from Databento's documents of the `mbo` schema and of GLBX.MDP3, and from CME's of how a queue is kept
(https://databento.com/docs/schemas-and-data-formats/mbo, https://databento.com/docs/venues-and-datasets/glbx-mdp3).

Each class is a sign that the event's own records, or the order's own past, give: that nothing better is known is no reason. All but
two were fixed on simulated sessions, whose truth is known, before they met a real file. Two are what a real file taught. With
`listed_later` the fills of one trade are taken as a set, as others do who rebuild queues, for the order in which a trade lists them
is not always the order in which it met them. `beyond` is what CME's matching leads to: implied orders come after all others of
their price. In that file every trade that is too large has used up its price, of the others fewer than a third.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Rule(NamedTuple):
    """One rule; `tolerance` is the share of its checks that may stay unexplained."""

    name: str
    sentence: str
    tolerance: float = 0.0


WITNESS_TOLERANCE: Final = 0.005
"""For what the exchange decided and a file shows only the result of: whom it filled, at what price, and when it did not match.

One in two hundred: the true rule leaves none unexplained in the real file that it was tried on, and every wrong one more than that.
What we decide ourselves (sums, queues, priority), and what a record says of the order it names, has no tolerance.
"""
VOLUME_TOLERANCE: Final = 0.05
"""For the size of a T: it counts what traded with orders that MBO does not hold too, implied ones and the hidden parts of icebergs.

Where orders were left at its price, nothing in the records says how much that is, so it is only allowed for: one in twenty.
"""

RULES: Final = (
    Rule(
        "valid_fields", "A, C and M have a side, a price and a size above zero; T and F a price and a size above zero"
    ),
    Rule("level_totals", "a level's size and count are those of its orders, and every order's size is above zero"),
    Rule("queue_order", "the orders of a level stand in the order in which they got their places"),
    Rule("known_orders", "C and M name an order that rests"),
    Rule("new_orders", "A names an order that does not rest"),
    Rule(
        "cancel_terms",
        "C has its order's price and side; it takes all of it on GLBX.MDP3, elsewhere no more than there is",
    ),
    Rule("modify_side", "M leaves its order on its side"),
    Rule("priority", "A, and an M that loses its place, go to the back; an M that keeps it has the same neighbours"),
    Rule("fill_known", "F names an order that rests", WITNESS_TOLERANCE),
    Rule("fill_front", "F names the first order of its queue that the event has not used up yet", WITNESS_TOLERANCE),
    Rule("fill_best", "F names an order at the best price that the event has not used up yet", WITNESS_TOLERANCE),
    Rule("fill_price", "F has the price of its T and of its order", WITNESS_TOLERANCE),
    Rule(
        "fill_sides",
        "F is on its order's side, opposite to its T, and on no side where T is on none",
        WITNESS_TOLERANCE,
    ),
    Rule("trade_size", "T is as large as its F together", VOLUME_TOLERANCE),
    Rule("fill_settled", "the C or M after an F leaves of the order what was not filled", WITNESS_TOLERANCE),
    Rule("uncrossed", "after an event the best bid is below the best ask", WITNESS_TOLERANCE),
)

CLASSES: Final = {
    "opening": "the book is not synced, and an order from before the file is unknown, or stands where its first M put it",
    "gap": "F_MAYBE_BAD_BOOK: records of this book are lost, and no clear or snapshot has come since",
    "iceberg": "more was filled of an order than it showed, or it was refilled: it goes to the back, and may be met again",
    "self_match": "an order that was passed over is cancelled in the same event without being filled",
    "auction": "a trade on no side fills both sides at one price; or no aggressor traded while the book was crossed",
    "implied": "a trade on no side fills one side at a price better for the order: implied by another book, or a spread's leg",
    "aggressor": "the order is the aggressor itself: it rested, was modified and crossed",
    "off_book": "the event is a T alone: nothing that traded was in this book",
    "listed_later": "an order that was passed over is used up by a later F of the same T: only the listing is out of turn",
    "beyond": "a T is larger than its F, which used up all orders at its price: the rest met implied ones, which come last there",
}
"""Why an exception to a rule may be no breach of it."""

WITNESSES: Final = {
    "front": "the first order in its queue at the best price, as the book stands",
    "in_turn": "the first that earlier fills of the same event have left",
}
"""What an F can witness besides the classes."""

WRONG_RULES: Final = {
    "price-time priority": "the rule itself",
    "never loses at the same price": "an M at the same price keeps its place, also where the size gets larger",
    "a price change keeps priority": "an M to another price stands there as if it had come when the order did",
    "every modify loses": "an M goes to the back, also where the size gets smaller",
    "queue shuffled": "the order of a queue is that of a hash of the order ids",
}
"""Rules of priority that the fills are asked about; all but the first are wrong on purpose."""
