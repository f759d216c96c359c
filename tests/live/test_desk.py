"""What a subscription means, and the books as they stood at any record."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbo.book import Book, Books
from mbo.book.snapshot import snapshot
from mbo.errors import ProtocolError
from mbo.live.desk import Desk, Found
from mbo.live.messages import SymbolMessage, Writer, read_control
from mbo.live.protocol import ALL_SYMBOLS, Subscription
from mbo.live.session import Wanted
from mbo.live.source import Source
from mbo.records import MBO_DTYPE, RecordArray, as_records
from mbo.simulator import Feature, simulate
from tests.book.tapes import tape
from tests.builders import stream
from tests.live.wire import day_of, day_of_session

SYMBOLS = {
    "CLX5": 1, "CLZ5": 2, "CLX5-CLZ5": 3, "BZX5": 4, "CLX5-BZX5": 5, "CL:BF X5-Z5-F6": 6, "CLZ25": 7, "CL": 8,
    "CLX5-CLZ5-CLF6": 9, "XCLX5": 10,
}  # fmt: skip
ALL = Wanted(everything=True)


@pytest.fixture
def desk(tmp_path) -> Desk:
    return Desk(Source(day_of(tmp_path, stream(10), symbols=SYMBOLS)))


def found(desk: Desk, *symbols: str, **fields) -> Found:
    return desk.find(Subscription(symbols, **fields))


# ---------------------------------------------------------------- symbols


def test_raw_symbols(desk):
    assert found(desk, "CLX5") == Found(((1, "CLX5", "CLX5"),), (), False)
    two = found(desk, "BZX5", "CLX5-CLZ5", "BZX5")
    assert two.instruments == ((4, "BZX5", "BZX5"), (3, "CLX5-CLZ5", "CLX5-CLZ5"))
    assert two.wanted == Wanted(ids=frozenset([3, 4]))
    assert found(desk, "1", "clx5", "CLX5", "CL.FUT").unknown == ("1", "clx5", "CL.FUT")


def test_instrument_ids(desk):
    assert found(desk, "3", "1", stype_in="instrument_id").instruments == ((3, "3", "CLX5-CLZ5"), (1, "1", "CLX5"))
    for other in ("11", "CLX5", "01", "-1", "1.0", "٣", str(2**32 + 1)):
        assert found(desk, other, stype_in="instrument_id") == Found((), (other,), False)


def test_instrument_ids_where_the_file_names_none(tmp_path):
    desk = Desk(Source(day_of(tmp_path, stream(10), symbols={})))
    assert found(desk, "7", stype_in="instrument_id").instruments == ((7, "7", "7"),)
    most = str(2**32 - 1)
    assert found(desk, most, stype_in="instrument_id").instruments == ((2**32 - 1, most, most),)
    for other in (str(2**32), "9" * 60, "AAA", "٧", "²", "07", "-7"):
        assert found(desk, other, stype_in="instrument_id").unknown == (other,)
    assert found(desk, "AAA").unknown == ("AAA",)


def test_parents(desk):
    parent = found(desk, "CL.FUT", stype_in="parent")
    assert {symbol for _, _, symbol in parent.instruments} == {"CLX5", "CLZ5", "CLX5-CLZ5", "CLZ25", "CLX5-CLZ5-CLF6"}
    assert {asked for _, asked, _ in parent.instruments} == {"CL.FUT"}
    assert {symbol for _, _, symbol in found(desk, "BZ.FUT", stype_in="parent").instruments} == {"BZX5"}
    assert found(desk, "CL.OPT", "C.FUT", ".FUT", "CL", stype_in="parent").unknown == ("CL.OPT", "C.FUT", ".FUT")


def test_all_symbols(desk):
    everything = found(desk, ALL_SYMBOLS)
    assert everything.wanted == ALL | everything.wanted
    assert everything.wanted.has(12345)
    assert {number: symbol for number, _, symbol in everything.instruments} == {n: s for s, n in SYMBOLS.items()}
    assert everything.unknown == ()
    for stype_in in ("instrument_id", "parent"):
        assert found(desk, ALL_SYMBOLS, stype_in=stype_in).everything


def test_symbol_that_moves_is_all_its_instruments(tmp_path):
    monday, tuesday = ("2025-01-06", "2025-01-07"), ("2025-01-07", "2025-01-08")
    spans = {"AAA": [(*monday, "7"), (*tuesday, "8")], "BBB": [(*tuesday, "7")]}
    desk = Desk(Source(day_of(tmp_path, stream(10), intervals=spans)))
    assert {number for number, _, _ in found(desk, "AAA").instruments} == {7, 8}
    assert found(desk, "7", stype_in="instrument_id").instruments == ((7, "7", "AAA"), (7, "7", "BBB"))


def test_two_thousand_symbols(tmp_path):
    symbols = {f"S{k}": k for k in range(1, 30_001)}
    desk = Desk(Source(day_of(tmp_path, stream(10), symbols=symbols)))
    asked = tuple(f"S{k}" for k in range(29_000, 31_000))
    for _ in range(10):  # a session may
        many = found(desk, *asked)
        assert len(many.instruments) == 1_001
        assert many.unknown == tuple(f"S{k}" for k in range(30_001, 31_000))


@pytest.mark.parametrize("schema", ["mbp-10", "trades", "definition"])
def test_other_schemas_are_refused(desk, schema):
    with pytest.raises(ProtocolError, match=f"^schema {schema} is not served here: only mbo is$"):
        found(desk, "CLX5", schema=schema)


@pytest.mark.parametrize("stype_in", ["continuous", "isin", "smart"])
def test_other_kinds_of_names_are_refused(desk, stype_in):
    sentence = f"^stype_in {stype_in} is not served here: raw_symbol, instrument_id, parent are$"
    for symbol in ("CLX5", ALL_SYMBOLS):
        with pytest.raises(ProtocolError, match=sentence):
            found(desk, symbol, stype_in=stype_in)


def test_mappings(desk):
    data = found(desk, "CL.FUT", stype_in="parent").mappings(Writer(3, False), "parent", 5)
    records = [data[at : at + 176] for at in range(0, len(data), 176)]
    assert SymbolMessage(3, "CL.FUT", "CLX5-CLZ5", 5) in [read_control(one, 3, False) for one in records]
    assert len(records) == 5
    assert found(desk, "none").mappings(Writer(3, True), "raw_symbol", 5) == b""


# ---------------------------------------------------------------- books


def replayed(records: RecordArray, wanted: Wanted, now: int) -> bytes:
    """The same, from the beginning."""
    books = Books()
    books.apply(as_records(records))
    return b"".join(snapshot(book, ts_recv=now).tobytes() for key, book in books.items() if wanted.has(key[1]))


def latest(records: RecordArray) -> int:
    return int(records["ts_recv"].max()) if len(records) else 0


@pytest.mark.parametrize("order", ["forwards", "backwards", "anyhow"])
def test_snapshots_at_every_record(tmp_path, order):
    session = simulate(400, seed=3, instruments=2, resting=12, features=Feature.ALL)
    desk = Desk(Source(day_of_session(tmp_path, session)))
    numbers = list(range(401))
    if order == "backwards":
        numbers.reverse()
    elif order == "anyhow":
        np.random.default_rng(1).shuffle(numbers)
    for number in numbers:
        before = session.records[:number]
        for wanted in (ALL, Wanted(ids=frozenset([1002]))):
            assert desk.snapshots(number, wanted) == replayed(before, wanted, latest(before)), number
        assert desk.snapshots(number, Wanted()) == b""


@given(st.lists(st.integers(0, 60_000), min_size=1, max_size=4))
def test_snapshots_of_a_bigger_session(big, numbers):
    records, desk = big
    for number in numbers:
        assert desk.snapshots(number, ALL) == replayed(records[:number], ALL, latest(records[:number]))


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    session = simulate(60_000, seed=8, instruments=4, resting=100, features=Feature.ALL)
    return session.records, Desk(Source(day_of_session(tmp_path_factory.mktemp("big"), session)))


@pytest.mark.parametrize("seed", [1, 2])
def test_snapshots_in_a_loop(tmp_path, seed):
    session = simulate(300, seed=3, instruments=2, resting=12, features=Feature.ALL)
    source = Source(day_of_session(tmp_path, session), loop=True)
    length = len(source.records)
    turns = [np.concatenate(list(source.between(turn * length, (turn + 1) * length))) for turn in range(4)]
    desk = Desk(source)
    for number in np.random.default_rng(seed).integers(0, 4 * length, 150).tolist():
        if number % length:  # at its first record a turn has no books yet, and they are cleared there
            before = turns[number // length][: number % length]
            assert desk.snapshots(number, ALL) == replayed(before, ALL, latest(before)), number


def test_snapshot_with_sending_times(tmp_path):
    session = simulate(200, instruments=1, resting=12)
    desk = Desk(Source(day_of_session(tmp_path, session)))
    plain = np.frombuffer(desk.snapshots(200, ALL), MBO_DTYPE)
    rows = np.frombuffer(desk.snapshots(200, ALL, ts_out=True), np.uint8).reshape(-1, 64)
    assert set(rows[:, 0].tolist()) == {16}
    assert np.array_equal(rows[:, 1:56], plain.view(np.uint8).reshape(-1, 56)[:, 1:])


@pytest.mark.parametrize("number", range(6))
def test_afresh_clears_what_is_not_there_yet(tmp_path, number):
    parts = [tape("A 1 B 100 5", "A 2 A 101 5", instrument_id=7), tape("A 3 B 100 5", instrument_id=8)]
    parts += [tape("A 4 B 100 5", "C 4 B 100 5", instrument_id=7, publisher_id=2)]
    records = np.concatenate(parts)
    desk, elsewhere = Desk(Source(day_of(tmp_path, records))), Books(strict=True)
    elsewhere.apply(records)
    there = Books()
    there.apply(records[:number])
    for wanted in (ALL, Wanted(ids=frozenset([8])), ALL):
        elsewhere.apply(np.frombuffer(desk.snapshots(number, wanted, afresh=True), MBO_DTYPE))
    for key, book in elsewhere.items():
        assert book.status.valid
        assert book.digest() == (there[key] if key in there else Book()).digest()
        assert book.status.suspect
