"""Faults for copies of the kernels: each an edit of a line or two, of the kind that is made by mistake."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple


class Mutant(NamedTuple):
    """What goes wrong, in which file of the package, and the edit: `old` is there exactly once."""

    fault: str
    file: str
    old: str
    new: str

    def plant(self, package: Path) -> None:
        """Edit a copy of the package."""
        path = package / self.file
        source = path.read_text()
        times = source.count(self.old)
        assert times == 1, f"{self.fault}: {self.file} has {times} times what the edit replaces:\n{self.old}"
        path.write_text(source.replace(self.old, self.new))


def read(text: str) -> Iterator[Mutant]:
    """Read edits as a diff writes them: `=== file`, `@ fault`, then lines that go (-), come (+) or say where (a blank)."""
    for part in text.strip().removeprefix("=== ").split("\n=== "):
        file, *edits = part.split("\n@ ")
        for edit in edits:
            fault, *lines = edit.split("\n")
            old, new = ("".join(f"{line[1:]}\n" for line in lines if line[0] in kept) for kept in ("- ", "+ "))
            yield Mutant(fault, file, old, new)


ENGINE: Final = [
    *read(
        """
=== book/_kernels.py
@ a fill takes from its order
-    action = record["action"]
+    action = _CANCEL if record["action"] == _FILL else record["action"]
     flags = record["flags"]
@ an F_MBP level is taken for an F_TOB one
-    top = record["flags"] & _TOB != 0
+    top = record["flags"] & _MBP != 0
@ F_TOB cannot empty a side
-    if price == _UNDEF_PRICE and not top:
+    if price == _UNDEF_PRICE:
@ F_TOB adds a level to its side
-        clear_side(state, side)
         if price != _UNDEF_PRICE and size != 0 and size != _UNDEF_SIZE:
@ an F_MBP modify begins a snapshot
-    if begins and action == _ADD:
+    if begins:
@ the last offender is kept, not the first
-    if anomaly["count"] == 0:
+    if True:
@ a clear leaves the asks
-    clear_side(state, 2 * book + 1)
+    clear_side(state, 2 * book)
@ a clear does not make a book synced
-    state.books[nth(book)]["synced"] = 1
+    state.books[nth(book)]["synced"] = 0
@ a clear leaves a book suspect
-    state.books[nth(book)]["suspect"] = 0
+    state.books[nth(book)]["suspect"] = 1
@ an implied clear is noted only if both sides had levels
-    if state.sides[nth(2 * book)]["length"] + state.sides[nth(2 * book + 1)]["length"] > 0:
+    if state.sides[nth(2 * book)]["length"] + state.sides[nth(2 * book + 1)]["length"] > 1:
@ a snapshot without an R does not clear
-    if begins:
-        begin_snapshot(state, book, record, index)
     if begins or position == UNSOUGHT:
@ a duplicate add leaves the old order
-        remove(state, position)
-        position = find(state, record["order_id"], book)
+        position = ~position
     insert(state, ~position, side, record)
@ an order cancelled to nothing stays
-    if rest <= 0:
+    if rest < 0:
@ a partial cancel leaves the level's sum
-        level["size"] -= taken
@ a partial cancel leaves what it should take
-        order["size"] = rest
+        order["size"] = taken
@ a cancel on the wrong side is not noticed
-    if level["price"] != record["price"] or record["side"] != (ASK if level["side"] & 1 else BID):
+    if level["price"] != record["price"]:
@ a modify to the other side at the same price stays
-    if level["side"] != side or level["price"] != record["price"]:
+    if level["price"] != record["price"]:
@ an equal size never loses its place
-    if more > 0 or (more == 0 and state.books[nth(book)]["equal_loses"]):
+    if more > 0:
@ an equal size always loses its place
-    if more > 0 or (more == 0 and state.books[nth(book)]["equal_loses"]):
+    if more >= 0:
@ a larger size keeps its place
-    if more > 0 or (more == 0 and state.books[nth(book)]["equal_loses"]):
+    if more < 0 or (more == 0 and state.books[nth(book)]["equal_loses"]):
@ a modify leaves the level's sum
-    level["size"] += more
@ a place lost leaves the time since when
-        order["ts_event"] = record["ts_event"]
         if order["next"] >= 0:
@ the front of the queue does not lose its place
-        if order["next"] >= 0:
+        if order["next"] >= 0 and order["prev"] >= 0:
@ an A of UNDEF size is an order
         return note(state, book, BAD_PRICE, record, index)
-    if record["size"] == 0 or record["size"] == _UNDEF_SIZE:
+    if record["size"] == 0:
@ a snapshot does not end with its event
-        if flags & _LAST != 0:  # a snapshot ends with its event
-            slot["in_snapshot"] = 0
@ a plain message does not end a snapshot
-        if not restores and status == DONE:
+        if restores and status == DONE:
@ a gap does not make a book suspect
-            slot["suspect"] = 1
+            slot["suspect"] = 0
@ every venue is GLBX
-    by_venue = pool["equal_size"] == EQUAL_BY_VENUE and key >> 32 == GLBX
+    by_venue = pool["equal_size"] == EQUAL_BY_VENUE
@ every message ends an event
-        slot["events"] += events
+        slot["events"] += messages
@ a book gets the next book's last record
-                settle(state, book, records[nth(i - 1)], i - run, events)
+                settle(state, book, records[nth(i)], i - run, events)
@ records are numbered from 1
-        index = rows[nth(i)] if rows.shape[0] > 0 else before + i
+        index = rows[nth(i)] if rows.shape[0] > 0 else before + i + 1
@ the first book is lost when the keys grow
-    for book in range(state.pool[0]["books"]):
+    for book in range(1, state.pool[0]["books"]):
=== book/_queue_kernels.py
@ a new order does not know who stands before it
-    state.orders[nth(slot)]["prev"] = tail
+    state.orders[nth(slot)]["prev"] = NIL
@ an order that leaves is still known to the one behind
-        state.orders[nth(after)]["prev"] = before
+        pass
@ an order that leaves stays the tail
-        queue["tail"] = before
+        pass
@ taking a free slot loses the others
-        pool["free_order"] = state.orders[nth(slot)]["next"]
+        pool["free_order"] = NIL
@ a freed slot is lost
-    state.pool[0]["free_order"] = slot
@ a removed order is still found
-    forget(state, position)
     state.books[nth(state.levels[nth(state.orders[nth(slot)]["level"])]["side"] >> 1)]["orders"] -= 1
@ a removed order's size stays in the level
-    queue["size"] -= np.int64(state.orders[nth(slot)]["size"])
@ the last order takes an aggregate along
-    if queue["head"] < 0:
+    if queue["count"] == 0:
@ clearing forgets an aggregate as if it were an order
-            if state.orders[nth(entry)]["level"] < AGGREGATE:
+            if True:
@ a cleared side keeps its length
-    slot["length"] = 0
@ the front order is taken for the aggregate
-    while slot >= 0 and state.orders[nth(slot)]["level"] < AGGREGATE:
+    while False:
@ a level set again counts twice
-    state.levels[nth(level)]["size"] += np.int64(record["size"]) - np.int64(order["size"])
+    state.levels[nth(level)]["size"] += np.int64(record["size"])
@ an aggregate that leaves takes its orders along
-    if state.levels[nth(level)]["head"] < 0:
+    if True:
@ queue_ahead counts those behind
         ahead += np.int64(state.orders[nth(slot)]["size"])
-        slot = np.int64(state.orders[nth(slot)]["prev"])
+        slot = np.int64(state.orders[nth(slot)]["next"])
=== book/_state_kernels.py
@ an id is found in another book
-    mixed = ((order_id & _LOW) * _GOLDEN) ^ ((order_id >> _32) * _SILVER) ^ (np.uint64(book) * _BRONZE)
+    mixed = ((order_id & _LOW) * _GOLDEN) ^ ((order_id >> _32) * _SILVER)
@ an id is taken for another of the same hash
-        if entry["hash"] == hashed and state.orders[nth(entry["slot"])]["order_id"] == order_id:
+        if entry["hash"] == hashed:
@ a search does not wrap around the table
             return position
-        position = (position + 1) & mask
+        position = position + 1
@ a deletion leaves those it had pushed on
-            table[nth(hole)] = entry
-            hole = position
+            pass
@ a deletion pulls back too much
-        if ((position - wanted) & mask) >= ((position - hole) & mask):
+        if True:
@ the last entry is lost when the table grows
-    for k in range(old.shape[0]):
+    for k in range(old.shape[0] - 1):
@ an entry takes the place of another when the table grows
-            while new[nth(position)]["slot"] >= 0:
+            while False:
@ a position without an order is taken for one
-            return ~position
+            return position
@ an entry keeps the hash of an earlier order
-    entry["hash"] = hash_of(order_id, book)
@ asks are sorted as bids
-    return price ^ -np.int64(side & 1)
+    return price
@ a far search stops one rung early
         middle = (low + rung + 1) >> 1
+        if middle == rung:
+            break
         if state.rungs[nth(middle)]["key"] > key:
@ a far search never ends
-            rung = middle - 1
+            rung = middle
@ a search looks below its block
-    near = max(start, rung - _NEAR)
+    near = rung - _NEAR
@ a full pool is not noticed
-        return GROW_ORDERS
+        return DONE
@ full rungs are not noticed
-            return GROW_RUNGS
+            return DONE
@ a full block is given one as large
-    while (1 << power) <= capacity:
+    while (1 << power) < capacity:
@ the best level is lost when a block moves
-    for k in range(slot["length"]):
+    for k in range(slot["length"] - 1):
@ a block left behind is lost
-        state.free_blocks[nth(power - 1)] = old
+        pass
@ a new level goes where the block was
-        rung += state.sides[nth(side)]["start"] - before
@ a level used again keeps its old tail
-    slot["tail"] = NIL
@ a level used again keeps its old sum
-    slot["size"] = 0
@ a level that leaves makes its neighbour leave
-    while rung < end:
+    while rung < end - 1:
         state.rungs[nth(rung)] = state.rungs[nth(rung + 1)]
@ a freed level is lost
     slot["side"] = state.pool[0]["free_level"]
-    state.pool[0]["free_level"] = level
=== book/engine.py
@ ids are forgotten when the pool grows
-            arrays.rehash(state.table, self._state.table)
+            pass
         elif what == arrays.GROW_LEVELS:
@ anomalies are forgotten when books are added
-            anomalies[: len(state.anomalies)] = state.anomalies
@ a refused record counts as applied
-        self._state.pool["position"] += done
+        self._state.pool["position"] += len(records)
"""
    )
]

PARALLEL: Final = [
    *read(
        """
=== book/_parting_kernels.py
@ what was counted before is counted on
-        ends[nth(stretch)] = 0
+        pass
@ a stretch is not counted
-        if begin <= stretch < end:
+        if begin < stretch < end:
             ends[nth(stretch)] += 1
@ a stretch is written over
-            ends[nth(stretch)] = place + 1
@ records are numbered as they lie
-            rows[nth(place)] = numbers[nth(i)] if numbers.shape[0] > 0 else first + i
+            rows[nth(place)] = numbers[nth(i)] if numbers.shape[0] > 0 else first + place
@ numbers that are given do not count
-            rows[nth(place)] = numbers[nth(i)] if numbers.shape[0] > 0 else first + i
+            rows[nth(place)] = first + i
=== book/parallel.py
@ a record that is lost is not noticed
-        if applied != len(records):
+        if False:
@ every piece is numbered like the first
-        self._position += len(records)
@ numbers are those of the first piece
-                self._apply(records[begin:end], numbers[begin:end])
+                self._apply(records[begin:end], numbers)
"""
    )
]

EMISSION: Final = [
    *read(
        """
=== book/_kernels.py
@ a position from before a snapshot is taken for one within it
-    if begins or position == UNSOUGHT:
+    if position == UNSOUGHT:
=== book/_mbp_kernels.py
@ an event of one record forgets what was stale before
-        if changes and last and candidate["busy"] == 0 and not moved and flags & (_TOB | _SNAPSHOT) == 0:
+        if changes and last and not moved and flags & (_TOB | _SNAPSHOT) == 0:
@ an order that moves is taken for one that stays
-        if changes and last and candidate["busy"] == 0 and not moved and flags & (_TOB | _SNAPSHOT) == 0:
+        if changes and last and candidate["busy"] == 0 and flags & (_TOB | _SNAPSHOT) == 0:
@ a level that comes or goes moves none below it
-        end = depth + 1 if state.sides[nth(side)]["length"] == length else visible
+        end = depth + 1
@ the image gets a price that the record does not
-        words[px + nth(HEAD)] = price
@ the record gets a size that the image does not
-        shown_halves[sz] = size
@ counts stand in place of sizes
-        halves[sz + nth(2 * HEAD)] = size
+        halves[sz + nth(2 * HEAD)] = count
@ the levels that were shown are not copied
-                copy_shown(emission, book, out)
                 differs = refresh(state, emission, side, out, depth, end)
@ an order that was known is sought too deep
-    while state.rungs[nth(top - depth)]["key"] > key:
+    while state.rungs[nth(top - depth)]["key"] >= key:
@ an order that moves leaves its old depth as it was
-    first = min(depth, from_depth)
+    first = depth
@ what is deeper than the last level comes out
-            if depth < visible:
+            if True:
                 copy_shown(emission, book, out)
@ an event that changes nothing comes out
-                if differs or candidate["differs"] != 0 or not emission.only_changes:
+                if True:
@ the last book of a batch is not settled
-    if book >= 0 and done > run:
-        settle(state, book, records[nth(done - 1)], done - run, events)
     return status, done, out
"""
    )
]


ANALYTICS: Final = [
    *read(
        """
=== analytics/_bar_kernels.py
@ a bar ends after the row that fills it
-        if ended or first[i]:
+        total += values[i]
+        if ended or first[i]:
             bar += 1
             total = 0.0
-        total += values[i]
@ a bar that is exactly full goes on
-        ended = total >= threshold
+        ended = total > threshold
@ a bar takes what the one before it had
             bar += 1
-            total = 0.0
@ a bar goes on in the next book
-        if ended or first[i]:
+        if ended:
=== analytics/_life_kernels.py
@ an id is found in another book
-        if row["order_id"] == order_id and row["book"] == book:
+        if row["order_id"] == order_id:
@ a search does not wrap around the table
             break
-        position = (position + 1) & mask
+        position = position + 1
@ an order that was never seen to enter has an entry
-    row["ts_entered"] = _UNDEF_TIME if began == UNKNOWN else record["ts_event"]
+    row["ts_entered"] = record["ts_event"]
@ the order itself stands ahead of it
-    lives.rows[number]["queue_ahead"] = state.levels[nth(order["level"])]["size"] - np.int64(order["size"])
+    lives.rows[number]["queue_ahead"] = state.levels[nth(order["level"])]["size"]
@ the end has no time
     row["outcome"] = outcome
-    row["ts_ended"] = record["ts_event"]
@ fills of an earlier event are still to be told
-    return row["pending"] if row["event"] == state.books[nth(book)]["events"] else np.int64(0)
+    return np.int64(row["pending"])
@ the distance of an ask is that of a bid
-    return price - best if side & 1 else best - price
+    return best - price
@ the distance is from the worst price
-    best = state.levels[nth(state.rungs[nth(slot["start"] + slot["length"] - 1)]["level"])]["price"]
+    best = state.levels[nth(state.rungs[nth(slot["start"])]["level"])]["price"]
@ a clear that the engine implies is not seen
-    return flags & _TOB != 0 or (record["price"] != _UNDEF_PRICE and sized(record))
+    return False
@ every record of a snapshot clears
-    if record["action"] != _ADD or flags & _SNAPSHOT == 0 or state.books[nth(book)]["in_snapshot"] != 0:
+    if record["action"] != _ADD or flags & _SNAPSHOT == 0:
@ a clear leaves the asks open
-            end_sides(state, lives, book, record, 2 * book, 2 * book + 2)
+            end_sides(state, lives, book, record, 2 * book, 2 * book + 1)
@ a clear ends the first of each queue alone
-                slot = np.int64(order["next"])
+                slot = np.int64(NIL)
@ a restored order that was away is the same one
-        if restored and row["outcome"] == CLEARED and row["clear"] == lives.clears[book]:
+        if restored and row["outcome"] == CLEARED:
@ the last of several fills counts alone
-    row["pending"] = pending(state, row, book) + np.int64(record["size"])
+    row["pending"] = np.int64(record["size"])
@ the first fill is the last one
-    if row["ts_first_fill"] == _UNDEF_TIME:
-        row["ts_first_fill"] = record["ts_event"]
+    row["ts_first_fill"] = record["ts_event"]
@ an order known by its fill has the trade's price
-        lives.rows[number]["price"] = _UNDEF_PRICE  # of an F it is the trade's
+        pass
@ an unknown order's cancel is always one
-        end(row, FILLED if pending(state, row, book) >= record["size"] else CANCELLED, record)
+        end(row, CANCELLED, record)
@ the exchange's own M counts as the owner's
-    row["modifies"] += 0 if told > 0 else 1
+    row["modifies"] += 1
@ what was told is told again
     row["modifies"] += 0 if told > 0 else 1
-    row["pending"] = 0
     if moved and lives.places:
@ a refreshed iceberg has given up its place
-        end(row, FILLED if told >= shown else MODIFIED, record)
+        end(row, MODIFIED, record)
@ a replaced order is cancelled
-        end(row, REPLACED, record)
+        end(row, CANCELLED, record)
@ a smaller size loses the place
-                moved = level["side"] != side or level["price"] != record["price"] or size > shown
+                moved = level["side"] != side or level["price"] != record["price"] or size != shown
@ an equal size loses the place everywhere
-                moved = moved or (size == shown and state.books[nth(book)]["equal_loses"] != 0)
+                moved = moved or size == shown
@ a cancel is a fill where anything was filled
-                end(row, FILLED if told >= shown and action == _CANCEL else CANCELLED, record)
+                end(row, FILLED if told > 0 and action == _CANCEL else CANCELLED, record)
@ a top-of-book record ends both sides
-            end_sides(state, lives, book, record, side, side + 1)  # it is all that is known of its side
+            end_sides(state, lives, book, record, 2 * book, 2 * book + 2)
=== analytics/_watch_kernels.py
@ the log model takes the logarithm of the size itself
-        return np.log1p(size)
+        return np.log(size + 1e-300)
@ a trade leaves the front where it is
-    ahead = max(ahead - traded, 0.0)
+    ahead = max(ahead, 0.0)
@ what traded was cancelled too
-    rest = max(others - traded, 0.0)
+    rest = max(others, 0.0)
@ risk-averse is not
-    if cancelled > 0.0 and kind != RISK_AVERSE:
+    if cancelled > 0.0:
@ who cancels is behind as often as before
-            ahead = max(ahead - cancelled * front / (front + back), 0.0)
+            ahead = max(ahead - cancelled * back / (front + back), 0.0)
@ more are ahead than there are
-    return min(ahead, left)
+    return ahead
@ what traded out of sight is forgotten
-            ahead[i] = ahead[i - 1]
+            ahead[i] = ahead[i - 1]
+            unseen = 0.0
@ what traded out of sight counts twice
             last = others[i]
-            unseen = 0.0
@ the last of the chosen ids is not found
-        if watch.ids[middle] < order_id:
+        if watch.ids[middle] <= order_id:
@ the first touch of an event counts alone
-            entry["traded"] += traded
             return
@ a trade meets the aggressor's side
-        if record["side"] != met:
+        if record["side"] == met:
@ a place that is lost is not a new one
-    watch.orders[slot]["watch"] = NOT
     if is_watched(watch, record["order_id"]):
-        watch.orders[slot]["watch"] = NEW
+        watch.orders[slot]["watch"] = NEW if watch.orders[slot]["watch"] == NOT else FOLLOWED
@ a new place remembers the fill of the old one
         watch.orders[slot]["watch"] = NEW
-        watch.orders[slot]["filled"] = 0
@ the order itself stands behind it
-    row["queue_behind"] = others - ahead
+    row["queue_behind"] = level["size"] - ahead
@ orders without a size of their own count as orders
-                before += 1
-            ahead += np.int64(order["size"])
+            before += 1
+            ahead += np.int64(order["size"])
@ a fill in part tells nothing
-        elif own["filled"] != 0:
+        elif False:
@ estimates begin at nothing
-            pass
+            estimate = 0.0
@ the levels of an event are noted again in the next
-    watch.touched[book] = 0
@ the first level is the second
-            return depth
+            return depth + 1
@ rows are written at every record
-        if flags & _LAST != 0:
+        if True:
@ an order that is cancelled touches nothing
-                touch(state, watch, book, np.int64(order["level"]), np.int64(0))
+                if action != _CANCEL:
+                    touch(state, watch, book, np.int64(order["level"]), np.int64(0))
@ a larger size keeps its place
-                        level["side"] != side or level["price"] != record["price"] or record["size"] > order["size"]
+                        level["side"] != side or level["price"] != record["price"]
@ an equal size keeps its place
-                    arrives = arrives or (
-                        record["size"] == order["size"] and state.books[nth(book)]["equal_loses"] != 0
-                    )
@ a modify is never an arrival of an unknown order
-            if position >= 0 and (arrives or not rested) and accepted(record):
+            if position >= 0 and arrives and accepted(record):
"""
    )
]
