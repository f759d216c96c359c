"""The market by price that the simulated exchange knows of itself: the judge of `mbo.mbp`, and of rules wrong on purpose."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import databento_dbn
import numpy as np
import numpy.typing as npt
import pytest

from mbo.book import Books, ReferenceBook
from mbo.errors import RequestError
from mbo.mbp import Mbp
from mbo.records import RecordArray
from mbo.schemas import level_columns, mbp_dtype
from mbo.simulator import Feature, Session, Simulator, simulate, write_session
from mbo.units import UNDEF_PRICE

LAST, SNAPSHOT = 128, 32
SEEDS = range(1, 25)
SMALL = {"seed": 6, "instruments": 3, "resting": 25, "features": Feature.ALL}
SMALL_MESSAGES = 1_500
SMALL_HASH = "fee1a091188de79755877efadaca34d2"
"""Of the MBP-10 of that session; where it changes, so does the bundled session."""


def session_of(seed: int, messages: int = 20_000) -> Session:
    """A session with every feature; the seed also says how many books there are, and how full."""
    return simulate(
        messages, seed=seed, instruments=2 + seed % 4, resting=(12, 40, 100)[seed % 3], features=Feature.ALL
    )


def made(records: RecordArray, levels: int, *, pieces: int = 1) -> npt.NDArray[Any]:
    mbp = Mbp(levels)
    return np.concatenate([out for piece in np.array_split(records, pieces) for out in mbp.apply(piece)])


def difference(ours: npt.NDArray[Any], truth: npt.NDArray[Any]) -> str:
    """Say how they differ, nothing if they do not: how many records there are, or the first field that is wrong."""
    shared = min(len(ours), len(truth))
    if (wrong := np.flatnonzero(ours[:shared] != truth[:shared])).size:
        row = int(wrong[0])
        fields = {name: (ours[name][row], truth[name][row]) for name in truth.dtype.names or ()}
        return f"record {row}: " + ", ".join(f"{name} {a}, not {b}" for name, (a, b) in fields.items() if a != b)
    return "" if len(ours) == len(truth) else f"{len(ours)} records, not {len(truth)}"


# --- against the emission code


@pytest.mark.parametrize("seed", SEEDS)
def test_mbp_is_the_truth(seed: int) -> None:
    session = session_of(seed)
    for levels in (10, 1):
        truth = session.truth(levels)
        assert len(truth) > 1_000
        ours = made(session.records, levels, pieces=seed % 4 + 1)
        assert (ours.dtype, difference(ours, truth)) == (truth.dtype, "")
        assert ours.tobytes() == truth.tobytes()


@pytest.mark.parametrize("seed", SEEDS)
def test_books_end_as_the_exchange_does(seed: int) -> None:
    session = session_of(seed, 10_000)
    books = Books(strict=True)  # even with lost records: the book is written out before it is changed again
    books.apply(session.records)
    assert len(books) == len(session.symbols)
    for (publisher, number), book in books.items():
        assert book.digest() == session.digest(number)
        if seed % 6 == 0:
            slow = ReferenceBook(strict=True)
            slow.apply(
                session.records[
                    (session.records["instrument_id"] == number) & (session.records["publisher_id"] == publisher)
                ]
            )
            assert slow.digest() == session.digest(number)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_mbp_of_interleaved_books_and_shared_ids(seed: int) -> None:
    """Records of other instruments may stand within an event, and two venues may use one instrument id."""
    session = session_of(4 * seed + 1, 6_000)  # three books: of publishers 1, 2 and 1
    truth, records = session.truth(10), session.records.copy()
    for array in (records, truth := truth.copy()):
        array["instrument_id"][array["publisher_id"] == 2] = 1001
    keys = records["publisher_id"].astype(np.int64) << 32 | records["instrument_id"]
    assert len(set(keys)) == 3
    random = np.random.default_rng(seed)
    turns = keys.copy()
    for start in range(0, len(turns), 64):
        random.shuffle(turns[start : start + 64])
    mixed = np.empty_like(records)
    for key in set(keys):
        mixed[turns == key] = records[keys == key]
    ours = made(mixed, 10)
    for key in set(keys):
        own = [
            rows[(rows["publisher_id"].astype(np.int64) << 32 | rows["instrument_id"]) == key] for rows in (ours, truth)
        ]
        assert difference(*own) == ""


# --- against rules in plain Python


@dataclass(frozen=True)
class Rules:
    """The emission rules one by one; each `False` but the first is a way to get them wrong."""

    levels: int = 10
    depth_is_counted_from_one: bool = False
    one_level_too_many_is_visible: bool = False
    trades_show_the_book_after: bool = False
    fills_come_out: bool = False
    nothing_is_merged: bool = False
    snapshots_come_out_order_by_order: bool = False
    lone_trades_lose_f_last: bool = False
    first_change_gives_the_fields: bool = False
    invisible_changes_give_no_fields: bool = False
    last_change_gives_the_side: bool = False
    unchanged_levels_are_silent: bool = False


WRONG = [name for name in Rules.__dataclass_fields__ if name != "levels"]


class NaiveMbp:
    """Market by price of one book, by the letter of the rules: a dict of orders, and levels summed up from it when needed."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.orders: dict[int, list[int]] = {}  # order_id -> side, price, size
        self.restoring = False
        self.source: Any = None
        self.depth, self.sides = 0, set[int]()
        self.trades: list[int] = []  # rows of the present event's trades
        self.shown: list[Any] = []

    def prices(self, side: int) -> list[int]:
        return sorted({order[1] for order in self.orders.values() if order[0] == side}, reverse=side == ord("B"))

    def place(self, side: int, price: int) -> int:
        prices = self.prices(side)
        return prices.index(price) if price in prices else 1_000

    def levels(self) -> list[tuple[int, ...]]:
        columns = []
        for side in map(ord, "BA"):
            levels = []
            for price in self.prices(side)[: self.rules.levels]:
                sizes = [order[2] for order in self.orders.values() if order[:2] == [side, price]]
                levels.append((price, sum(sizes), len(sizes)))
            columns.append(levels + [(UNDEF_PRICE, 0, 0)] * (self.rules.levels - len(levels)))
        return [(b[0], a[0], b[1], a[1], b[2], a[2]) for b, a in zip(*columns, strict=True)]

    def row(self, record: Any, side: int, flags: int, depth: int) -> list[Any]:
        fields = {
            name: record[name].item()
            for name in ("publisher_id", "instrument_id", "ts_event", "price", "size", "action")
        }
        late = {name: record[name].item() for name in ("ts_recv", "ts_in_delta", "sequence")}
        length, rtype = (92, 10) if self.rules.levels == 10 else (20, 1)
        return [length, rtype, *fields.values(), side, flags, depth, *late.values(), *sum(self.levels(), ())]

    def apply(self, record: Any) -> list[list[Any]]:
        action, flags = chr(record["action"]), int(record["flags"])
        out: list[list[Any]] = []
        if action == "T" or (action == "F" and self.rules.fills_come_out):
            kept = flags & LAST and self.source is None and not self.rules.lone_trades_lose_f_last
            out.append(self.row(record, int(record["side"]), flags if kept else flags & ~LAST, 0))
            self.trades.append(out[-1])
        elif action in "ACMR":
            out += self.change(record, action, flags)
        if flags & LAST:
            if self.source is not None:
                out += self.close()
            self.source, self.sides = None, set()
            for row in self.trades:
                if self.rules.trades_show_the_book_after:
                    row[-6 * self.rules.levels :] = sum(self.levels(), ())
            self.trades = []
        return out

    def change(self, record: Any, action: str, flags: int) -> list[list[Any]]:
        side, price, order_id = int(record["side"]), int(record["price"]), int(record["order_id"])
        old = self.orders.get(order_id)
        restored = bool(flags & SNAPSHOT)
        touched: list[tuple[int, int]] = []  # depth, side
        if action == "R" or (restored and not self.restoring):
            self.orders.clear()
        self.restoring = restored
        if action == "R":
            if restored:
                return []
            touched = [(0, ord("A")), (0, ord("B"))]
        elif action == "A":
            self.orders[order_id] = [side, price, int(record["size"])]
            touched = [(0, ord("A")), (0, ord("B"))] if restored else [(self.place(side, price), side)]
        elif action == "C":
            assert old is not None
            touched = [(self.place(*old[:2]), side)]
            old[2] -= int(record["size"])
            if old[2] == 0:
                del self.orders[order_id]
        else:
            assert old is not None
            touched = [(self.place(*old[:2]), side)]
            old[1:] = price, int(record["size"])
            touched.append((self.place(side, price), side))
        depth = min(depth for depth, _ in touched)
        visible = depth < self.rules.levels + self.rules.one_level_too_many_is_visible
        if not visible and (self.source is None or self.rules.invisible_changes_give_no_fields):
            return []
        if visible:
            if self.source is None or depth < self.depth:
                self.depth, self.sides = depth, set()
            if depth == self.depth:
                sides = {side for at, side in touched if at == depth}
                self.sides = sides if self.rules.last_change_gives_the_side else self.sides | sides
        if self.source is None or not self.rules.first_change_gives_the_fields:
            self.source = record
        apart = self.rules.nothing_is_merged or (restored and self.rules.snapshots_come_out_order_by_order)
        if apart and not flags & LAST:
            out = self.close()
            self.source, self.sides = None, set()
            return out
        return []

    def close(self) -> list[list[Any]]:
        if self.rules.unchanged_levels_are_silent:
            if self.levels() == self.shown:
                return []
            self.shown = self.levels()
        side = ord("N") if len(self.sides) > 1 else next(iter(self.sides))
        depth = self.depth + self.rules.depth_is_counted_from_one
        return [self.row(self.source, side, int(self.source["flags"]) | LAST, depth)]


def by_the_rules(records: RecordArray, rules: Rules) -> npt.NDArray[Any]:
    books: dict[tuple[int, int], NaiveMbp] = defaultdict(lambda: NaiveMbp(rules))
    rows: list[list[Any]] = []
    for record in records:
        rows += books[int(record["publisher_id"]), int(record["instrument_id"])].apply(record)
    return np.array([tuple(row) for row in rows], mbp_dtype(rules.levels))


@pytest.fixture(scope="module")
def judged() -> list[tuple[RecordArray, dict[int, npt.NDArray[Any]]]]:
    sessions = [simulate(2_500, seed=seed, instruments=2, resting=60, features=Feature.ALL) for seed in (6, 7)]
    return [(session.records, {levels: session.truth(levels) for levels in (10, 1)}) for session in sessions]


@pytest.mark.parametrize("levels", [10, 1])
def test_rules_in_plain_python_are_the_truth(judged, levels: int) -> None:
    for records, truth in judged:
        assert difference(by_the_rules(records, Rules(levels)), truth[levels]) == ""


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_rule_is_found(judged, wrong: str) -> None:
    for records, truth in judged:
        rules = replace(Rules(10), **{wrong: True})
        assert difference(by_the_rules(records, rules), truth[10]) != "", wrong


# --- what the truth is


def test_truth_is_of_the_same_session_whatever_the_batches() -> None:
    plain, whole, cut = (Simulator(**SMALL) for _ in range(3))
    records = np.concatenate(list(plain.batches(5_000)))
    pairs = list(whole.truth_batches(5_000)), list(cut.truth_batches(5_000, batch_records=130))
    assert len(pairs[1]) > 30
    for pieces in pairs:
        assert np.concatenate([piece for piece, _ in pieces]).tobytes() == records.tobytes()
    first, second = (np.concatenate([truth for _, truth in pieces]) for pieces in pairs)
    assert first.tobytes() == second.tobytes()
    assert {exchange.digest(1001) for exchange in (plain, whole, cut)} == {plain.digest(1001)}


def test_truth_of_a_plain_session() -> None:
    session = simulate(30_000, seed=4, instruments=2, resting=60)
    for levels in (10, 1):
        assert difference(made(session.records, levels), session.truth(levels)) == ""


def test_truth_goes_on_after_batches() -> None:
    exchange = Simulator(**SMALL)
    records = [*exchange.batches(2_000)]
    pairs = list(exchange.truth_batches(2_000))
    records += [*exchange.batches(1), *(piece for piece, _ in pairs)][:1]
    mbp = Mbp(10)
    mbp.apply(records[0])
    ours = np.concatenate([out for piece, _ in pairs for out in mbp.apply(piece)])
    assert difference(ours, np.concatenate([truth for _, truth in pairs])) == ""


def truth_hash() -> str:
    return hashlib.blake2b(simulate(SMALL_MESSAGES, **SMALL).truth().tobytes(), digest_size=16).hexdigest()


def test_truth_bytes_with_and_without_jit() -> None:
    assert truth_hash() == SMALL_HASH
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", "from tests.test_truth import *; print(truth_hash())"],
        cwd=Path(__file__).parents[1], env={**os.environ, "NUMBA_DISABLE_JIT": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.stdout.strip() == SMALL_HASH, ran.stderr


@pytest.mark.parametrize("levels", [0, 5, True, "10", None])
def test_truth_of_other_levels_makes_no_sense(levels: Any) -> None:
    with pytest.raises(RequestError, match="1 or 10 levels"):
        Simulator(resting=10).truth_batches(1_000, levels)


def test_truth_has_databentos_columns() -> None:
    truth = simulate(500, resting=20).truth()
    assert truth.dtype == mbp_dtype(10)
    assert set(level_columns(10)) < set(truth.dtype.names or ())
    assert set(truth["rtype"]) == {10}
    assert set(truth["length"]) == {92}


# --- files


def test_written_truth_is_read_by_official_decoder(tmp_path) -> None:
    shape: dict[str, Any] = {"seed": 2, "instruments": 2, "resting": 40, "features": Feature.ALL}
    written = write_session(tmp_path / "session.dbn.zst", 20_000, **shape, truth=tmp_path / "truth.dbn")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["session.dbn.zst", "truth.dbn"]
    session = simulate(20_000, **shape)
    truth = session.truth()
    assert written.truth_records == len(truth)
    assert written.digests["SIM2"] == session.digest(1002)
    decoder = databento_dbn.DBNDecoder()
    decoder.write((tmp_path / "truth.dbn").read_bytes())
    metadata, *messages = decoder.decode()
    assert (metadata.schema, metadata.symbols, metadata.version) == (databento_dbn.Schema.MBP_10, ["SIM1", "SIM2"], 3)
    assert {type(message) for message in messages} == {databento_dbn.MBP10Msg}
    assert b"".join(map(bytes, messages)) == truth.tobytes()


def test_written_session_is_the_same_without_its_truth(tmp_path) -> None:
    write_session(tmp_path / "with.dbn", 30_000, features=Feature.ALL, truth=tmp_path / "truth.dbn.zst")
    plain = write_session(tmp_path / "without.dbn", 30_000, features=Feature.ALL)
    assert (tmp_path / "with.dbn").read_bytes() == (tmp_path / "without.dbn").read_bytes()
    assert plain.truth_records is None


def test_written_truth_is_whole_or_absent(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = next(Simulator(resting=20).truth_batches(1_000))

    def broken(self: Simulator, messages: int):
        yield pairs
        raise OSError("no room")

    monkeypatch.setattr(Simulator, "truth_batches", broken)
    with pytest.raises(OSError, match="no room"):
        write_session(tmp_path / "session.dbn", 1_000, truth=tmp_path / "truth.dbn")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["truth.csv", "session.dbn", "../{}/session.dbn"])
def test_written_truth_needs_a_name_of_its_own(tmp_path, name: str) -> None:
    with pytest.raises(RequestError):
        write_session(tmp_path / "session.dbn", 1_000, truth=tmp_path / name.format(tmp_path.name))
    assert not list(tmp_path.iterdir())
