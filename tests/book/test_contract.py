"""What every book must do, whichever way it is built: one class of tests, inherited by each implementation."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest

from mbo.book import Book, L3Book, ReferenceBook
from mbo.errors import OrderError, RequestError, RuleError
from mbo.records import Side
from tests.book.tapes import BAD_TS, LAST, MAYBE_BAD, MBP, SNAPSHOT, TICK, TOB, reading_ahead, record, tape

pytestmark = pytest.mark.nojit

ONE_HASH = (1, 0x1E937EDFA)  # which the engine's table of ids cannot tell apart


def ids(book: L3Book, side: str, level: int = 0) -> list[int]:
    return [order.order_id for order in book.orders(side, level=level)]


def levels(book: L3Book, side: str) -> list[tuple[int, int, int]]:
    return [(level.price // TICK, level.size, level.count) for level in book.levels(side)]


class Contract:
    """Inherited by a class for each implementation."""

    def make(self, **options: object) -> L3Book:
        raise NotImplementedError

    def built(self, *lines: str, venue: int = 1, **options: object) -> L3Book:
        book = self.make(**options)
        book.apply(tape(*lines, publisher_id=venue))
        book.check()
        return book

    # ------------------------------------------------------------ the rules

    def test_add_joins_the_back_of_its_level(self):
        #   bids            asks
        #   100: 5(#1) 3(#2)
        #    99: 1(#3)      101: 2(#4)
        book = self.built("A 1 B 100 5", "A 2 B 100 3", "A 3 B 99 1", "A 4 A 101 2")
        assert levels(book, "bid") == [(100, 8, 2), (99, 1, 1)]
        assert levels(book, "ask") == [(101, 2, 1)]
        assert ids(book, "bid") == [1, 2]
        assert (book.queue_ahead(1), book.queue_ahead(2), book.queue_ahead(3)) == (0, 5, 0)

    def test_levels_come_best_first_on_both_sides(self):
        prices = [5, -3, 12, 0, 7, -20, 1]
        book = self.built(
            *[f"A {k} B {p} 1" for k, p in enumerate(prices)],
            *[f"A {k + 50} A {p + 90} 1" for k, p in enumerate(prices)],
        )
        assert [p for p, _, _ in levels(book, "bid")] == sorted(prices, reverse=True)
        assert [p for p, _, _ in levels(book, "ask")] == sorted(p + 90 for p in prices)
        assert book.depth("bid") == book.depth("ask") == 7

    def test_cancel_takes_the_order_out(self):
        book = self.built("A 1 B 100 5", "A 2 B 100 3", "A 3 B 100 2", "C 2 B 100 3")
        assert levels(book, "bid") == [(100, 7, 2)]
        assert ids(book, "bid") == [1, 3]

    def test_partial_cancel_keeps_the_place(self):
        book = self.built("A 1 B 100 5", "A 2 B 100 3", "C 1 B 100 4")
        assert levels(book, "bid") == [(100, 4, 2)]
        assert ids(book, "bid") == [1, 2]
        assert book.queue_ahead(2) == 1

    def test_the_last_order_takes_its_level_along(self):
        book = self.built("A 1 A 101 5", "A 2 A 102 1", "C 1 A 101 5")
        assert levels(book, "ask") == [(102, 1, 1)]

    def test_modify_to_a_smaller_size_keeps_the_place(self):
        book = self.built("A 1 B 100 5", "A 2 B 100 3", "M 1 B 100 2")
        assert ids(book, "bid") == [1, 2]
        assert levels(book, "bid") == [(100, 5, 2)]

    def test_modify_to_a_larger_size_loses_the_place(self):
        book = self.built("A 1 B 100 5", "A 2 B 100 3", "M 1 B 100 6")
        assert ids(book, "bid") == [2, 1]
        assert levels(book, "bid") == [(100, 9, 2)]

    @pytest.mark.parametrize(
        ("venue", "equal_size", "queue"),
        [(1, "venue", [2, 1]), (2, "venue", [1, 2]), (1, "keeps", [1, 2]), (2, "loses", [2, 1])],
    )
    def test_modify_to_an_equal_size_is_the_venues_choice(self, venue, equal_size, queue):
        book = self.built("A 1 B 100 5", "A 2 B 100 3", "M 1 B 100 5", venue=venue, equal_size=equal_size)
        assert ids(book, "bid") == queue
        assert book.status.equal_size_loses == (queue == [2, 1])

    def test_modify_to_another_price_joins_the_back_there(self):
        book = self.built("A 1 B 100 5", "A 2 B 99 3", "M 1 B 99 1")
        assert levels(book, "bid") == [(99, 4, 2)]
        assert ids(book, "bid") == [2, 1]
        assert not book.anomalies

    def test_since_when_an_order_stands(self):
        book = self.built(
            "A 1 B 100 5", "A 2 B 100 5", "A 3 B 100 5", "M 1 B 100 2", "M 2 B 100 9", "C 3 B 100 1", "M 3 B 100 2"
        )
        assert {order.order_id: order.ts_event for order in book.orders("bid")} == {1: 1000, 2: 1004, 3: 1002}

    @pytest.mark.parametrize("action", "TFN")
    def test_trades_fills_and_nones_never_touch_the_book(self, action):
        book = self.built("A 1 B 100 5", f"{action} 1 B 100 5", f"{action} 9 A 100 5", f"{action} 0 N - 0")
        assert levels(book, "bid") == [(100, 5, 1)]
        assert not book.anomalies
        assert book.status.messages == 4

    def test_clear_empties_the_book_and_makes_it_synced(self):
        book = self.built("A 1 B 100 5", "A 2 A 101 5")
        assert not book.synced
        book.apply(tape("R 0 N - 0"))
        assert book.synced
        assert book.bbo == (None, None)
        assert book.status.orders == 0
        book.apply(tape("A 1 B 100 5"))
        assert not book.anomalies
        book.check()

    # ------------------------------------------------------------ broken rules

    BROKEN: ClassVar = {
        "unknown_cancel": ("C 9 B 100 1", [(100, 5, 1)]),
        "unknown_modify": ("M 9 B 100 1", [(100, 6, 2)]),
        "duplicate_add": ("A 1 B 99 2", [(99, 2, 1)]),
        "cancel_too_large": ("C 1 B 100 6", []),
        "cancel_mismatch": ("C 1 B 99 2", [(100, 3, 1)]),
        "bad_size": ("A 9 B 100 0", [(100, 5, 1)]),
        "bad_price": ("A 9 B - 1", [(100, 5, 1)]),
        "bad_side": ("A 9 N 100 1", [(100, 5, 1)]),
        "bad_action": ("X 9 B 100 1", [(100, 5, 1)]),
    }

    @pytest.mark.parametrize("rule", BROKEN)
    def test_lenient_counts_and_goes_on(self, rule):
        line, expected = self.BROKEN[rule]
        book = self.built("N 0 N - 0", "A 1 B 100 5", line)
        assert levels(book, "bid") == expected
        assert set(book.anomalies) == {rule}
        anomaly = book.anomalies[rule]
        bad = int(line.split()[1])
        assert (anomaly.count, anomaly.index, anomaly.order_id, anomaly.ts_event, anomaly.sequence) == (
            1,
            2,
            bad,
            1002,
            12,
        )

    @pytest.mark.parametrize("rule", BROKEN)
    def test_strict_raises_and_leaves_the_book_as_it_was(self, rule):
        line, _ = self.BROKEN[rule]
        book = self.built("N 0 N - 0", "A 1 B 100 5", strict=True)
        before, digest = book.status, book.digest()
        with pytest.raises(RuleError) as caught:
            book.apply(tape(line, ts_event=55, sequence=66))
        error = caught.value
        assert (error.rule, error.index, error.ts_event, error.sequence) == (rule, 2, 55, 66)
        assert error.order_id == int(line.split()[1])
        assert (book.status, book.digest(), book.anomalies) == (before, digest, {})
        book.check()

    def test_strict_applies_what_comes_before_the_bad_record(self):
        book = self.make(strict=True)
        with pytest.raises(RuleError):
            book.apply(tape("A 1 B 100 5", "A 2 B 100 1", "C 3 B 100 1", "A 4 B 100 1"))
        assert ids(book, "bid") == [1, 2]
        assert book.status.messages == 2

    def test_the_first_offender_is_kept(self):
        book = self.built("C 5 B 1 1", "C 6 B 1 1", "C 7 B 1 1")
        assert (book.anomalies["unknown_cancel"].count, book.anomalies["unknown_cancel"].order_id) == (3, 5)

    def test_modify_to_the_other_side_moves_there(self):
        book = self.built("A 1 B 100 5", "A 2 A 100 1", "M 1 A 100 5")
        assert levels(book, "bid") == []
        assert ids(book, "ask") == [2, 1]
        assert set(book.anomalies) == {"side_change"}

    def test_modify_to_nothing_removes(self):
        book = self.built("A 1 B 100 5", "M 1 B 100 0")
        assert levels(book, "bid") == []
        assert set(book.anomalies) == {"bad_size"}

    def test_cancel_of_nothing_does_nothing(self):
        book = self.built("A 1 B 100 5", "C 1 B 100 0")
        assert levels(book, "bid") == [(100, 5, 1)]
        assert set(book.anomalies) == {"bad_size"}

    def test_two_rules_broken_by_one_record_are_both_counted(self):
        book = self.built("A 1 B 100 5", "C 1 A 100 6", "M 2 B 100 0")
        assert {rule: a.count for rule, a in book.anomalies.items()} == {
            "cancel_mismatch": 1, "cancel_too_large": 1, "unknown_modify": 1, "bad_size": 1,
        }  # fmt: skip

    # ------------------------------------------------------------ snapshots, gaps, aggregated feeds

    def test_the_first_snapshot_record_clears_the_book(self):
        snapshot = SNAPSHOT | BAD_TS
        book = self.built("A 1 B 100 5", f"A 2 B 90 1 {snapshot}", f"A 3 A 95 1 {snapshot | LAST}", "A 4 B 91 1")
        assert levels(book, "bid") == [(91, 1, 1), (90, 1, 1)]
        assert book.synced
        assert set(book.anomalies) == {"implied_clear"}
        book.apply(tape(f"A 5 B 80 1 {snapshot | LAST}"))
        assert levels(book, "bid") == [(80, 1, 1)]
        assert book.anomalies["implied_clear"].count == 2

    def test_a_snapshot_of_an_empty_book_implies_nothing(self):
        book = self.built(f"A 2 B 90 1 {SNAPSHOT}", f"A 3 A 95 1 {SNAPSHOT | LAST}", strict=True)
        assert book.status.orders == 2
        assert book.synced
        assert not book.anomalies

    def test_a_snapshot_ends_with_its_event(self):
        """Two files of before 2024 in a row: nothing stands between their snapshots, and neither has an R."""
        snapshot = SNAPSHOT | BAD_TS
        book = self.built(
            f"A 1 B 90 1 {snapshot}",
            f"A 2 B 91 1 {snapshot | LAST}",
            f"A 1 B 90 1 {snapshot}",
            f"A 3 B 92 1 {snapshot | LAST}",
        )
        assert [order.order_id for order in book.orders()] == [3, 1]
        assert {rule: a.count for rule, a in book.anomalies.items()} == {"implied_clear": 1}
        closed_by_none = self.built(f"A 1 B 90 1 {snapshot}", "N 0 N - 0 128", f"A 3 B 92 1 {snapshot | LAST}")
        assert [order.order_id for order in closed_by_none.orders()] == [3]

    @pytest.mark.parametrize("first", ["C 77 B 90 1 32", "M 9 B 90 1 32", "A 1 B - 5 40", "A 1 N 90 5 40"])
    def test_only_a_good_order_begins_a_snapshot(self, first):
        book = self.built("A 9 B 100 5", first, f"A 1 B 90 1 {SNAPSHOT}", f"A 2 B 91 1 {SNAPSHOT | LAST}")
        assert [order.order_id for order in book.orders()] == [2, 1]
        assert book.synced

    def test_an_aggregate_leaves_its_orders_behind(self):
        book = self.built("A 1 B 100 5", f"A 0 B 100 10 {MBP}", f"C 0 B 100 0 {MBP}")
        assert (levels(book, "bid"), ids(book, "bid")) == ([(100, 5, 1)], [1])

    def test_a_plain_clear_before_snapshot_records_is_part_of_it(self):
        book = self.built(
            "A 1 B 100 5", f"R 0 N - 0 {BAD_TS}", f"A 2 B 90 1 {SNAPSHOT}", f"A 3 A 95 1 {SNAPSHOT | LAST}"
        )
        assert book.status.orders == 2
        assert not book.anomalies

    def test_trades_between_snapshot_records_do_not_end_it(self):
        book = self.built(f"A 1 B 90 1 {SNAPSHOT}", "T 0 B 90 1 0", f"A 2 B 91 1 {SNAPSHOT | LAST}")
        assert book.status.orders == 2

    def test_a_gap_makes_the_book_suspect_until_the_next_clear(self):
        book = self.built("A 1 B 100 5", f"T 0 A 100 1 {MAYBE_BAD | LAST}", "A 2 B 100 5", strict=True)
        assert book.status.suspect
        assert book.anomalies["maybe_bad_book"].order_id == 0
        book.apply(tape("R 0 N - 0"))
        assert not book.status.suspect

    def test_top_of_book_records_replace_their_side(self):
        book = self.built(f"A 0 B 100 5 {TOB | LAST}", f"A 0 A 102 7 {TOB | LAST}", f"A 0 B 101 3 {TOB | LAST}")
        assert levels(book, "bid") == [(101, 3, 0)]
        assert levels(book, "ask") == [(102, 7, 0)]
        assert len(book.orders()) == book.status.orders == 0
        book.apply(tape(f"A 0 B - 0 {TOB | LAST}"))
        assert book.bbo.bid is None
        assert not book.anomalies
        book.apply(tape(f"C 0 A 102 7 {TOB | LAST}"))
        assert set(book.anomalies) == {"bad_action"}
        book.check()

    def test_price_level_records_set_whole_levels(self):
        book = self.built(
            f"A 0 B 100 5 {MBP}",
            f"A 0 B 99 4 {MBP}",
            f"M 0 B 100 2 {MBP}",
            f"C 0 B 99 4 {MBP}",
            f"A 0 A 101 9 {MBP | LAST}",
        )
        assert levels(book, "bid") == [(100, 2, 0)]
        assert levels(book, "ask") == [(101, 9, 0)]
        assert not book.anomalies
        book.apply(tape(f"C 0 B 50 1 {MBP}", f"M 0 B 51 1 {MBP}", f"M 0 B 100 0 {MBP}"))
        assert levels(book, "bid") == [(51, 1, 0)]
        assert set(book.anomalies) == {"unknown_cancel", "unknown_modify", "bad_size"}
        book.check()

    def test_orders_and_an_aggregate_share_a_level(self):
        book = self.built("A 1 B 100 5", f"A 0 B 100 10 {MBP}", "A 2 B 100 1")
        assert levels(book, "bid") == [(100, 16, 2)]
        assert (ids(book, "bid"), book.queue_ahead(2)) == ([1, 2], 15)
        assert book.orders("bid")[1].queue_ahead == 15
        book.apply(tape("C 1 B 100 5", "C 2 B 100 1"))
        assert levels(book, "bid") == [(100, 10, 0)]

    def test_snapshot_restores_the_same_book(self):
        book = self.built(
            "R 0 N - 0", "A 1 B 100 5", "A 2 B 100 3", "A 3 A 101 2", f"A 0 A 102 9 {MBP}", "M 1 B 100 9", "A 4 B 90 1"
        )
        other = self.make()
        snapshot = book.snapshot()
        other.apply(snapshot)
        other.check()
        assert other.digest() == book.digest()
        assert other.orders() == book.orders()
        assert (other.synced, other.status.suspect) == (True, False)
        assert snapshot["action"].tolist() == list(b"RAAAAA")
        assert snapshot["flags"].tolist() == [40, 40, 40, 40, 40, 40 | MBP | LAST]
        assert (snapshot["ts_recv"] == book.status.ts_recv).all()

    def test_snapshot_of_a_suspect_book_says_so(self):
        book = self.built("R 0 N - 0", f"A 1 B 100 5 {MAYBE_BAD | LAST}")
        assert (book.synced, book.status.suspect) == (True, True)
        assert book.snapshot()["flags"][0] & MAYBE_BAD

    def test_snapshot_keeps_since_when_everything_stands(self):
        book = self.built(
            "R 0 N - 0", "A 1 B 100 5", f"A 0 A 102 9 {MBP}", f"M 0 A 102 8 {MBP}", "A 2 B 99 1", "M 1 B 100 9"
        )
        assert book.snapshot()["ts_event"].tolist()[1:] == [1005, 1004, 1003]

    def test_snapshot_of_an_unsynced_book_says_so(self):
        book = self.built("A 1 B 100 5")
        other = self.make()
        other.apply(book.snapshot())
        assert other.status.suspect
        empty = self.make()
        empty.apply(self.built("R 0 N - 0").snapshot())
        assert empty.synced
        assert (empty.status.suspect, empty.status.valid) == (False, True)

    # ------------------------------------------------------------ what a book says of itself

    def test_status_is_that_of_the_last_record(self):
        book = self.make()
        assert (book.status.messages, book.status.valid, book.bbo, book.levels("bid").array.size) == (
            0,
            False,
            (None, None),
            0,
        )
        book.apply(tape("A 1 B 100 5 0", "T 0 B 100 5 0", "N 0 N - 0 128", "A 2 B 100 1 0", channel_id=3))
        status = book.status
        assert (status.publisher_id, status.instrument_id, status.channel_id) == (1, 7, 3)
        assert (status.ts_event, status.ts_recv, status.sequence) == (1003, 1103, 13)
        assert (status.messages, status.events, status.orders, status.valid) == (4, 1, 2, False)

    def test_crossed_is_a_bid_at_or_above_the_ask(self):
        book = self.built("A 1 B 100 5", "A 2 A 101 5")
        assert not book.crossed
        book.apply(tape("M 2 A 100 5"))
        assert book.crossed

    def test_extreme_values(self):
        book = self.make()
        largest = 2**32 - 2
        for number, price in enumerate([-(2**63), 2**63 - 2, 0, -1]):
            for side in "AB":
                one = record("A", 2**64 - 1 - number * 2 - (side == "A"), side, 0, largest)
                one["price"] = price
                book.apply(one)
        for number in range(3):
            book.apply(record("A", number, "B", 0, largest))
        book.check()
        assert [level.price for level in book.levels("bid")] == [2**63 - 2, 0, -1, -(2**63)]
        assert [level.price for level in book.levels("ask")] == [-(2**63), -1, 0, 2**63 - 2]
        assert book.levels("bid")[1] == (0, 4 * largest, 4)
        assert book.order(2**64 - 1).price == -(2**63)
        assert book.queue_ahead(2) == 3 * largest
        assert not book.anomalies

    def test_digest_knows_priority_size_price_side_and_id(self):
        base = ["A 1 B 100 5", "A 2 B 100 5"]
        others = [
            ["A 2 B 100 5", "A 1 B 100 5"], ["A 1 B 100 5", "A 2 B 100 4"], ["A 1 B 100 5", "A 2 B 99 5"],
            ["A 1 B 100 5", "A 3 B 100 5"], ["A 1 A 100 5", "A 2 A 100 5"], [],
        ]  # fmt: skip
        digests = {self.built("N 0 N - 0", *lines).digest() for lines in (base, *others)}
        assert len(digests) == len(others) + 1
        assert self.built(*base).digest() == self.built("A 9 B 1 1", *base, "C 9 B 1 1").digest()

    def test_the_digest_is_the_documented_one(self):
        import hashlib
        import struct

        packed = b"".join(
            struct.pack("<BqQI", *row)
            for row in [(66, 100 * TICK, 1, 5), (66, 99 * TICK, 3, 2), (65, 101 * TICK, 2, 4)]
        )
        book = self.built("A 2 A 101 4", "A 3 B 99 2", "A 1 B 100 5")
        assert book.digest() == hashlib.blake2b(packed, digest_size=16).hexdigest()

    def test_orders_are_listed_by_side_level_and_all(self):
        book = self.built("A 1 B 100 5", "A 2 B 99 3", "A 3 A 101 2", "A 4 B 100 1")
        assert [order.order_id for order in book.orders()] == [1, 4, 2, 3]
        assert [order.order_id for order in book.orders(Side.BID)] == [1, 4, 2]
        assert [order.queue_ahead for order in book.orders("bid")] == [0, 5, 0]
        assert ids(book, "bid", 1) == [2]
        assert book.order(4) == book.orders("bid", level=0)[1]
        assert book.levels("bid", 1)[0] == (100 * TICK, 6, 2)
        assert len(book.levels("bid", 0)) == 0
        assert len(book.levels("bid", 99)) == 2

    def test_requests_that_make_no_sense_are_refused(self):
        book = self.built("A 1 B 100 5")
        for order_id in (2, -1, 2**64):
            with pytest.raises(OrderError, match=str(order_id)):
                book.queue_ahead(order_id)
        for wrong in (
            lambda: book.levels("buy"),
            lambda: book.levels("bid", -1),
            lambda: book.orders("bid", level=1),
            lambda: book.orders("bid", level=-1),
            lambda: book.orders(level=0),
            lambda: book.depth(3),
            lambda: self.make(equal_size="maybe"),
            lambda: book.order(1.5),
            lambda: book.order("1"),
        ):
            with pytest.raises(RequestError):
                wrong()

    def test_records_of_another_instrument_are_refused(self):
        book = self.built("A 1 B 100 5")
        before = book.digest()
        for stranger in (tape("A 2 B 100 5", instrument_id=8), tape("A 2 B 100 5", publisher_id=2)):
            with pytest.raises(RequestError, match="does not take records of"):
                book.apply(stranger)
        assert (book.digest(), book.status.messages) == (before, 1)

    def test_the_callers_records_stay_as_they_are(self):
        records = tape("A 1 B 100 5", "C 1 B 100 2", "M 1 B 100 1")
        before = records.tobytes()
        self.make().apply(records)
        assert records.tobytes() == before
        assert records.flags.writeable

    def test_any_memory_layout_is_taken(self):
        records = tape("A 1 B 100 5", "A 2 B 100 5", "C 1 B 100 2", "M 2 B 100 1")
        expected = self.built()
        expected.apply(records)
        raw = records.tobytes()
        strided = np.zeros(2 * len(records), records.dtype)
        strided[::2] = records
        unaligned = np.frombuffer(b"x" + raw, np.uint8)[1:].view(records.dtype)
        for same in (strided[::2], unaligned, np.frombuffer(raw, records.dtype)):
            book = self.built()
            book.apply(same)
            assert book.digest() == expected.digest()

    def test_nothing_to_apply(self):
        book = self.built()
        assert (book.status.messages, book.digest()) == (0, self.make().digest())

    def test_document_says_how_far_the_book_can_be_trusted(self):
        document = self.built(f"A 1 B 100 5 {MAYBE_BAD}").document()
        assert (document["valid"], document["synced"], document["suspect"], document["crossed"]) == (
            False,
            False,
            True,
            False,
        )
        document = self.built("R 0 N - 0", "A 1 B 100 5", "A 2 A 100 5").document()
        assert (document["valid"], document["synced"], document["suspect"], document["crossed"]) == (
            True,
            True,
            False,
            True,
        )

    def test_queues_of_a_crossed_book_are_kept_apart(self):
        book = self.built("A 1 B 100 5", "A 2 A 100 3", "A 3 A 100 1")
        assert [order.queue_ahead for order in book.orders()] == [0, 0, 3]

    def test_document_has_all_levels_best_first(self):
        book = self.built("A 1 B 100 5", "A 2 B 99 3", "A 3 A 101 2", "C 8 B 1 1")
        document = book.document(orders=True)
        first, second = document["bids"]
        assert first | {"orders": ...} == {
            "price": 100 * TICK,
            "px": "1.000000000",
            "size": 5,
            "count": 1,
            "orders": ...,
        }
        assert second | {"orders": ...} == {
            "price": 99 * TICK,
            "px": "0.990000000",
            "size": 3,
            "count": 1,
            "orders": ...,
        }
        assert first["orders"] == [{"order_id": 1, "size": 5, "ts_event": 1000}]
        assert (document["instrument_id"], document["publisher_id"], document["orders"]) == (7, 1, 3)
        assert (document["ts_event"], document["ts_recv"], document["sequence"]) == (1003, 1103, 13)
        assert (document["synced"], document["crossed"], document["equal_size"]) == (False, False, "loses")
        offender = {"index": 3, "order_id": 8, "ts_event": 1003, "sequence": 13}
        assert document["counters"] == {"unknown_cancel": {"count": 1, "first": offender}}
        assert [len(book.document(depth=depth)["bids"]) for depth in (0, 1, 5)] == [0, 1, 2]

    def test_ids_of_one_hash_are_two_orders(self):
        one, other = ONE_HASH
        book = self.make()
        book.apply(tape(f"A {one} B 100 5", f"C {other} B 100 5", f"A {other} A 101 3", f"M {one} B 99 5"))
        assert set(book.anomalies) == {"unknown_cancel"}
        assert (ids(book, "bid"), ids(book, "ask")) == ([one], [other])
        book.apply(tape(f"C {one} B 99 5"))
        assert (book.depth("bid"), ids(book, "ask")) == (0, [other])


class TestReferenceBook(Contract):
    def make(self, **options):
        return ReferenceBook(**options)


class TestBook(Contract):
    def make(self, **options):
        return Book(**options)


class TestBookReadingAhead(Contract):
    """A book that asks the cache for what later records need, as only a large one does by itself."""

    def make(self, **options):
        book = Book(**options)
        reading_ahead(book._books)
        return book


class TestBookAmongOthers(Contract):
    """A book that shares its arrays with others, which hold orders of the same ids at the same prices."""

    def make(self, **options):
        return _Crowded(**options)


class _Crowded(Book):
    def __init__(self, **options):
        super().__init__(**options)
        strict = self._books.strict
        self._books.strict = False
        for publisher_id, instrument_id in [(1, 8), (2, 8), (3, 7)]:
            crowd = tape(
                *[f"A {k} {side} {100 + (k if side == 'A' else -k)} 2" for k in range(20) for side in "AB"],
                publisher_id=publisher_id, instrument_id=instrument_id,
            )  # fmt: skip
            crowd["order_id"][1::2] += 1000
            self._books.apply(crowd)
        self._books.strict = strict
        self._books._state.pool["position"] = 0
        self._index = len(self._books)

    def check(self) -> None:
        super().check()
        assert all(book.status.orders == 40 for book in list(self._books.values())[:3])
