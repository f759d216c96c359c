"""The simulated exchange: its bytes, its rules, and its own truth against a naive replay of what it wrote."""

from __future__ import annotations

import ast
import hashlib
import os
import subprocess
import sys
import tracemalloc
from collections import Counter, defaultdict, namedtuple
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import databento_dbn
import numpy as np
import pytest

import mbo.records
from mbo import dbn, symbols
from mbo.book.interface import digest_of
from mbo.book.rows import ORDER_DTYPE
from mbo.errors import RequestError, SymbolError
from mbo.records import MBO_DTYPE, RecordArray
from mbo.simulator import Feature, Session, Simulator, simulate, write_session
from mbo.units import UNDEF_PRICE, parse_time

LAST, SNAPSHOT, UNTIMED, MAYBE_BAD = 128, 32, 8, 4
SMALL = {"seed": 5, "instruments": 3, "resting": 40}
SMALL_MESSAGES = 2_000
SMALL_HASH = "77064f141758686f2e007562049863c5"
"""Of the bytes of that session. Where it changes, every file and golden result that came from the simulator changes."""
FEATURED_HASH = "20e1de99b72c516624dadf39e7b23aed"
"""The same with every feature: of the bundled session's kind."""

Record = namedtuple("Record", MBO_DTYPE.names)  # type: ignore[misc]


def bytes_hash(records: RecordArray) -> str:
    return hashlib.blake2b(records.tobytes(), digest_size=16).hexdigest()


def events(records: RecordArray) -> list[list[Record]]:
    """Cut a stream of ours into events: those of different instruments never interleave."""
    found: list[list[Record]] = [[]]
    for row in records.tolist():
        found[-1].append(Record(*row))
        if found[-1][-1].flags & LAST:
            found.append([])
    assert not found.pop(), "the stream ends within an event"
    return found


class NaiveBook:
    """The rules of `mbo.book.interface` for clean data: for every price a list of [order_id, size, ts_event]."""

    def __init__(self) -> None:
        self.sides: dict[int, dict[int, list[list[int]]]] = {ord("B"): {}, ord("A"): {}}
        self.places: dict[int, tuple[int, int]] = {}

    def apply(self, record: Record) -> None:
        match chr(record.action):
            case "A":
                assert record.order_id not in self.places
                self.insert(record)
            case "C":
                assert self.find(record.order_id)[1] == record.size, "a cancel is of all that is left"
                assert self.places[record.order_id] == (record.side, record.price)
                self.remove(record.order_id)
            case "M":
                order = self.find(record.order_id)
                same_price = self.places[record.order_id] == (record.side, record.price)
                assert not (same_price and order[1] == record.size), "a modify changes something"
                if same_price and record.size < order[1]:
                    order[1] = record.size
                else:
                    self.remove(record.order_id)
                    self.insert(record)
            case "R":
                self.__init__()  # type: ignore[misc]

    def insert(self, record: Record) -> None:
        self.sides[record.side].setdefault(record.price, []).append([record.order_id, record.size, record.ts_event])
        self.places[record.order_id] = record.side, record.price

    def find(self, order_id: int) -> list[int]:
        side, price = self.places[order_id]
        return next(order for order in self.sides[side][price] if order[0] == order_id)

    def remove(self, order_id: int) -> None:
        side, price = self.places.pop(order_id)
        queue = self.sides[side][price]
        queue.remove(next(order for order in queue if order[0] == order_id))
        if not queue:
            del self.sides[side][price]

    def crossed(self) -> bool:
        bids, asks = self.sides[ord("B")], self.sides[ord("A")]
        return bool(bids and asks) and max(bids) >= min(asks)

    def prices(self, side: int) -> list[int]:
        """Best first."""
        return sorted(self.sides[side], reverse=side == ord("B"))

    def orders(self) -> np.ndarray:
        rows = [
            (order_id, side, price, size, ts_event, False)
            for side in map(ord, "BA")
            for price in self.prices(side)
            for order_id, size, ts_event in self.sides[side][price]
        ]  # fmt: skip
        return np.array(rows, ORDER_DTYPE)


def replay(records: RecordArray) -> dict[int, NaiveBook]:
    books: dict[int, NaiveBook] = defaultdict(NaiveBook)
    for event in events(records):
        book = books[event[0].instrument_id]
        for record in event:
            book.apply(record)
        assert not book.crossed(), event
    return books


# --- bytes


@pytest.mark.nojit
def test_bytes_same_seed() -> None:
    assert bytes_hash(simulate(SMALL_MESSAGES, **SMALL).records) == SMALL_HASH


def small_hashes() -> str:
    sessions = (simulate(SMALL_MESSAGES, **SMALL, features=features) for features in (Feature.NONE, Feature.ALL))
    return " ".join(bytes_hash(session.records) for session in sessions)


def test_bytes_without_jit() -> None:
    code = "from tests.test_simulator import *; print(small_hashes())"
    for disable in "01":
        ran = subprocess.run(
            [sys.executable, "-W", "error", "-c", code], cwd=Path(__file__).parents[1],
            env={**os.environ, "NUMBA_DISABLE_JIT": disable}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ran.stdout.strip() == f"{SMALL_HASH} {FEATURED_HASH}", ran.stderr


@pytest.mark.nojit
def test_bytes_other_seed() -> None:
    first, second = (simulate(500, seed=seed, resting=20).records for seed in (1, 2))
    assert bytes_hash(first) != bytes_hash(second)


@pytest.mark.parametrize("batch_records", [128, 129, 1_000, 1 << 20])
def test_bytes_any_batch_size(batch_records: int) -> None:
    shape = {"seed": 3, "instruments": 2, "resting": 200}  # longer snapshots than the smallest batches
    whole, cut = (Simulator(**shape) for _ in range(2))
    batches = list(cut.batches(80_000, batch_records=batch_records))
    assert max(map(len, batches)) <= batch_records
    expected = np.concatenate(list(whole.batches(80_000)))
    assert ((expected["action"] == ord("R")) & (np.arange(80_000) > 402)).any(), "no snapshot on the way"
    assert np.concatenate(batches).tobytes() == expected.tobytes()
    assert [cut.digest(number) for number in cut.instrument_ids] == [
        whole.digest(number) for number in whole.instrument_ids
    ]


@pytest.mark.parametrize("messages", [*range(42, 60), 169, 170, 171, 1_000, 65_536, 65_537, 70_000])
def test_batches_give_exactly_so_many(messages: int) -> None:
    batches = list(Simulator(resting=41).batches(messages))
    assert sum(map(len, batches)) == messages
    assert max(map(len, batches)) <= 65_536
    assert batches[-1]["flags"][-1] & LAST


def test_batches_go_on() -> None:
    exchange = Simulator(seed=4, resting=50)
    records = np.concatenate([batch for messages in (3_000, 1, 2_000) for batch in exchange.batches(messages)])
    assert len(records) == 5_001
    np.testing.assert_array_equal(replay(records)[1001].orders(), exchange.orders(1001))


# --- truth


@pytest.mark.nojit
def test_truth_small() -> None:
    session = simulate(SMALL_MESSAGES, **SMALL)
    for number, book in replay(session.records).items():
        np.testing.assert_array_equal(book.orders(), session.orders(number))
        assert digest_of(book.orders()) == session.digest(number)


@pytest.mark.parametrize(
    ("seed", "instruments", "resting"), [(1, 1, 300), (2, 1, 20), (3, 7, 100), (4, 50, 30), (5, 1, 6_000), (6, 2, 2)]
)
def test_truth_is_naive_replay(seed: int, instruments: int, resting: int) -> None:
    session = simulate(60_000, seed=seed, instruments=instruments, resting=resting)
    books = replay(session.records)
    assert sorted(books) == session.instrument_ids
    for number, book in books.items():
        np.testing.assert_array_equal(book.orders(), session.orders(number))
        assert 0.4 * resting <= len(book.places) <= 1.3 * resting or resting < 100


def test_truth_after_every_batch() -> None:
    exchange, book = Simulator(seed=8, resting=150), NaiveBook()
    for batch in exchange.batches(20_000, batch_records=500):
        for row in batch.tolist():
            book.apply(Record(*row))
        if batch["flags"][-1] & LAST:
            np.testing.assert_array_equal(book.orders(), exchange.orders(1001))


# --- rules


@pytest.mark.nojit
def test_opening_is_snapshot_of_every_instrument() -> None:
    session = simulate(200, seed=9, instruments=3, resting=15)
    start = parse_time("2025-01-06T14:30")
    for k, event in enumerate(events(session.records)[:3]):
        clear, *adds = event
        assert (clear.instrument_id, chr(clear.action), chr(clear.side), clear.order_id) == (1001 + k, "R", "N", 0)
        assert (clear.price, clear.size, clear.sequence, clear.ts_event) == (UNDEF_PRICE, 0, 0, adds[0].ts_event)
        assert [record.flags for record in event] == [40] * 15 + [168]
        assert {(record.ts_recv, record.ts_in_delta) for record in event} == {(start, 0)}
        assert all(record.ts_event < start for record in adds)
        arrivals = sorted((record.ts_event, record.sequence, record.order_id) for record in adds)
        assert all(np.diff(column).min() > 0 for column in np.array(arrivals, np.int64).T), "each order has its own"
        book = NaiveBook()
        for record in event:
            book.apply(record)
        assert [record.order_id for record in adds] == book.orders()["order_id"].tolist(), (
            "adds stand in priority order"
        )


def walk_trades(book: NaiveBook, event: list[Record]) -> int:
    """Check the T and F of an event against the book before it; return how many F it has."""
    consumed: Counter[int] = Counter()
    queue: list[list[int]] = []
    traded = [record for record in event if chr(record.action) in "TF"]
    assert traded == event[: len(traded)], "T and F come before the first change"
    for record, following in zip(traded, [*traded[1:], None], strict=True):
        side = ord("A") if (record.side == ord("B")) == (chr(record.action) == "T") else ord("B")
        if chr(record.action) == "T":
            price, *_ = (price for price in book.prices(side) if price not in consumed)
            assert (record.price, record.order_id) == (price, traded[0].order_id)
            queue, left = list(book.sides[side][price]), record.size
            consumed[price] += 1
            continue
        order_id, size, _ = queue.pop(0)
        left -= record.size
        assert (record.order_id, record.price) == (order_id, price)
        assert record.size == size or (record.size < size and following is None), "only the last fill is of a part"
        if following is None or chr(following.action) == "T":
            assert left == 0, "a trade is the sum of its fills"
    fills = [record for record in traded if chr(record.action) == "F"]
    changes = [record for record in event[len(traded) :] if record.order_id != traded[0].order_id]
    assert [record.order_id for record in changes] == [record.order_id for record in fills]
    for fill, change in zip(fills, changes, strict=True):
        rest = book.find(fill.order_id)[1] - fill.size
        assert (chr(change.action), change.size) == (("M", rest) if rest else ("C", fill.size))
    return len(fills)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_fills_name_front_of_queue(seed: int) -> None:
    session, seen = simulate(60_000, seed=seed, instruments=2, resting=60), Counter[str]()
    books: dict[int, NaiveBook] = defaultdict(NaiveBook)
    for event in events(session.records):
        book = books[event[0].instrument_id]
        shape = "".join(chr(record.action) for record in event)
        if shape[0] == "T":
            seen["fills"] += walk_trades(book, event)
            seen["levels"] = max(seen["levels"], shape.count("T"))
            seen["packets"] += len({record.ts_recv for record in event}) == 2
            seen["first in first out"] += any(
                len(book.sides[r.side][r.price]) > 1 for r in event if chr(r.action) == "F"
            )
            seen["add last"] += shape[-1] == "A"
            seen["add early"] += "FA" in shape
            seen["part"] += shape[-1] == "M"
        else:
            assert not set(shape) & set("TF")
        for record in event:
            book.apply(record)
    rare = {name: count for name, count in seen.items() if count < 4}
    assert len(seen) == 7
    assert not rare
    assert seen["levels"] == 4


def test_stream_times_sequences_and_ids() -> None:
    session = simulate(100_000, seed=6, instruments=4, resting=100)
    records = session.records
    assert (np.diff(records["ts_recv"].astype(np.int64)) >= 0).all()
    ordinary = records[records["flags"] & SNAPSHOT == 0]
    assert (np.diff(ordinary["sequence"].astype(np.int64)) >= 0).all()
    assert (np.diff(ordinary["ts_event"].astype(np.int64)) >= 0).all()
    latency = ordinary["ts_recv"].astype(np.int64) - ordinary["ts_event"].astype(np.int64)
    assert (latency > ordinary["ts_in_delta"]).all()
    assert (ordinary["ts_in_delta"] > 0).all()
    assert latency.max() < 10_000_000
    assert session.metadata.start <= records["ts_recv"][0]
    assert records["ts_recv"][-1] < session.metadata.end
    for event in events(records):
        if not event[0].flags & SNAPSHOT:
            assert len({record.ts_event for record in event}) == 1
    for before, after in pairwise(events(ordinary)):
        assert before[0].ts_event < after[0].ts_event
    arrivals = ordinary[np.isin(ordinary["action"], [ord("A"), ord("T")])]["order_id"]
    assert (np.diff(arrivals.astype(np.int64)) >= 0).all()
    added = ordinary["order_id"][ordinary["action"] == ord("A")]
    opening = records["order_id"][: 4 * 101]
    assert len(np.unique(added)) == len(added)
    assert opening.max() < added.min()
    fixed = {"length": 14, "rtype": 0xA0, "publisher_id": 1}
    assert all((records[name] == value).all() for name, value in fixed.items())


def test_prices_and_sizes() -> None:
    records = simulate(100_000, seed=6, instruments=4, resting=100).records
    orders = records[records["action"] != ord("R")]
    for number, tick in {1001: 10**7, 1002: 25 * 10**7, 1003: 10**7, 1004: 10**7}.items():
        prices = orders["price"][orders["instrument_id"] == number]
        assert not (prices % tick).any()
        assert (prices < 0).any() == (number == 1003)
    sizes = orders["size"]
    assert sizes.min() >= 1
    assert np.median(sizes) <= 5
    assert sizes.max() > 100


def test_mix_of_actions() -> None:
    records = simulate(200_000, seed=2).records
    share = {
        chr(code): count / len(records)
        for code, count in zip(*np.unique(records["action"], return_counts=True), strict=True)
    }
    assert 0.38 < share["A"] < 0.50
    assert 0.36 < share["C"] < 0.46
    assert 0.06 < share["M"] < 0.12
    assert 0.04 < share["T"] + share["F"] < 0.12
    assert len({len(event) for event in events(records)}) > 10, "events of many lengths"


def test_interruptions_clear_and_restore() -> None:
    session, seen = simulate(400_000, seed=1, resting=20), Counter[str]()
    book = NaiveBook()
    opening, *others = events(session.records)
    for record in opening:
        book.apply(record)
    for event in others:
        first = event[0]
        if chr(first.action) == "R":
            flags = [record.flags for record in event]
            if first.flags & SNAPSHOT:
                assert flags == [40] * (len(event) - 1) + [168]
                seen["restored"] += 1
            elif len(event) == 1:
                assert flags == [LAST]
                seen["cleared"] += 1
            else:
                assert flags == [UNTIMED] + [0] * (len(event) - 2) + [LAST]
                assert {chr(record.action) for record in event[1:]} == {"A"}
                seen["cleared and refilled"] += 1
            before = book.orders()
        for record in event:
            book.apply(record)
        if first.flags & SNAPSHOT:
            np.testing.assert_array_equal(book.orders(), before)
    assert all(seen[kind] > 1 for kind in ("restored", "cleared", "cleared and refilled")), seen


# --- features


class FeaturedBook(NaiveBook):
    """Its rules for what the features bring: equal sizes, parts cancelled, snapshots without an R."""

    restoring = False

    def apply(self, record: Record) -> None:
        kind = chr(record.action)
        restored = bool(record.flags & SNAPSHOT)
        if kind in "ACM":
            if restored and not self.restoring:
                self.__init__()  # type: ignore[misc]
            self.restoring = restored
        elif kind == "R":
            self.restoring = restored
        order = self.find(record.order_id) if kind in "CM" else None
        if kind == "C" and record.size < order[1]:
            assert record.publisher_id != 1
            order[1] -= record.size
        elif kind == "M" and order[1] == record.size and self.places[record.order_id] == (record.side, record.price):
            if record.publisher_id == 1:
                self.remove(record.order_id)
                self.insert(record)
        else:
            super().apply(record)


def signs_of(event: list[Record], book: FeaturedBook) -> Iterator[str]:
    """Say which features an event shows, with the book before it; gives names of `Feature`, some with a detail."""
    changes = [record for record in event if chr(record.action) in "ACM"]
    trades = [record for record in event if chr(record.action) == "T"]
    fills = [record for record in event if chr(record.action) == "F"]
    if event[0].publisher_id != 1:
        yield "PUBLISHERS"
    if any(record.flags & MAYBE_BAD for record in event):
        yield "GAPS flagged"
    if chr(event[-1].action) == "N" and len(event) > 1:
        assert not any(record.flags & LAST for record in event[:-1])
        yield "TRAILING"
    if changes and changes[0].flags & SNAPSHOT and chr(event[0].action) == "A":
        yield "GAPS snapshot without an R"
    known = {order["order_id"] for order in book.orders()} if chr(event[0].action) == "R" else set()
    if not event[0].flags & SNAPSHOT and known & {record.order_id for record in changes}:
        yield "RESETS or GAPS refill"
    if not trades:
        for record in (record for record in changes if record.order_id in book.places):
            size, place = book.find(record.order_id)[1], book.places[record.order_id]
            if chr(record.action) == "C" and record.size < size:
                yield "PUBLISHERS part cancelled"
            if chr(record.action) == "M" and (record.size, record.side, record.price) == (size, *place):
                yield "PUBLISHERS equal size"
        return
    assert all(chr(record.action) in "TF" for record in event[: len(trades) + len(fills)]), "all T and F come first"
    if not changes:
        assert [chr(record.action) for record in event] in (["T"], ["T", "N"])
        yield "LONE_TRADES"
        return
    filled = Counter(record.order_id for record in fills)
    assert max(filled.values()) == 1, "an order has one F in an event"
    own = {record.order_id for record in trades}
    if own == {0}:
        assert {chr(record.side) for record in (*trades, *fills)} == {"N"}
        sides = {record.side for record in changes}
        yield "AUCTIONS uncrossing" if len(sides) == 2 else "SPREADS"
    if len(own) > 1:
        yield "STOPS"
    if own & set(filled):
        yield "CROSSING " + next(chr(record.action) for record in changes if record.order_id in own)
    sizes = {record.order_id: record.size for record in fills}
    for record in changes:
        if record.order_id in own:
            continue
        before = book.find(record.order_id)[1]
        if record.order_id not in filled:
            assert chr(record.action) == "C"
            yield "SELF_MATCH"
        elif chr(record.action) == "M" and record.size != before - sizes[record.order_id]:
            yield f"ICEBERGS {'smaller' if record.size < before else 'larger' if record.size > before else 'equal'}"
        elif sizes[record.order_id] > before:
            yield "ICEBERGS F of what was hidden"


SIGNS = """
    AUCTIONS crossed;AUCTIONS uncrossing;CROSSING C;CROSSING M;GAPS flagged;GAPS snapshot without an R;
    ICEBERGS F of what was hidden;ICEBERGS equal;ICEBERGS larger;ICEBERGS smaller;LONE_TRADES;PUBLISHERS;
    PUBLISHERS equal size;PUBLISHERS part cancelled;RESETS or GAPS refill;SELF_MATCH;SPREADS;STOPS;TRAILING
""".replace("\n", "").replace(";    ", ";").strip().split(";")  # fmt: skip


def replay_featured(session: Session) -> Counter[str]:
    """Apply a session to naive books, count what its events show, and compare the ends."""
    seen, books = Counter[str](), defaultdict(FeaturedBook)
    for event in events(session.records):
        book = books[event[0].instrument_id]
        crossed = book.crossed()
        seen.update(set(signs_of(event, book)))
        for record in event:
            book.apply(record)
        if book.crossed():
            seen["AUCTIONS crossed"] += 1
            assert not crossed or all(chr(record.side) == "N" for record in event if chr(record.action) == "T")
    for number, book in books.items():
        np.testing.assert_array_equal(book.orders(), session.orders(number))
    return seen


def test_featured_bytes() -> None:
    assert bytes_hash(simulate(SMALL_MESSAGES, **SMALL, features=Feature.ALL).records) == FEATURED_HASH


@pytest.mark.parametrize("feature", [feature for feature in Feature if feature not in (Feature.NONE, Feature.ALL)])
def test_feature_alone_shows_itself_and_nothing_else(feature: Feature) -> None:
    seen = replay_featured(simulate(25_000, seed=3, instruments=3, resting=30, features=feature))
    expected = {sign for sign in SIGNS if str(feature.name) in sign}
    assert set(seen) == expected, (set(seen) - expected, expected - set(seen))


@pytest.mark.parametrize("seed", [1, 2])
def test_all_features_show_themselves(seed: int) -> None:
    seen = replay_featured(simulate(40_000, seed=seed, instruments=4, resting=40, features=Feature.ALL))
    assert set(seen) == set(SIGNS)


def test_plain_session_shows_no_feature() -> None:
    assert not replay_featured(simulate(15_000, seed=3, instruments=3, resting=30))


def test_reset_is_of_every_book() -> None:
    session = simulate(30_000, seed=3, instruments=4, resting=30, features=Feature.RESETS)
    refills = [
        k for k, event in enumerate(events(session.records)) if [record.flags for record in event[:2]] == [UNTIMED, 0]
        and len(event) > 7
    ]  # fmt: skip
    assert len(refills) >= 8
    assert all(np.diff(four).tolist() == [1, 1, 1] for four in np.array(refills).reshape(-1, 4))


def test_lost_records_leave_a_gap_in_the_sequence() -> None:
    session = simulate(30_000, seed=3, instruments=2, resting=30, features=Feature.GAPS)
    ordinary = session.records[session.records["flags"] & SNAPSHOT == 0]
    jumps = np.diff(ordinary["sequence"].astype(np.int64))
    assert jumps.min() >= 0
    assert 5 < (jumps > 20).sum() < 200


@pytest.mark.parametrize("features", [Feature.ALL, Feature.AUCTIONS | Feature.GAPS])
@pytest.mark.parametrize("messages", [32, 33, 160, 161, 1_000, 65_600])
def test_featured_batches_give_exactly_so_many(features: Feature, messages: int) -> None:
    batches = list(Simulator(resting=31, features=features).batches(messages))
    assert sum(map(len, batches)) == messages
    assert batches[-1]["flags"][-1] & LAST


def test_featured_session_in_pieces() -> None:
    exchange = Simulator(seed=4, instruments=2, resting=50, features=Feature.ALL)
    records = np.concatenate([batch for messages in (3_000, 1, 5_000) for batch in exchange.batches(messages)])
    replay_featured(Session(records, exchange.metadata(8_001), exchange))


# --- files


@pytest.mark.parametrize("name", ["session.dbn", "session.dbn.zst"])
def test_file_reads_back(tmp_path, name: str) -> None:
    session = simulate(70_000, seed=2, instruments=3, resting=50)
    written = write_session(tmp_path / name, 70_000, seed=2, instruments=3, resting=50)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    file = dbn.open_file(written.path)
    records = np.concatenate([batch.records for batch in file.batches()])
    assert records.tobytes() == session.records.tobytes()
    assert (written.records, written.size_bytes, file.version, file.compressed) == (
        70_000, (tmp_path / name).stat().st_size, 3, name.endswith("zst"),
    )  # fmt: skip
    assert written.digests == {
        symbol: session.digest(k) for symbol, k in zip(session.symbols, session.instrument_ids, strict=True)
    }
    assert (file.metadata.dataset, file.metadata.start, file.metadata.end) == ("GLBX.MDP3", written.start, written.end)
    names = symbols.from_metadata(file.metadata)
    for number in np.unique(records["instrument_id"]):
        last = int(records["ts_recv"][-1])
        assert names.symbol(int(number), last) == f"SIM{number - 1000}"


def test_file_is_read_by_official_decoder(tmp_path) -> None:
    path = write_session(tmp_path / "session.dbn", 3_000, seed=2, resting=50).path
    decoder = databento_dbn.DBNDecoder()
    decoder.write(path.read_bytes())
    metadata, *messages = decoder.decode()
    assert (metadata.schema, metadata.symbols) == (databento_dbn.Schema.MBO, ["SIM1"])
    assert b"".join(map(bytes, messages)) == simulate(3_000, seed=2, resting=50).records.tobytes()


def test_file_needs_little_memory(tmp_path) -> None:
    write_session(tmp_path / "warm.dbn", 1_000)
    tracemalloc.start()
    try:
        written = write_session(tmp_path / "session.dbn", 1_000_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert written.size_bytes > 56_000_000
    assert peak < 10_000_000


def test_file_is_whole_or_absent(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Simulator, messages: int):
        yield np.zeros(1, MBO_DTYPE)
        raise OSError("no room")

    monkeypatch.setattr(Simulator, "batches", broken)
    with pytest.raises(OSError, match="no room"):
        write_session(tmp_path / "session.dbn", 1_000)
    assert not list(tmp_path.iterdir())


# --- requests


@pytest.mark.parametrize("rate", [1, 2_000, 1_000_000])
@pytest.mark.parametrize("messages", [100, 1_000, 200_000])
def test_metadata_end_is_after_last_record(rate: int, messages: int) -> None:
    exchange = Simulator(seed=rate, resting=30, start="2025-01-06T23:59:59.9", rate=rate)
    header = exchange.metadata(messages)
    records = np.concatenate(list(exchange.batches(messages)))
    assert records["ts_recv"][-1] < header.end
    assert header.end - int(records["ts_recv"][-1]) < 2 * 10**9 + 2_000 * 10**9 // rate + messages * 10**9 // rate // 10
    (interval,) = header.mappings["SIM1"]
    assert parse_time(interval["start_date"]) <= header.start
    assert header.end <= parse_time(interval["end_date"])


def test_numpy_integers_are_integers() -> None:
    session = simulate(np.int32(500), seed=np.uint8(1), instruments=np.int64(1), resting=np.uint16(20))
    assert session.digest(np.uint32(1001)) == simulate(500, resting=20).digest(1001)


NONSENSE = {
    "simulate(10)": lambda path: simulate(10),
    "simulate(0)": lambda path: simulate(0),
    "simulate(1.5)": lambda path: simulate(1.5),
    "simulate(True)": lambda path: simulate(True),
    "simulate('many')": lambda path: simulate("many"),
    "simulate(2_000_000_000)": lambda path: simulate(2_000_000_000),
    "simulate(seed=-1)": lambda path: simulate(seed=-1),
    "simulate(instruments=0)": lambda path: simulate(instruments=0),
    "simulate(resting=1)": lambda path: simulate(resting=1),
    "simulate(features=1 << 20)": lambda path: simulate(features=1 << 20),
    "simulate(features='all')": lambda path: simulate(features="all"),
    "simulate(instruments=100_000, resting=1_000)": lambda path: simulate(instruments=100_000, resting=1_000),
    "Simulator(rate=0)": lambda path: Simulator(rate=0),
    "Simulator(rate=2_000_000)": lambda path: Simulator(rate=2_000_000),
    "Simulator(start='1970-01-01')": lambda path: Simulator(start="1970-01-01"),
    "Simulator(start='soon')": lambda path: Simulator(start="soon"),
    "Simulator().batches(1_000, batch_records=10)": lambda path: Simulator().batches(1_000, batch_records=10),
    "Simulator().metadata(0)": lambda path: Simulator().metadata(0),
    "write_session(path / 'session.csv', 1_000)": lambda path: write_session(path / "session.csv", 1_000),
    "write_session(path / 'session.dbn', 10)": lambda path: write_session(path / "session.dbn", 10),
}


@pytest.mark.parametrize("call", NONSENSE.values(), ids=NONSENSE)
def test_request_makes_no_sense(tmp_path, call) -> None:
    with pytest.raises(RequestError) as caught:
        call(tmp_path)
    assert "\n" not in str(caught.value)
    assert ". " not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [0, 1000, 1002])
def test_orders_of_unknown_instrument(number: int) -> None:
    with pytest.raises(SymbolError, match=f"no instrument {number}"):
        Simulator(resting=10).orders(number)


def test_simulator_shares_no_code_with_a_book() -> None:
    sources = sorted(Path(mbo.records.__file__).parent.glob("*simulator*.py"))
    assert len(sources) == 6
    for source in sources:
        tree = ast.parse(source.read_text())
        imported = {
            node.module: {name.name for name in node.names}
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
        }
        books = {name: what for name, what in imported.items() if name and name.startswith("mbo.book")}
        assert books in ({}, {"mbo.book.interface": {"digest_of"}, "mbo.book.rows": {"ORDER_DTYPE"}})
        assert "mbo.mbp" not in imported
