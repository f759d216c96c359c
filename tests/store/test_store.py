"""What a store promises, on both transports: one copy of every row, the same records, the same books."""

from __future__ import annotations

import functools

import numpy as np
import polars as pl
import pytest
import zstandard

import mbo
from mbo.errors import DataError, FormatError, MboError, RequestError, SymbolError, TimeError, TruncatedError
from mbo.records import Action, Flag, Side
from mbo.store import ingest, ledger
from mbo.store.derived import Snapshots
from mbo.symbols import Mapping, SymbolMap
from mbo.units import UNDEF_PRICE, UNDEF_TIMESTAMP
from tests.conftest import real
from tests.store.conftest import several_days, unique_dataset
from tests.store.exact import counted, exact


def outcome(call):
    """What a call for a book gives, as something to compare."""
    try:
        book = call()
    except MboError as error:
        return type(error), str(error)
    return book.digest(), book.status, book.anomalies, book.symbol


def moments(records, count: int, seed: int) -> list[int]:
    """Instants at, before and after records, between them, and outside."""
    random = np.random.default_rng(seed)
    times = records["ts_recv"][records["ts_recv"] != UNDEF_TIMESTAMP].astype(np.int64)
    near = random.choice(times, count) + random.integers(-1, 2, count)
    between = random.integers(times.min(), times.max() + 1, count // 4)
    return [*near.tolist(), *between.tolist(), int(times.min()) - 1, int(times.max()), int(times.max()) + 1]


# ------------------------------------------------------------ one copy of every row


def test_a_file_is_stored_once(store, make):
    path = make(mbo.simulate(5_000, seed=11).records, "once.dbn")
    first, second = store.ingest(path), store.ingest(path)
    assert (first.files[0].new, second.files[0].new) == (True, False)
    assert first.rows == second.rows
    assert first.rows["messages"] == 5_000
    exact(store, path)


def test_copies_are_the_same_file(store, make):
    path = make(mbo.simulate(2_000, seed=12).records, "plain.dbn")
    packed = path.with_name("packed.dbn.zst")
    packed.write_bytes(zstandard.compress(path.read_bytes()[:5_000]) + zstandard.compress(path.read_bytes()[5_000:]))
    assert store.ingest(path).files[0].new
    assert not store.ingest(packed).files[0].new
    assert store.verify(packed)


def test_an_interrupted_ingest_is_made_whole(store, make, monkeypatch):
    path = make(several_days(6_000, 6, seed=13), "interrupted.dbn")
    insert, left = store._backend.insert, 0

    def insert_some(table, rows, token):
        nonlocal left
        if not left:
            raise KeyboardInterrupt
        left -= 1
        insert(table, rows, token)

    for left in (0, 1, 4, 7):  # noqa: B007 - counts down inside
        with monkeypatch.context() as patch:
            patch.setattr(store._backend, "insert", insert_some)
            with pytest.raises(KeyboardInterrupt):
                store.ingest(path)
        assert not [entry for entry in store.files() if entry.name == path.name]
    report = store.ingest(path).files[0]
    assert report.found_blocks == 12
    exact(store, path)


def test_rows_that_somebody_deleted_come_back(store, make):
    path = make(several_days(3_000, 3, seed=14), "deleted.dbn")
    store.ingest(path)
    entry = next(entry for entry in store.files() if entry.name == path.name)
    for table in ("messages", "ingest_ledger"):
        store._backend.command(f"DELETE FROM mbo.{table} WHERE file_id = {{file_id:UInt64}}", file_id=entry.file_id)
    assert counted(store, entry.file_id)["messages"] == (0, 0)
    store.ingest(path)
    exact(store, path)


def test_part_of_a_block_is_repaired(store, make):
    path = make(several_days(3_000, 3, seed=15), "partial.dbn")
    store.ingest(path)
    entry = next(entry for entry in store.files() if entry.name == path.name)
    gone = "DELETE FROM mbo.messages WHERE file_id = {file_id:UInt64} AND row_num % 7 = 3"
    store._backend.command(gone, file_id=entry.file_id)
    assert not store.verify(path)
    assert store.verify(path).differences == {"messages": 3}
    store._backend.command("DELETE FROM mbo.ingest_ledger WHERE file_id = {file_id:UInt64}", file_id=entry.file_id)
    store.ingest(path)
    exact(store, path)


def test_mbp10_can_be_added_later(store, make):
    path = make(mbo.simulate(2_000, seed=16).records, "later.dbn")
    assert "mbp10" not in store.ingest(path, mbp10=False).rows
    with pytest.raises(RequestError, match="without MBP-10"):
        store.spread("1m", file="later.dbn")
    without = np.concatenate(list(store.mbp(10, file="later.dbn").batches()))
    assert store.ingest(path).rows["mbp10"] > 0
    assert np.concatenate(list(store.mbp(10, file="later.dbn").batches())).tobytes() == without.tobytes()
    exact(store, path)


def test_durable_inserts_are_inserts(store, make):
    path = make(mbo.simulate(500, seed=17).records, "durable.dbn")
    store.ingest(path, durability="fsync")
    exact(store, path)
    with pytest.raises(RequestError, match="durability"):
        store.ingest(path, durability="always")


# ------------------------------------------------------------ bad files


def test_a_truncated_file_leaves_nothing(store, make):
    path = make(mbo.simulate(2_000, seed=18).records, "cut.dbn")
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    before = store.query("SELECT count() FROM mbo.messages")
    with pytest.raises(TruncatedError):
        store.ingest(path)
    assert store.query("SELECT count() FROM mbo.messages") == before
    path.write_bytes(zstandard.compress(whole)[:-20])
    with pytest.raises(DataError):
        store.ingest(path)
    assert store.query("SELECT count() FROM mbo.messages") == before
    path.write_bytes(whole)
    store.ingest(path)
    exact(store, path)


def test_a_file_that_changes_while_it_is_stored_is_refused(store, make, monkeypatch):
    path = make(several_days(4_000, 4, seed=19), "moving.dbn")
    original = path.read_bytes()
    changed = bytearray(original)
    changed[-30] ^= 1
    look = ingest.write

    def change_and_write(*args, **kwargs):
        path.write_bytes(changed)
        return look(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(ingest, "write", change_and_write)
        with pytest.raises(FormatError, match="changed while it was read"):
            store.ingest(path)
    assert not [entry for entry in store.files() if entry.name == path.name]
    path.write_bytes(original)
    store.ingest(path)
    exact(store, path)


def test_another_content_under_the_same_name_is_another_file(store, make):
    dataset = unique_dataset()
    one = make(mbo.simulate(1_000, seed=20).records, "same.dbn", dataset=dataset)
    store.ingest(one)
    two = make(several_days(1_000, 1, seed=21)[:900], "same.dbn", dataset=dataset)
    with pytest.raises(RequestError, match=r"same instruments and time as same\.dbn"):
        store.ingest(two)
    with pytest.raises(RequestError, match="overlap="):
        store.ingest(two, overlap="maybe")
    report = store.ingest(two, overlap="replace")
    assert report.files[0].replaced == ("same.dbn",)
    exact(store, two)
    assert len([entry for entry in store.files() if entry.name == "same.dbn"]) == 1
    again = make(mbo.simulate(1_000, seed=20).records, "same.dbn", dataset=dataset)
    assert store.ingest(again, overlap="replace").files[0].new  # its old tokens are remembered, its rows are gone
    exact(store, again)


def test_overlapping_files_are_allowed_but_not_mixed(store, make):
    dataset = unique_dataset()
    records = mbo.simulate(1_000, seed=22).records
    one = make(records, "left.dbn", dataset=dataset)
    two = make(records[:800], "right.dbn", dataset=dataset)
    store.ingest(one)
    store.ingest(two, overlap="allow")
    exact(store, one)
    exact(store, two)
    entries = [entry for entry in store.files() if entry.dataset == dataset]
    assert [entry.rows for entry in entries] == [1_000, 800]
    with pytest.raises(RequestError, match="file="):
        store.book(int(records["instrument_id"][0]), at=int(records["ts_recv"][500]))


# ------------------------------------------------------------ back again


def strange(seed: int):
    """Messages with everything that may be odd: no ts_recv, backward times, any letter, any number."""
    random = np.random.default_rng(seed)
    records = mbo.simulate(3_000, seed=seed, instruments=3).records.copy()
    some = lambda share: random.random(len(records)) < share  # noqa: E731
    records["ts_recv"][some(0.05)] = UNDEF_TIMESTAMP
    records["ts_recv"][some(0.05)] -= np.uint64(3_600_000_000_000)
    records["ts_recv"][some(0.01)] -= np.uint64(86_400_000_000_000)
    records["action"][some(0.01)] = 0
    records["side"][some(0.01)] = 255
    records["price"][some(0.01)] = UNDEF_PRICE
    records["price"][some(0.01)] = -(2**63)
    records["order_id"][some(0.02)] = 2**64 - 1
    records["size"][some(0.01)] = 2**32 - 1
    records["ts_in_delta"][some(0.01)] = -(2**31)
    records["flags"][some(0.05)] ^= int(Flag.LAST)
    return records


@pytest.mark.parametrize("seed", [31, 32])
def test_strange_messages_come_back_bit_by_bit(store, make, seed):
    path = make(strange(seed), f"strange{seed}.dbn")
    store.ingest(path)
    exact(store, path)


@pytest.mark.parametrize("seed", [33, 34])
def test_a_stored_book_is_the_file_s_at_any_instant(store, make, monkeypatch, seed):
    monkeypatch.setattr(ingest, "Snapshots", functools.partial(Snapshots, 60))
    path = make(strange(seed), f"book{seed}.dbn")
    store.ingest(path)
    day = mbo.read_dbn(path)
    for symbol in day.symbols:
        assert outcome(lambda s=symbol: store.book(s, file=path.name)) == outcome(lambda s=symbol: day.book(s))
    for number, at in enumerate(moments(day.load(), 16, seed)):
        symbol = day.symbols[number % 3]
        expected = outcome(lambda s=symbol, a=at: day.book(s, at=a))
        assert outcome(lambda s=symbol, a=at: store.book(s, at=a, file=path.name)) == expected, at


def test_the_bundled_session_at_hundreds_of_instants(embedded):
    embedded.ingest(mbo.SIMULATED, overlap="allow")
    day = mbo.read_dbn(mbo.SIMULATED)
    for at in moments(day.load(), 40, 41):
        assert outcome(lambda a=at: embedded.book("SIM1", at=a, file=day.files[0].path.name)) == outcome(
            lambda a=at: day.book("SIM1", at=a)
        )


@pytest.mark.data
def test_a_real_session_at_hundreds_of_instants(embedded):
    path = real("CLX5_mbo.dbn")
    embedded.ingest(path)
    exact(embedded, path)
    day = mbo.read_dbn(path)
    for at in moments(day.load(), 100, 42):
        assert outcome(lambda a=at: embedded.book("CLX5", at=a)) == outcome(lambda a=at: day.book("CLX5", at=a))


@pytest.mark.data
def test_a_real_snapshot_goes_backwards_in_time(store):
    path = real("ESM4_20240508_snapshot.mbo.dbn.zst")
    store.ingest(path)
    exact(store, path)
    assert outcome(lambda: store.book("ESM4")) == outcome(lambda: mbo.read_dbn(path).book("ESM4"))


@pytest.mark.parametrize("how", [{"by": "event"}, {"equal_size": "keeps"}, {"strict": True}])
def test_other_books_are_replayed(store, make, how):
    path = make(mbo.simulate(2_000, seed=36).records, f"other-{next(iter(how))}.dbn")
    store.ingest(path)
    day = mbo.read_dbn(path)
    at = int(day.load()["ts_event"][1_500])
    symbol = day.symbols[0]
    assert outcome(lambda: store.book(symbol, at=at, file=path.name, **how)) == outcome(
        lambda: day.book(symbol, at=at, **how)
    )


def test_a_selection_is_the_file_s(store, make):
    path = make(strange(37), "selected.dbn")
    store.ingest(path)
    day = mbo.read_dbn(path)
    times = np.sort(day.load()["ts_recv"])
    start, end = int(times[800]), int(times[2_000])
    symbol = day.symbols[1]
    for how in (
        {},
        {"start": start},
        {"end": end},
        {"start": start, "end": end},
        {"start": start, "end": end, "by": "event"},
    ):
        expected = day.select(symbol, **how).load()
        assert store.records(symbol, file=path.name, **how).load().tobytes() == expected.tobytes()
    assert pl.DataFrame(store.records(file=path.name)).equals(pl.DataFrame(day))
    assert pl.DataFrame(store.trades(symbol, file=path.name)).equals(pl.DataFrame(day.select(symbol).trades()))


def test_mbp_records_are_the_file_s(store, make):
    path = make(mbo.simulate(4_000, seed=38, instruments=3).records, "levels.dbn")
    store.ingest(path)
    day = mbo.read_dbn(path)
    for levels in (1, 10):
        expected = np.concatenate(list(day.mbp(levels).batches()))
        assert np.concatenate(list(store.mbp(levels, file=path.name).batches())).tobytes() == expected.tobytes()
        start = int(expected["ts_recv"][len(expected) // 2])
        left = np.concatenate(list(store.mbp(levels, file=path.name, start=start).batches()))
        assert left.tobytes() == expected[expected["ts_recv"] >= start].tobytes()
    assert pl.DataFrame(store.mbp(file=path.name)).equals(pl.DataFrame(day.mbp(10)))


def test_bars_are_those_of_the_trades(store, make):
    path = make(several_days(5_000, 2, seed=39, instruments=2), "bars.dbn")
    store.ingest(path)
    bars = pl.DataFrame(store.bars("1m", file=path.name))
    trades = pl.DataFrame(mbo.read_dbn(path).trades()).filter(pl.col("price").is_not_null())
    expected = (
        trades.with_columns(pl.col("ts_recv").dt.truncate("1m").alias("ts"))
        .group_by("ts", "instrument_id", maintain_order=True)
        .agg(
            pl.col("price").first().alias("open"), pl.col("price").max().alias("high"), pl.col("price").min().alias("low"),
            pl.col("price").last().alias("close"), pl.col("size").sum().cast(pl.UInt64).alias("volume"), pl.len().alias("trades"),
        )
        .sort("ts", "instrument_id")
    )  # fmt: skip
    assert bars.select(expected.columns).cast(expected.schema).equals(expected)
    assert bars["symbol"].to_list() == [f"S{number}" for number in bars["instrument_id"]]


def test_spread_is_that_of_the_levels(store, make):
    path = make(several_days(5_000, 2, seed=40), "spread.dbn")
    store.ingest(path)
    spread = pl.DataFrame(store.spread("1h", file=path.name))
    levels = pl.DataFrame(mbo.read_dbn(path).mbp(10)).drop_nulls(["bid_px_00", "ask_px_00"])
    expected = (
        levels.with_columns(
            pl.col("ts_recv").dt.truncate("1h").alias("ts"), (pl.col("ask_px_00") - pl.col("bid_px_00")).alias("spread")
        )
        .group_by("ts")
        .agg(
            pl.col("spread").min().alias("spread_min"), pl.col("spread").max().alias("spread_max"),
            pl.col("spread").mean().alias("spread_mean"), pl.len().alias("records"),
        )
        .sort("ts")
    )  # fmt: skip
    assert (
        spread.select("ts", "spread_min", "spread_max", "records")
        .cast({"records": pl.UInt32, "ts": expected.schema["ts"]})
        .equals(expected.drop("spread_mean"))
    )
    assert np.allclose(spread["spread_mean"], expected["spread_mean"])


@pytest.mark.parametrize("interval", ["", "0s", "-1m", "1x", "25h", "1m; DROP TABLE mbo.messages", "٣m"])
def test_a_wrong_interval_is_refused(embedded, interval):
    embedded.ingest(mbo.SIMULATED, overlap="allow")
    with pytest.raises(RequestError, match="not an interval"):
        embedded.bars(interval, file=str(mbo.SIMULATED.name))


# ------------------------------------------------------------ names and parameters


NASTY = ["'; DROP TABLE mbo.messages; --", "{file_id:UInt64}", "a\\'b", "a\tb\nc", "%s", "`x`", "S1' OR '1'='1", ""]


@pytest.mark.parametrize("name", NASTY)
def test_names_are_bound_never_pasted(store, make, name):
    assert store.query("SELECT {name:String} AS name", name=name).to_pylist() == [{"name": name}]
    store.ingest(mbo.SIMULATED, overlap="allow")
    with pytest.raises(SymbolError):
        store.book(name)
    with pytest.raises(RequestError):
        store.records(file=name)
    assert store.query("SELECT count() > 0 AS there FROM mbo.messages").to_pylist() == [{"there": 1}]


def test_a_nasty_symbol_is_a_symbol(store, make):
    records = mbo.simulate(500, seed=43).records
    dataset = unique_dataset()
    symbol = "X'; DROP TABLE mbo.messages; --\\"
    path = make(records, "O'Brien {x:String}.dbn", dataset=dataset)
    store.ingest(path)
    exact(store, path)
    number = store.append(
        records, session=f"nasty-{dataset}", dataset="LIVE",
        symbols=SymbolMap([Mapping(symbol, int(records["instrument_id"][0]))]),
    )  # fmt: skip
    assert number == 500
    assert store.book(symbol).symbol == symbol


def test_wrong_sql_is_one_sentence(store):
    with pytest.raises(RequestError, match=r"ClickHouse refuses: .*nothing_here"):
        store.query("SELECT * FROM mbo.nothing_here")
    with pytest.raises(RequestError):
        store.query("SELEC 1")


def test_what_is_not_there_is_said(store, make):
    path = make(mbo.simulate(500, seed=44).records, "there.dbn")
    store.ingest(path)
    day = mbo.read_dbn(path)
    with pytest.raises(SymbolError, match="no symbol 'NOPE'"):
        store.book("NOPE")
    with pytest.raises(TimeError, match="outside the data"):
        store.book(day.symbols[0], at="1999-01-01", file="there.dbn")
    with pytest.raises(RequestError, match=r"no file 'nope\.dbn' is stored"):
        store.book(day.symbols[0], file="nope.dbn")
    with pytest.raises(RequestError, match="is not stored"):
        store.verify(make(mbo.simulate(500, seed=45).records, "absent.dbn"))


# ------------------------------------------------------------ recordings


def test_a_recording_is_idempotent_by_rows(store):
    records = mbo.simulate(3_000, seed=46).records
    dataset = unique_dataset()
    session = f"live-{dataset}"
    assert store.append(records[:1_000], session=session, dataset=dataset) == 1_000
    assert store.append(records[500:1_500], session=session, dataset=dataset, row=500) == 1_500
    assert store.append(records[:1_500], session=session, dataset=dataset, row=0) == 1_500
    with pytest.raises(RequestError, match="are missing"):
        store.append(records[2_000:], session=session, dataset=dataset, row=2_000)
    with pytest.raises(RequestError, match="is of"):
        store.append(records, session=session, dataset="OTHER")
    with pytest.raises(RequestError, match="not a session's name"):
        store.append(records, session="a/b", dataset=dataset)
    assert store.append(records[1_500:], session=session, dataset=dataset) == 3_000
    assert store.records(file=session).load().tobytes() == records.tobytes()
    at = int(records["ts_recv"][2_500])
    number = int(records["instrument_id"][0])
    assert store.book(number, at=at, file=session).status.messages <= 2_501
    assert store.book(number, file=session).status.messages == 3_000


def test_a_recording_that_died_before_the_ledger_goes_on(store, monkeypatch):
    records = several_days(2_000, 2, seed=47)
    dataset = unique_dataset()
    session = f"died-{dataset}"
    store.append(records[:500], session=session, dataset=dataset)
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            store.append(records[500:1_200], session=session, dataset=dataset)
    assert store.append(records[500:2_000], session=session, dataset=dataset, row=500) == 2_000
    assert store.records(file=session).load().tobytes() == records.tobytes()
    assert counted(store, next(e for e in store.files() if e.name == session).file_id)["messages"] == (2_000, 2_000)


def test_sides_and_actions_are_letters_in_sql(store, make):
    path = make(mbo.simulate(500, seed=48).records, "letters.dbn")
    store.ingest(path)
    day = mbo.read_dbn(path).load()
    sql = """
        SELECT countIf(action = 'A') AS adds, countIf(side = 'B') AS bids FROM mbo.messages
        WHERE file_id IN (SELECT file_id FROM mbo.files WHERE name = {n:String})
    """
    row = store.query(sql, n="letters.dbn").to_pylist()[0]
    assert row == {"adds": int((day["action"] == Action.ADD).sum()), "bids": int((day["side"] == Side.BID).sum())}
