"""When a market-by-price record comes out, and what it says: Databento's emission rules over the book.

A trade comes out when it is seen, with the book as it stands then, before its effect. The changes of an event come out as at most
one record, at its F_LAST, with the book after it: if one of them touched a visible level. That record has the fields of the event's
last change, the shallowest touched depth, and the side that touched it, or N if both did. Fills never come out.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mbo._jit import inline, kernel, nth
from mbo.book._ahead_kernels import begin_ahead, look_ahead, worth_it
from mbo.book._kernels import apply_record, book_of, settle
from mbo.book._queue_kernels import aggregate_of
from mbo.book._state_kernels import ASK, BID, DONE, GROW_BOOKS, NIL, existing_level, find

CANDIDATE: Final = np.dtype(
    [
        ("ts_event", "<u8"),  # of the event's last change so far, like all down to `flags`
        ("ts_recv", "<u8"),
        ("price", "<i8"),
        ("size", "<u4"),
        ("sequence", "<u4"),
        ("ts_in_delta", "<i4"),
        ("action", "u1"),
        ("flags", "u1"),
        ("open", "u1"),  # whether anything visible was touched
        ("restart", "u1"),  # a trade came out since: the next touch begins depth and sides anew
        ("sides", "u1"),  # which sides touched `depth`: 1 bids, 2 asks, 3 both
        ("depth", "u1"),
        ("differs", "u1"),  # whether bringing what is shown up to date changed anything since the last event's end
        ("first", "u1"),  # what is shown may be out of date from this depth
        ("end", "u1"),  # to before this one,
        ("first_side", "u1"),  # and from this side (0 bids, 1 asks)
        ("end_side", "u1"),  # to before this one
        ("busy", "u1"),  # whether an event is open or anything is stale
    ],
    align=True,
)


class Emission(NamedTuple):
    """What comes out, and what is about to.

    `heads`, `words` and `halves` are views of the same records. As words of 8 bytes a record is HEAD for the head, then 4 for each
    level: the prices of bid and ask, their sizes, their counts, two of these to a word.
    """

    candidates: npt.NDArray[Any]  # CANDIDATE, one a book
    heads: npt.NDArray[Any]  # TRADES_DTYPE, the first 48 bytes of each record
    words: npt.NDArray[np.int64]  # (records, words)
    halves: npt.NDArray[np.uint32]  # (records, 2 * words)
    shown_words: npt.NDArray[np.int64]  # likewise, but without a head: the levels that each book showed last
    shown_halves: npt.NDArray[np.uint32]
    only_changes: bool  # leave an event out that touched what is visible and changed nothing of it


HEAD: Final = 6  # words of 8 bytes before a record's levels
FULL: Final = 8  # no room for what one more record may bring out: two

_ADD, _CANCEL, _MODIFY, _CLEAR, _TRADE, _NONE = 65, 67, 77, 82, 84, 78
_LAST, _TOB, _SNAPSHOT, _MBP = 128, 64, 32, 16
_UNDEF_PRICE = 2**63 - 1
_UNDEF_SIZE = 2**32 - 1


@inline
def better(state: Any, side: Any, price: Any, visible: Any) -> Any:
    """Count the levels of a side that are better than a price, up to `visible`."""
    slot = state.sides[nth(side)]
    top = slot["start"] + slot["length"] - 1
    key = price ^ -np.int64(side & 1)
    seen = min(visible, np.int64(slot["length"]))
    if seen == 0 or state.rungs[nth(top + 1 - seen)]["key"] > key:
        return seen
    depth = np.int64(0)
    while state.rungs[nth(top - depth)]["key"] > key:
        depth += 1
    return depth


@inline
def has_level(state: Any, side: Any, price: Any, depth: Any) -> Any:
    """Say whether the level at a depth of a side is the one of a price."""
    slot = state.sides[nth(side)]
    key = price ^ -np.int64(side & 1)
    return depth < slot["length"] and state.rungs[nth(slot["start"] + slot["length"] - 1 - depth)]["key"] == key


@inline
def touch(candidate: Any, depth: Any, sides: Any) -> None:
    """Note that a visible level was touched."""
    if candidate["open"] == 0 or candidate["restart"] != 0 or depth < candidate["depth"]:
        candidate["depth"] = depth
        candidate["sides"] = sides
    elif depth == candidate["depth"]:
        candidate["sides"] |= sides
    candidate["open"] = 1
    candidate["restart"] = 0


@inline
def remember_source(candidate: Any, record: Any) -> None:
    """Keep the fields of the event's last change."""
    candidate["ts_event"] = record["ts_event"]
    candidate["ts_recv"] = record["ts_recv"]
    candidate["price"] = record["price"]
    candidate["size"] = record["size"]
    candidate["sequence"] = record["sequence"]
    candidate["ts_in_delta"] = record["ts_in_delta"]
    candidate["action"] = record["action"]
    candidate["flags"] = record["flags"]


@inline
def stale(candidate: Any, first_side: Any, end_side: Any, first: Any, end: Any) -> None:
    """Note which depths of which sides have to be read again: a level that comes or goes moves all that is deeper."""
    candidate["busy"] = 1
    candidate["first"] = min(np.int64(candidate["first"]), first)
    candidate["end"] = max(np.int64(candidate["end"]), end)
    candidate["first_side"] = min(np.int64(candidate["first_side"]), first_side)
    candidate["end_side"] = max(np.int64(candidate["end_side"]), end_side)


@inline
def copy_shown(emission: Any, book: Any, out: Any) -> None:
    """Write the levels that a book showed last.

    Before `refresh`, not after it: what was just written in parts cannot be read as a whole until it has left the store buffer.
    """
    words, shown = emission.words[nth(out)], emission.shown_words[nth(book)]
    for k in range(shown.shape[0]):
        words[HEAD + k] = shown[k]


@inline
def refresh(state: Any, emission: Any, side: Any, out: Any, first: Any, end: Any) -> Any:
    """Read the levels of a side again from depth `first` to before `end`, and write them; returns whether any differs.

    Where there is no level it is (UNDEF, 0, 0).
    """
    words, halves = emission.words[nth(out)], emission.halves[nth(out)]
    shown_words, shown_halves = emission.shown_words[nth(side >> 1)], emission.shown_halves[nth(side >> 1)]
    ask = side & 1
    slot = state.sides[nth(side)]
    length = np.int64(slot["length"])
    top = slot["start"] + length - 1
    differs = False
    for depth in range(first, end):
        price, size, count = np.int64(_UNDEF_PRICE), np.int64(0), np.int64(0)
        if depth < length:
            level = state.levels[nth(state.rungs[nth(top - depth)]["level"])]
            price = np.int64(level["price"])
            size = min(np.int64(level["size"]), np.int64(_UNDEF_SIZE))
            count = np.int64(level["count"])
        px, sz, ct = nth(4 * depth + ask), nth(8 * depth + 4 + ask), nth(8 * depth + 6 + ask)
        differs |= (shown_words[px] != price) | (shown_halves[sz] != size) | (shown_halves[ct] != count)
        shown_words[px] = price
        shown_halves[sz] = size
        shown_halves[ct] = count
        words[px + nth(HEAD)] = price
        halves[sz + nth(2 * HEAD)] = size
        halves[ct + nth(2 * HEAD)] = count
    return differs


@inline
def show(state: Any, emission: Any, book: Any, candidate: Any, out: Any) -> None:
    """Write a book's best levels, and read again what is stale of them."""
    copy_shown(emission, book, out)
    differs = False
    first, end = np.int64(candidate["first"]), np.int64(candidate["end"])
    for ask in range(np.int64(candidate["first_side"]), np.int64(candidate["end_side"])):
        differs |= refresh(state, emission, 2 * book + ask, out, first, end)
    if differs:
        candidate["differs"] = 1
    candidate["first"] = emission.shown_words.shape[1] // 4
    candidate["end"] = 0
    candidate["first_side"] = 2
    candidate["end_side"] = 0
    candidate["busy"] = candidate["open"]


@inline
def head_of(emission: Any, out: Any) -> Any:
    """Begin a record: its length and its rtype, which for market by price is the number of levels."""
    head = emission.heads[nth(out)]
    head["length"] = 2 * emission.words.shape[1]
    head["rtype"] = emission.shown_words.shape[1] // 4
    return head


@inline
def put_trade(head: Any, record: Any, flags: Any) -> None:
    """Write a trade's fields."""
    head["publisher_id"] = record["publisher_id"]
    head["instrument_id"] = record["instrument_id"]
    head["ts_event"] = record["ts_event"]
    head["price"] = record["price"]
    head["size"] = record["size"]
    head["action"] = record["action"]
    head["side"] = record["side"]
    head["flags"] = flags
    head["depth"] = 0
    head["ts_recv"] = record["ts_recv"]
    head["ts_in_delta"] = record["ts_in_delta"]
    head["sequence"] = record["sequence"]


@inline
def put_change(head: Any, key: Any, source: Any, depth: Any, sides: Any) -> None:
    """Write the event's change; `source` has the fields of its last one: a record, or the candidate."""
    head["publisher_id"] = key >> 32
    head["instrument_id"] = key & 0xFFFFFFFF
    head["ts_event"] = source["ts_event"]
    head["price"] = source["price"]
    head["size"] = source["size"]
    head["action"] = source["action"]
    head["side"] = BID if sides == 1 else ASK if sides == 2 else _NONE
    head["flags"] = source["flags"] | _LAST
    head["depth"] = depth
    head["ts_recv"] = source["ts_recv"]
    head["ts_in_delta"] = source["ts_in_delta"]
    head["sequence"] = source["sequence"]


@inline
def about_to_change(state: Any, book: Any, record: Any, position: Any, visible: Any) -> Any:
    """Give (side, price, known, from_side, from_depth, moved) of what an A, C or M is about to change.

    It changes the book at `side` and `price`. `known` says whether its order, or for F_MBP its level, is there already. An order
    that stands elsewhere has `moved`, from a depth that cannot be told later.
    """
    side = 2 * book + (1 if record["side"] == ASK else 0)
    price = np.int64(record["price"])
    action = record["action"]
    changes = action == _ADD or action == _CANCEL or action == _MODIFY
    known, moved = False, False
    from_side, from_depth = side, visible
    if changes and record["flags"] & (_TOB | _MBP) == 0 and position >= 0:
        known = True
        level = state.levels[nth(state.orders[nth(state.table[nth(position)]["slot"])]["level"])]
        if action == _CANCEL:
            side, price = np.int64(level["side"]), np.int64(level["price"])
            from_side = side
        elif level["side"] != side or level["price"] != price:
            moved = True
            from_side = np.int64(level["side"])
            from_depth = better(state, from_side, np.int64(level["price"]), visible)
    elif changes and record["flags"] & (_TOB | _MBP) == _MBP:
        found = existing_level(state, side, price)
        known = found >= 0 and aggregate_of(state, found) >= 0
    return side, price, known, from_side, from_depth, moved


@inline
def note_change(
    candidate: Any, record: Any, side: Any, depth: Any, from_side: Any, from_depth: Any, end: Any, visible: Any
) -> None:
    """Note a change at one depth, or at two, and that all between the first of them and `end` is stale."""
    first = min(depth, from_depth)
    sides = np.int64(0)
    if depth == first:
        sides |= np.int64(1) << (side & 1)
    if from_depth == first:
        sides |= np.int64(1) << (from_side & 1)
    if record["action"] == _ADD and record["flags"] & (_SNAPSHOT | _TOB) != 0:
        first, end = np.int64(0), visible
        sides = np.int64(1) << (side & 1)
        if record["flags"] & _SNAPSHOT != 0:
            sides = np.int64(3)
            from_side = side ^ 1
    if first < visible:
        stale(candidate, min(side, from_side) & 1, (max(side, from_side) & 1) + 1, first, end)
        touch(candidate, first, sides)
    if candidate["open"] != 0:
        remember_source(candidate, record)


@kernel
def emit(state: Any, emission: Any, records: Any, rows: Any, start: Any) -> tuple[int, int, int]:
    """Apply `records[start:]` and write what comes out; returns (status, how many are applied, how many came out).

    `rows` numbers the records, as in `apply`.
    """
    before = state.pool[0]["position"]
    visible = np.int64(emission.shown_words.shape[1] // 4)
    key = np.int64(NIL)
    book = np.int64(NIL)
    run = start
    events = np.int64(0)
    out = 0
    status = DONE
    done = start
    ahead = worth_it(state)
    if ahead:
        begin_ahead(state, records, start)
    for i in range(start, records.shape[0]):
        if out + 2 > emission.heads.shape[0]:
            status = FULL
            break
        record = records[nth(i)]
        if ahead:
            look_ahead(state, records, i)
        this_key = np.int64(record["publisher_id"]) << 32 | np.int64(record["instrument_id"])
        if this_key != key:
            if book >= 0:
                settle(state, book, records[nth(i - 1)], i - run, events)
            book = book_of(state, this_key)
            if book < 0:
                status = GROW_BOOKS
                break
            key = this_key
            run = i
            events = np.int64(0)
        action = record["action"]
        flags = record["flags"]
        changes = action == _ADD or action == _CANCEL or action == _MODIFY
        position = find(state, record["order_id"], book)
        side, price, known, from_side, from_depth, moved = about_to_change(state, book, record, position, visible)
        length = state.sides[nth(side)]["length"]
        index = rows[nth(i)] if rows.shape[0] > 0 else before + i
        status = apply_record(state, book, record, index, position)
        if status != DONE:
            break
        candidate = emission.candidates[nth(book)]
        last = flags & _LAST != 0
        depth = visible
        if changes and (known or action != _CANCEL):
            depth = better(state, side, price, visible)
            if (moved or not known) and not has_level(state, side, price, depth):
                depth = visible
        end = depth + 1 if state.sides[nth(side)]["length"] == length else visible
        if changes and last and candidate["busy"] == 0 and not moved and flags & (_TOB | _SNAPSHOT) == 0:
            # an event of one record at one price, as nine in ten are: it needs no candidate
            if depth < visible:
                copy_shown(emission, book, out)
                differs = refresh(state, emission, side, out, depth, end)
                if differs or candidate["differs"] != 0 or not emission.only_changes:
                    put_change(head_of(emission, out), key, record, depth, np.int64(1) << (side & 1))
                    out += 1
                candidate["differs"] = 0
        else:
            if action == _TRADE:
                alone = last and candidate["open"] == 0
                put_trade(head_of(emission, out), record, flags if alone else flags & ~np.uint8(_LAST))
                show(state, emission, book, candidate, out)
                out += 1
                candidate["restart"] = candidate["open"]
            elif action == _CLEAR:
                stale(candidate, np.int64(0), np.int64(2), np.int64(0), visible)
                if flags & _SNAPSHOT == 0:
                    touch(candidate, np.int64(0), np.int64(3))
                    remember_source(candidate, record)
            elif changes:
                note_change(candidate, record, side, depth, from_side, from_depth, visible if moved else end, visible)
            if last:
                if candidate["open"] != 0:
                    show(state, emission, book, candidate, out)
                    if candidate["differs"] != 0 or not emission.only_changes:
                        put_change(head_of(emission, out), key, candidate, candidate["depth"], candidate["sides"])
                        out += 1
                    candidate["differs"] = 0
                    candidate["busy"] = 0
                candidate["open"] = 0
                candidate["restart"] = 0
        events += np.int64(flags) >> 7
        done = i + 1
    if book >= 0 and done > run:
        settle(state, book, records[nth(done - 1)], done - run, events)
    return status, done, out
