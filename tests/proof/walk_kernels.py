"""Walk over message sequences at machine speed: apply one, compare everything the engine says with what is expected, go back.

The engine is what users run: `mbo.book._kernels.apply` and the kernels that `Book` reads its answers with. Its whole state is flat
arrays, so going back is copying them. What is expected comes as tables from `tests.proof.oracle`, made by the reference book. Only
counters are kept here as well: how many messages and events, the last message, how often each rule was broken and first by which.

One file, though long: numba's cache notices an edit in the file of a kernel, not one in another file that it calls.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mbo._jit import kernel
from mbo.book import _kernels as rules
from mbo.book import _queue_kernels as queues
from mbo.book import _state_kernels as arrays

Array = npt.NDArray[Any]

DIFFERENCES: Final = (
    "nothing",
    "how the call ended: applied, a rule broken, room asked for",
    "which books there are",
    "synced, suspect, in a snapshot, or the number of orders",
    "the last record, or the number of messages or events",
    "anomalies",
    "orders, their priority, size, or since when they stand",
    "levels",
    "queue_ahead of an order",
    "the arrays: a refused message changed them",
)
_ENDED, _BOOKS, _TRUST, _LAST_SEEN, _ANOMALIES, _ORDERS, _LEVELS, _AHEAD, _REFUSED = range(1, 10)
IN_BATCH: Final = 100  # added where it is the sequence as one batch that differs


class Messages(NamedTuple):
    """The alphabet. `records` and `target` have its length in their last dimension."""

    records: Array  # MBO_DTYPE, (steps, letters), read-only: a letter as it is at each step, for time passes
    target: npt.NDArray[np.int64]  # which instrument a letter is of, from 0
    keys: npt.NDArray[np.int64]  # of the instruments, as in the engine's `books`


class Answers(NamedTuple):
    """What the reference book says. A content is all that a book is but its counters; the first is the empty one."""

    after: npt.NDArray[np.int32]  # (steps, contents, letters): the content after a letter, with its times
    onward: npt.NDArray[np.int32]  # likewise, in the form in which the walk goes on
    noted: npt.NDArray[np.int32]  # likewise: bits of the rules that it counted
    broken: npt.NDArray[np.int32]  # likewise: the rule that it raised, or -1
    flags: npt.NDArray[np.int32]  # (contents, 4): synced, suspect, in_snapshot, orders
    entries: npt.NDArray[np.int32]  # (contents, 2): how many rows of `orders` are bids, asks
    orders: Array  # ORDER_DTYPE, (contents, most)
    depths: npt.NDArray[np.int32]  # (contents, 2)
    levels: Array  # LEVEL_DTYPE, (contents, 2, most)
    ids: npt.NDArray[np.uint64]
    ahead: npt.NDArray[np.int64]  # (contents, ids): queue_ahead, or -1 where it does not rest


class Counters(NamedTuple):
    """What the messages so far should have counted, one row for each depth of the walk."""

    content: npt.NDArray[np.int64]  # (rows, instruments)
    books: Array  # BOOK_SLOT, (rows, instruments): the fields that only count
    anomalies: Array  # ANOMALY_SLOT, (rows, instruments, kinds)


class Scratch(NamedTuple):
    """Room for what the engine's reading kernels write, and for a sequence as one batch."""

    rows: npt.NDArray[np.int64]  # empty: number the records on
    orders: Array
    levels: Array
    batch: Array  # MBO_DTYPE
    batch_read: Array  # the same memory, read-only, as the engine takes it
    broken: npt.NDArray[np.int64]  # by step: the rule that a message breaks, or -1


@kernel
def at(states: Any, row: Any) -> Any:
    """Give one of many states."""
    return arrays.State(
        orders=states.orders[row],
        table=states.table[row],
        levels=states.levels[row],
        rungs=states.rungs[row],
        free_blocks=states.free_blocks[row],
        sides=states.sides[row],
        books=states.books[row],
        keys=states.keys[row],
        anomalies=states.anomalies[row],
        pool=states.pool[row],
        ahead=states.ahead[row],
    )


@kernel
def copy_state(source: Any, target: Any) -> None:
    """Copy all arrays of a state."""
    for i in range(source.orders.shape[0]):
        target.orders[i] = source.orders[i]
    for i in range(source.table.shape[0]):
        target.table[i] = source.table[i]
    for i in range(source.levels.shape[0]):
        target.levels[i] = source.levels[i]
    for i in range(source.rungs.shape[0]):
        target.rungs[i] = source.rungs[i]
    for i in range(source.free_blocks.shape[0]):
        target.free_blocks[i] = source.free_blocks[i]
    for i in range(source.sides.shape[0]):
        target.sides[i] = source.sides[i]
    for i in range(source.keys.shape[0]):
        target.keys[i] = source.keys[i]
    for i in range(source.books.shape[0]):
        target.books[i] = source.books[i]
        for kind in range(source.anomalies.shape[1]):
            target.anomalies[i, kind] = source.anomalies[i, kind]
    target.pool[0] = source.pool[0]


@kernel
def note(counters: Any, row: Any, target: Any, kind: Any, record: Any, index: Any) -> None:
    """Count a broken rule, and keep the first record that broke it."""
    anomaly = counters.anomalies[row, target, kind]
    if anomaly["count"] == 0:
        anomaly["index"] = index
        anomaly["order_id"] = record["order_id"]
        anomaly["ts_event"] = record["ts_event"]
        anomaly["sequence"] = record["sequence"]
    anomaly["count"] += 1


@kernel
def expect(messages: Any, answers: Any, counters: Any, step: Any, letter: Any, row: Any, before: Any) -> Any:
    """Write what row `before` of the counters comes to with one more letter into `row`; gives the rule it breaks, or -1."""
    for target in range(messages.keys.shape[0]):
        counters.content[row, target] = counters.content[before, target]
        counters.books[row, target] = counters.books[before, target]
        for kind in range(counters.anomalies.shape[2]):
            counters.anomalies[row, target, kind] = counters.anomalies[before, target, kind]
    target = messages.target[letter]
    content = counters.content[before, target]
    broken = answers.broken[step, content, letter]
    book = counters.books[row, target]
    book["key"] = 1  # it is there from its first message on, broken or not
    if broken >= 0:
        return np.int64(broken)
    record = messages.records[step, letter]
    index = np.int64(0)
    for other in range(messages.keys.shape[0]):
        index += counters.books[before, other]["messages"]
    for kind in range(counters.anomalies.shape[2]):
        if answers.noted[step, content, letter] >> kind & 1:
            note(counters, row, target, kind, record, index)
    book["ts_event"] = record["ts_event"]
    book["ts_recv"] = record["ts_recv"]
    book["sequence"] = record["sequence"]
    book["flags"] = record["flags"]
    book["channel_id"] = record["channel_id"]
    book["messages"] += 1
    book["events"] += np.int64(record["flags"] >> 7)
    counters.content[row, target] = answers.after[step, content, letter]
    return np.int64(-1)


@kernel
def compare_book(state: Any, book: Any, content: Any, expected: Any, anomalies: Any, answers: Any, scratch: Any) -> Any:
    """Compare one book with a content and with its counters; gives what differs first, a place in DIFFERENCES."""
    slot = state.books[book]
    flags = answers.flags[content]
    if slot["synced"] != flags[0] or slot["suspect"] != flags[1] or slot["in_snapshot"] != flags[2]:
        return _TRUST
    if slot["orders"] != flags[3]:
        return _TRUST
    if (
        slot["ts_event"] != expected["ts_event"]
        or slot["ts_recv"] != expected["ts_recv"]
        or slot["sequence"] != expected["sequence"]
        or slot["flags"] != expected["flags"]
        or slot["channel_id"] != expected["channel_id"]
        or slot["messages"] != expected["messages"]
        or slot["events"] != expected["events"]
    ):
        return _LAST_SEEN
    for kind in range(anomalies.shape[0]):
        seen, wanted = state.anomalies[book, kind], anomalies[kind]
        if (
            seen["count"] != wanted["count"]
            or seen["index"] != wanted["index"]
            or seen["order_id"] != wanted["order_id"]
            or seen["ts_event"] != wanted["ts_event"]
            or seen["sequence"] != wanted["sequence"]
        ):
            return _ANOMALIES
    first = 0
    for side in range(2):
        depth = state.sides[2 * book + side]["length"]
        if depth != answers.depths[content, side]:
            return _LEVELS
        queues.list_levels(state, 2 * book + side, scratch.levels[:depth])
        for k in range(depth):
            level, right = scratch.levels[k], answers.levels[content, side, k]
            if level["price"] != right["price"] or level["size"] != right["size"] or level["count"] != right["count"]:
                return _LEVELS
        entries = answers.entries[content, side]
        if queues.list_orders(state, 2 * book + side, 0, depth, scratch.orders) != entries:
            return _ORDERS
        for k in range(entries):
            order, due = scratch.orders[k], answers.orders[content, first + k]
            if (
                order["order_id"] != due["order_id"]
                or order["side"] != due["side"]
                or order["price"] != due["price"]
                or order["size"] != due["size"]
                or order["ts_event"] != due["ts_event"]
                or order["aggregate"] != due["aggregate"]
            ):
                return _ORDERS
        first += entries
    for k in range(answers.ids.shape[0]):
        ahead = np.int64(-1)
        position = queues.locate(state, answers.ids[k], book)
        if position >= 0:
            ahead = np.int64(queues.size_ahead(state, np.int64(state.table[position]["slot"])))
        if ahead != answers.ahead[content, k]:
            return _AHEAD
    return 0


@kernel
def compare(state: Any, messages: Any, answers: Any, counters: Any, row: Any, scratch: Any) -> Any:
    """Compare all books of a state; gives what differs first, a place in DIFFERENCES."""
    there = 0
    for target in range(messages.keys.shape[0]):
        there += counters.books[row, target]["key"]
    if state.pool[0]["books"] != there:
        return _BOOKS
    for book in range(there):
        found = False
        for target in range(messages.keys.shape[0]):
            if state.books[book]["key"] == messages.keys[target] and counters.books[row, target]["key"] == 1:
                found = True
                content, expected = counters.content[row, target], counters.books[row, target]
                anomalies = counters.anomalies[row, target]
                difference = compare_book(state, book, content, expected, anomalies, answers, scratch)
                if difference:
                    return difference
        if not found:
            return _BOOKS
    return 0


@kernel
def apply_one(state: Any, messages: Any, step: Any, letter: Any, broken: Any, scratch: Any) -> Any:
    """Apply a letter as the engine's wrapper does; gives what differs from the expected end of that call."""
    status, done = rules.apply(state, messages.records[step, letter : letter + 1], scratch.rows, 0)
    state.pool[0]["position"] += done
    if broken >= 0:
        return 0 if status == rules.BROKEN + broken and done == 0 else _ENDED
    return 0 if status == arrays.DONE and done == 1 else _ENDED


@kernel
def apply_batch(states: Any, messages: Any, answers: Any, counters: Any, chosen: Any, scratch: Any) -> Any:
    """Apply a whole sequence to the root in one call, in the last of the states, and compare; gives what differs."""
    state = at(states, states.pool.shape[0] - 1)
    copy_state(at(states, 0), state)
    length, broken = chosen.shape[0], scratch.broken
    stop = length  # strict books refuse a record and all that follow
    for step in range(length - 1, -1, -1):
        if broken[step] >= 0:
            stop = step
    for step in range(length):
        scratch.batch[step] = messages.records[step, chosen[step]]
    status, done = rules.apply(state, scratch.batch_read[:length], scratch.rows, 0)
    state.pool[0]["position"] += done
    if done != stop or status != (arrays.DONE if stop == length else rules.BROKEN + broken[stop]):
        return _ENDED
    row = length if stop == length else stop + 1
    return compare(state, messages, answers, counters, row, scratch)


@kernel
def walk(states: Any, messages: Any, answers: Any, counters: Any, chosen: Any, scratch: Any, tally: Any) -> Any:
    """Walk all sequences as long as `chosen` from the root, row 0 of states and counters; what they begin with alike, once.

    Stops at the first difference and gives it; `chosen` then says which sequence. `tally` counts sequences, messages applied one at
    a time, and refused ones.
    """
    length = chosen.shape[0]
    letters = messages.target.shape[0]
    broken = scratch.broken
    step = 0
    chosen[0] = 0
    while True:
        if chosen[step] == letters:
            step -= 1
            if step < 0:
                return 0
            chosen[step] += 1
            continue
        state = at(states, step + 1)
        copy_state(at(states, step), state)
        broken[step] = expect(messages, answers, counters, step, chosen[step], step + 1, step)
        difference = apply_one(state, messages, step, chosen[step], broken[step], scratch)
        if difference == 0:
            difference = compare(state, messages, answers, counters, step + 1, scratch)
        if difference:
            chosen[step + 1 :] = -1
            return difference
        tally[1] += 1
        if broken[step] >= 0:
            tally[2] += 1
        if step + 1 < length:
            step += 1
            chosen[step] = 0
            continue
        difference = apply_batch(states, messages, answers, counters, chosen, scratch)
        if difference:
            return IN_BATCH + difference
        tally[0] += 1
        chosen[step] += 1


@kernel
def expect_all(messages: Any, answers: Any, counters: Any, step: Any, letters: Any) -> None:
    """Count one more letter for each of many books, one to a row."""
    for row in range(letters.shape[0]):
        expect(messages, answers, counters, step, letters[row], row, row)


@kernel
def compare_all(state: Any, answers: Any, counters: Any, scratch: Any) -> Any:
    """Compare many books of one state, each with its row of the counters; gives (what differs, which book)."""
    for book in range(counters.content.shape[0]):
        content, expected, anomalies = counters.content[book, 0], counters.books[book, 0], counters.anomalies[book, 0]
        difference = compare_book(state, book, content, expected, anomalies, answers, scratch)
        if difference:
            return difference, book
    return 0, -1


# ---------------------------------------------------------------- breadth first, over canonical states

_POISON: Final = 0x5EADBEEF


@kernel
def make_canonical(state: Any) -> None:
    """Reset what no rule asks for: times and counters to 0, and what lies in free slots to nonsense that a rule would trip over."""
    pool = state.pool[0]
    pool["position"] = 0
    for book in range(pool["books"]):
        slot = state.books[book]
        slot["ts_event"] = slot["ts_recv"] = slot["sequence"] = 0
        slot["flags"] = slot["channel_id"] = 0
        slot["messages"] = slot["events"] = 0
        for kind in range(state.anomalies.shape[1]):
            anomaly = state.anomalies[book, kind]
            anomaly["count"] = anomaly["index"] = 0
            anomaly["order_id"] = anomaly["ts_event"] = anomaly["sequence"] = 0
        for side in range(2 * book, 2 * book + 2):
            block = state.sides[side]
            for rung in range(block["start"] + block["length"], block["start"] + block["capacity"]):
                state.rungs[rung]["key"] = _POISON
                state.rungs[rung]["level"] = state.levels.shape[0] - 1
    for order in range(pool["orders"]):
        state.orders[order]["ts_event"] = 0
    free = np.int64(pool["free_order"])
    while free >= 0:
        slot = state.orders[free]
        slot["order_id"] = slot["size"] = _POISON
        slot["level"] = state.levels.shape[0] - 1
        slot["prev"] = state.orders.shape[0] - 1
        free = np.int64(slot["next"])
    free = np.int64(pool["free_level"])
    while free >= 0:
        slot = state.levels[free]
        slot["price"] = slot["size"] = slot["count"] = _POISON
        slot["head"] = slot["tail"] = state.orders.shape[0] - 1
        free = np.int64(slot["side"])


@kernel
def mixed(print_: Any, value: Any) -> Any:
    """Fold one more number into half a fingerprint."""
    print_ = (print_ ^ np.uint64(value)) * np.uint64(0x9E3779B97F4A7C15)
    return print_ ^ (print_ >> np.uint64(29))


@kernel
def fingerprint(state: Any, seed: Any) -> Any:
    """Give 64 bits of everything in the arrays of a canonical state."""
    h = np.uint64(seed)
    pool = state.pool[0]
    h = mixed(mixed(mixed(h, pool["rungs"]), np.int64(pool["orders"])), np.int64(pool["levels"]))
    h = mixed(mixed(mixed(h, np.int64(pool["books"])), np.int64(pool["free_order"])), np.int64(pool["free_level"]))
    for i in range(pool["orders"]):
        order = state.orders[i]
        h = mixed(mixed(h, order["order_id"]), np.int64(order["next"]))
        h = mixed(mixed(mixed(h, order["size"]), np.int64(order["level"])), np.int64(order["prev"]))
    for i in range(pool["levels"]):
        level = state.levels[i]
        h = mixed(mixed(mixed(h, level["price"]), level["size"]), np.int64(level["count"]))
        h = mixed(mixed(mixed(h, np.int64(level["head"])), np.int64(level["tail"])), np.int64(level["side"]))
    for i in range(pool["rungs"]):
        h = mixed(mixed(h, state.rungs[i]["key"]), np.int64(state.rungs[i]["level"]))
    for i in range(state.table.shape[0]):
        h = mixed(h, np.int64(state.table[i]["slot"]))  # which says the hash, too; that of a free entry is left over
    for i in range(state.free_blocks.shape[0]):
        h = mixed(h, np.int64(state.free_blocks[i]))
    for i in range(state.keys.shape[0]):
        h = mixed(h, np.int64(state.keys[i]))
    for i in range(2 * pool["books"]):
        side = state.sides[i]
        h = mixed(mixed(mixed(h, side["start"]), np.int64(side["length"])), np.int64(side["capacity"]))
    for i in range(pool["books"]):
        book = state.books[i]
        h = mixed(mixed(mixed(h, book["key"]), book["synced"]), book["suspect"])
        h = mixed(mixed(mixed(h, book["in_snapshot"]), book["equal_loses"]), np.int64(book["orders"]))
    return h


@kernel
def is_new(seen: Any, first: Any, second: Any) -> Any:
    """Enter a fingerprint into a table of them (zeros where there is none); says whether it was not there."""
    mask = seen.shape[0] - 1
    position = np.int64(first & np.uint64(mask))
    while seen[position, 0] != 0 or seen[position, 1] != 0:
        if seen[position, 0] == first and seen[position, 1] == second:
            return False
        position = (position + 1) & mask
    seen[position, 0], seen[position, 1] = first, second
    return True


@kernel
def expand(
    states: Any, contents: Any, messages: Any, answers: Any, counters: Any, scratch: Any,
    seen: Any, found: Any, found_contents: Any, found_from: Any, tally: Any,
) -> Any:  # fmt: skip
    """Apply every letter to every canonical state, compare, and keep what is new in `found`, with (which state, which letter).

    `contents` (states, instruments) are -1 where an instrument has no book yet. Stops at the first difference and gives (it, which
    state, which letter). `tally` counts the new states, transitions and refused messages. Row 0 of the counters is what a canonical
    state has counted: nothing.
    """
    targets = messages.keys.shape[0]
    for row in range(contents.shape[0]):
        before = at(states, row)
        for target in range(targets):
            counters.content[0, target] = max(contents[row, target], 0)
            counters.books[0, target]["key"] = 1 if contents[row, target] >= 0 else 0
        for letter in range(messages.target.shape[0]):
            state = at(found, tally[0])
            copy_state(before, state)
            broken = expect(messages, answers, counters, 0, letter, 1, 0)
            difference = apply_one(state, messages, 0, letter, broken, scratch)
            if difference == 0:
                difference = compare(state, messages, answers, counters, 1, scratch)
            if difference:
                return difference, row, letter
            tally[1] += 1
            make_canonical(state)
            first, second = fingerprint(state, 1), fingerprint(state, 2)
            if broken >= 0:
                tally[2] += 1
                there = counters.books[0, messages.target[letter]]["key"] == 1
                if there and (first != fingerprint(before, 1) or second != fingerprint(before, 2)):
                    return _REFUSED, row, letter
            if is_new(seen, first, second):
                for target in range(targets):
                    found_contents[tally[0], target] = contents[row, target]
                target = messages.target[letter]
                content = counters.content[0, target]
                found_contents[tally[0], target] = answers.onward[0, content, letter]
                found_from[tally[0], 0], found_from[tally[0], 1] = row, letter
                tally[0] += 1
    return 0, -1, -1
