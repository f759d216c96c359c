"""What the check keeps beside the books: marks on orders, the present event, and the tallies.

Nothing of it grows with the file. A mark belongs to an order's slot in the engine's pool; what it says of an event counts only
while `event` is the present one, so nothing has to be wiped between events.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mbo._jit import inline, kernel, nth
from mbo.book._state_kernels import NIL, find, home

# The places of `rules.RULES`, `rules.CLASSES` and `rules.WITNESSES`. Plain integers would be a type each to numba, and every
# function that takes one compiled as often.
VALID_FIELDS, LEVEL_TOTALS, QUEUE_ORDER, KNOWN_ORDERS, NEW_ORDERS, CANCEL_TERMS, MODIFY_SIDE, PRIORITY = np.arange(8)
FILL_KNOWN, FILL_FRONT, FILL_BEST, FILL_PRICE, FILL_SIDES, TRADE_SIZE, FILL_SETTLED, UNCROSSED = np.arange(8, 16)
OPENING, GAP, ICEBERG, SELF_MATCH, AUCTION, IMPLIED, AGGRESSOR, OFF_BOOK, LISTED_LATER, BEYOND, UNEXPLAINED = np.arange(
    11
)
HELD: Final = np.int64(-1)  # no exception at all
FRONT, IN_TURN = np.arange(11, 13)  # what a fill witnesses besides the classes
NOWHERE: Final = np.int64(-1)  # no record

STAMPS: Final = 4  # the rule itself, and the wrong ones that need a memory of their own
SHUFFLED: Final = 4

MARK: Final = np.dtype(
    [
        ("stamps", "<i8", STAMPS),  # by rule of priority: since when the order has its place, counted in places given
        ("event", "<i8"),  # for which event the following counts
        ("filled", "<i8"),  # by all F of the event
        ("eaten", "<i8"),  # by those so far, as far as no C or M has taken it off the order yet
        ("trade", "<i8"),  # the T of its last F, of the records in hand
        ("cancelled", "u1"),  # whether a C of it is in the event
        ("own", "u1"),  # whether it is the aggressor
        ("opening", "u1"),  # it was there before the file began, and its place is that of its first M
        ("refilled", "u1"),  # an iceberg whose new tip is smaller: it is at the back, and M alone cannot say so
    ],
    align=True,
)
CURSOR: Final = np.dtype(
    [
        ("event", "<i8"),  # number of the present event
        ("first", "<i8"),  # its first record, of those in hand
        ("end", "<i8"),  # behind its last
        ("book", "<i8"),
        ("places", "<i8"),  # places given so far
        ("trade", "<i8"),  # the T whose F follow, of those in hand; -1 before the first
        ("others", "<i8"),  # what its F sum up to, without the aggressor's own
        ("bids", "<i8"),  # of these, what known bids sum up to
        ("asks", "<i8"),
        ("withdrawn", "<i8"),  # size of the orders that the event cancels and does not fill
        ("aggressor_size", "<i8"),  # what the T of the present aggressor sum up to
        ("trades", "<i4"),  # T and F of the event
        ("fills", "<i4"),
        ("changes", "<i4"),  # A, C, M and R
        ("sides", "<i4"),  # which sides the event fills: 1 bids, 2 asks
        ("sided", "<i4"),  # T with an aggressor so far
    ],
    align=True,
)
BOOK_MARK: Final = np.dtype([("crossed", "<i8"), ("since", "<i8"), ("matching", "u1"), ("suspect", "u1")], align=True)
KEPT: Final = np.dtype(
    [
        ("index", "<i8"),  # number of the record in its stream
        ("ts_event", "<u8"),
        ("order_id", "<u8"),
        ("key", "<i8"),  # of the book
        ("first", "<i8"),  # its event, of the records in hand
        ("end", "<i8"),
        ("at", "<i8"),  # the record itself, likewise; -1 where there is none
        ("fresh", "u1"),  # whether the event's records have not been copied yet
    ],
    align=True,
)


class Proof(NamedTuple):
    """What is known and counted of a stream, beside its books."""

    marks: npt.NDArray[Any]  # MARK, one for every slot of the engine's pool of orders
    books: npt.NDArray[Any]  # BOOK_MARK, one a book
    cursor: npt.NDArray[Any]  # CURSOR, one element
    gone: npt.NDArray[np.uint64]  # ids that left books which are not synced, by hash: the last one of each place
    checked: npt.NDArray[np.int64]  # by rule
    held: npt.NDArray[np.int64]
    excused: npt.NDArray[np.int64]  # (rules, classes and UNEXPLAINED)
    kept: npt.NDArray[Any]  # KEPT, (rules, classes and UNEXPLAINED, how many): the first of each
    fills: npt.NDArray[np.int64]  # by class, UNEXPLAINED, FRONT, IN_TURN
    power: npt.NDArray[np.int64]  # (rules of priority, POWER_...)
    verdicts: npt.NDArray[np.int64]  # room for one fill's verdict by each rule of priority


POWER_CHECKED, POWER_RIGHT, POWER_EXPLAINED, POWER_ALONE, POWER_REFUTED = range(5)


@kernel
def note(proof: Any, rule: Any, why: Any, count: Any, record: Any, index: Any, at: Any) -> None:
    """Count `count` exceptions of a class, and keep the record if it is among the first; the checks are counted apart."""
    cursor = proof.cursor[0]
    there = proof.excused[rule, why]
    if there < proof.kept.shape[2]:
        kept = proof.kept[rule, why, there]
        kept["index"] = index
        kept["ts_event"] = record["ts_event"]
        kept["order_id"] = record["order_id"]
        kept["key"] = np.int64(record["publisher_id"]) << 32 | np.int64(record["instrument_id"])
        kept["first"] = cursor["first"]
        kept["end"] = cursor["end"]
        kept["at"] = at
        kept["fresh"] = 1
    proof.excused[rule, why] += count


@kernel
def judge(proof: Any, rule: Any, why: Any, record: Any, index: Any, at: Any) -> None:
    """Count a check that held (HELD), or an exception of a class."""
    proof.checked[rule] += 1
    if why == HELD:
        proof.held[rule] += 1
    else:
        note(proof, rule, why, 1, record, index, at)


@inline
def fresh_mark(proof: Any, slot: Any) -> Any:
    """Give an order's mark, with nothing said of the present event yet if it is its first time there."""
    mark = proof.marks[slot]
    if mark["event"] != proof.cursor[0]["event"]:
        mark["event"] = proof.cursor[0]["event"]
        mark["filled"] = 0
        mark["eaten"] = 0
        mark["cancelled"] = 0
        mark["own"] = 0
    return mark


@kernel
def slot_of(state: Any, order_id: Any, book: Any) -> Any:
    """Give the slot of an order in the engine's pool, or NIL."""
    position = find(state, order_id, book)
    return np.int64(state.table[nth(position)]["slot"]) if position >= 0 else np.int64(NIL)


@inline
def give_place(proof: Any, slot: Any) -> None:
    """Mark an order that has just come to the back of a queue."""
    cursor = proof.cursor[0]
    cursor["places"] += 1
    mark = proof.marks[slot]
    for rule in range(STAMPS):
        mark["stamps"][rule] = cursor["places"]
    mark["event"] = 0
    mark["opening"] = 0
    mark["refilled"] = 0


@inline
def gone_place(proof: Any, order_id: Any, book: Any) -> Any:
    return home(order_id, book, proof.gone.shape[0] - 1)


@inline
def unknown_class(state: Any, proof: Any, book: Any, order_id: Any) -> Any:
    """Say why an order may be unknown: it was there before the file began and has not left since, or its A is lost."""
    if state.books[nth(book)]["suspect"] != 0:
        return GAP
    if state.books[nth(book)]["synced"] == 0 and proof.gone[gone_place(proof, order_id, book)] != order_id:
        return OPENING
    return UNEXPLAINED
