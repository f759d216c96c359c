"""Databento's own client, unchanged, cannot tell the gateway from the one it was made for: it gets every record, to the bit."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import databento_dbn
import numpy as np
import pytest

import mbo
from mbo.book import Books
from mbo.live.gateway import Gateway
from mbo.records import MBO_DTYPE, Flag, RecordArray, as_records
from mbo.replay import Records
from tests.conftest import real
from tests.live.wire import END, same, until

databento = pytest.importorskip("databento")

KEY = "db-0123456789abcdefghijklmnopqrs"


class Tape(NamedTuple):
    """A file, and how its instruments are called."""

    day: Records
    records: RecordArray
    symbols: list[str]
    parent: str


@pytest.fixture(scope="module", params=["bundled", "real"])
def tape(request) -> Tape:
    path: Path = mbo.SIMULATED if request.param == "bundled" else real("CLX5_mbo.dbn")
    day = mbo.read_dbn(path)
    records = day.load()
    assert len(records) == (90_000 if request.param == "bundled" else 38_212)
    return Tape(day, records, day.symbols, "SI.FUT" if request.param == "bundled" else "CL.FUT")


@pytest.fixture(scope="module")
def bundled() -> Tape:
    day = mbo.read_dbn(mbo.SIMULATED)
    return Tape(day, day.load(), day.symbols, "SI.FUT")


class Official:
    """The client, and what it has been given."""

    def __init__(self, gateway: Gateway, key: str = KEY, **options: Any) -> None:
        self.live = databento.Live(key=key, gateway="127.0.0.1", port=gateway.port, **options)
        self.rows = bytearray()
        self.sent: list[int] = []
        self.texts: list[str] = []
        self.errors: list[str] = []
        self.asked: list[str] = []
        self.count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        if self.live.is_connected():
            self.live.terminate()

    def subscribe(self, symbols: Any = "ALL_SYMBOLS", **options: Any) -> Self:
        self.live.subscribe(dataset="GLBX.MDP3", schema="mbo", symbols=symbols, **options)
        return self

    def start(self, *symbols: Any, **options: Any) -> Self:
        """Subscribe, and be called with every record."""
        self.subscribe(*symbols, **options)
        self.live.add_callback(self.take)
        self.live.start()
        return self

    def take(self, record: Any) -> None:
        if isinstance(record, databento_dbn.MBOMsg):
            self.rows += bytes(record)[:56]
            if self.live.ts_out:
                self.sent.append(record.ts_out)
            self.count += 1
        elif isinstance(record, databento_dbn.SystemMsg):
            self.texts.append(record.msg)
        elif isinstance(record, databento_dbn.ErrorMsg):
            self.errors.append(record.err)
        elif isinstance(record, databento_dbn.SymbolMappingMsg):
            self.asked.append(record.stype_in_symbol)

    def to_the_end(self) -> Self:
        self.live.block_for_close(timeout=30)
        return self

    @property
    def records(self) -> RecordArray:
        found = np.frombuffer(bytes(self.rows), MBO_DTYPE).copy()
        found["length"] = 14  # counts the sending time too
        return as_records(found)


def digests(records: RecordArray) -> dict[tuple[int, int], str]:
    books = Books()
    books.apply(records)
    return {key: book.digest() for key, book in books.items()}


@pytest.fixture
def gateway(tape) -> Iterator[Gateway]:
    with Gateway(tape.day) as gateway:
        yield gateway


# ---------------------------------------------------------------- everything, to the bit


@pytest.mark.parametrize("compression", ["none", "zstd"])
@pytest.mark.parametrize("ts_out", [False, True], ids=["plain", "ts_out"])
def test_every_record(tape, gateway, ts_out, compression):
    packed = databento.Compression.from_str(compression)
    with Official(gateway, ts_out=ts_out, compression=packed) as client:
        client.start().to_the_end()
    assert same(client.records, tape.records)
    assert client.texts == ["Subscription request 0 for mbo data succeeded", END]
    assert client.errors == []
    assert len(client.sent) == (len(tape.records) if ts_out else 0)
    assert client.sent == sorted(client.sent)
    assert client.sent[:1] != [databento_dbn.UNDEF_TIMESTAMP]


@pytest.mark.parametrize("by", ["symbol", "instrument_id", "parent", "all", "every symbol"])
def test_by_any_name(tape, gateway, by):
    first = next(iter(tape.day.symbol_map))
    names, stype_in = {
        "symbol": (first.symbol, "raw_symbol"),
        "instrument_id": (first.instrument_id, "instrument_id"),
        "parent": (tape.parent, "parent"),
        "all": ("ALL_SYMBOLS", "raw_symbol"),
        "every symbol": (tape.symbols, "raw_symbol"),
    }[by]
    with Official(gateway) as client:
        client.start(names, stype_in=stype_in)
        until(lambda: client.asked and client.live.symbology_map, "it knows the names")
        found = dict(client.live.symbology_map)
        client.to_the_end()
    one = by in ("symbol", "instrument_id")
    ids = tape.records["instrument_id"]
    assert same(client.records, tape.records[ids == first.instrument_id] if one else tape.records)
    assert found.items() <= {mapping.instrument_id: mapping.symbol for mapping in tape.day.symbol_map}.items()
    assert found[first.instrument_id] == first.symbol
    if by in ("instrument_id", "parent"):
        assert set(client.asked) == {str(names)}


def test_more_symbols_than_one_line_holds(tape, gateway):
    others = [f"NONE{k}" for k in range(1_200)]
    with Official(gateway) as client:
        client.subscribe([*others, *tape.symbols])
        client.live.add_callback(client.take)
        client.live.start()
        with pytest.raises(databento.BentoError, match="No instrument found for raw_symbol symbol NONE7"):
            client.to_the_end()
    assert same(client.records, tape.records)
    assert len(client.errors) == 1_200
    assert client.texts == ["Subscription request 0 for mbo data succeeded", END]


def test_iteration(tape):
    """The client starts its session before its queue is open: what comes in between, it loses. So nothing does."""
    with Gateway(tape.day, rate=10_000_000, hold=True) as gateway, Official(gateway) as client:
        stream = iter(client.subscribe().live)
        until(lambda: gateway.sessions, "it is served")
        gateway.begin()
        for record in stream:
            client.take(record)
    assert same(client.records, tape.records)
    assert client.texts[-1] == END


def test_into_a_file(tape, gateway, tmp_path):
    path = tmp_path / "recorded.dbn"
    with Official(gateway) as client:
        client.live.add_stream(path)
        client.subscribe()
        client.live.start()
        client.to_the_end()
    again = mbo.read_dbn(path)
    assert same(again.load(), tape.records)
    assert {(one.symbol, one.instrument_id) for one in again.symbol_map} == {
        (one.symbol, one.instrument_id) for one in tape.day.symbol_map
    }


def test_from_the_middle_by_time(tape, gateway):
    start = int(tape.records["ts_event"][len(tape.records) // 2])
    first = int(np.argmax(tape.records["ts_event"] >= start))
    with Official(gateway) as client:
        client.start(start=start).to_the_end()
    assert same(client.records, tape.records[first:])
    assert "Finished mbo replay" in client.texts


# ---------------------------------------------------------------- joined, paused, cut off


@pytest.mark.parametrize("pace", ["paced", "unpaced"])
def test_joined_with_a_snapshot(tape, pace):
    middle = len(tape.records) // 2
    with Gateway(tape.day, rate=500_000 if pace == "paced" else None) as gateway:
        gateway.seek(middle)
        with Official(gateway) as client:
            client.start(snapshot=True).to_the_end()
    ordinary = client.records["flags"] & int(Flag.SNAPSHOT) == 0
    restored, rest = client.records[: -(len(tape.records) - middle)], client.records[-(len(tape.records) - middle) :]
    assert same(rest, tape.records[middle:])
    assert not ordinary[: len(restored)].any()
    assert digests(restored) == digests(tape.records[:middle])
    assert digests(client.records) == digests(tape.records)


def test_reconnects_and_misses_nothing(tape):
    told = []
    with Gateway(tape.day, rate=300_000) as gateway, Official(gateway, reconnect_policy="reconnect") as client:
        client.live.add_reconnect_callback(lambda start, end: told.append((start, end)))
        client.start(start=0)
        for number in range(1, 4):
            until(lambda number=number: gateway.position > number * 5_000, "some records have happened")
            gateway.pause()
            until(lambda: client.count == gateway.position, "it has all that was sent")
            (before,) = gateway.sessions
            gateway.drop()
            until(
                lambda before=before: [one.number for one in gateway.sessions] not in ([], [before.number]),
                "it is back",
            )
            gateway.resume()
        client.to_the_end()
    assert same(client.records, tape.records)
    assert len(told) == 3
    assert client.texts.count("Subscription request 0 for mbo data succeeded") == 4
    assert gateway.sent == len(tape.records)


def test_late_subscription(bundled):
    with Gateway(bundled.day, rate=500_000) as gateway, Official(gateway) as client:
        gateway.pause()
        gateway.seek(30_000)
        client.start("SIM1")
        until(lambda: client.texts, "it is let in")
        client.subscribe("SIM2")
        client.subscribe("SIM3", snapshot=True)
        until(lambda: len(client.texts) == 3, "it has an answer")
        gateway.resume()
        client.to_the_end()
    late = bundled.records[30_000:]
    assert same(client.records[-len(late) :], late)
    assert digests(client.records)[1, 1003] == digests(bundled.records)[1, 1003]


@pytest.mark.timeout(40)
def test_heartbeats_while_paused(bundled):
    with Gateway(bundled.day, rate=500_000) as gateway, Official(gateway, heartbeat_interval_s=5) as client:
        gateway.pause()
        client.start()
        until(lambda: "Heartbeat" in client.texts, "its heart beats")
        assert client.live.is_connected()
        gateway.resume()
        client.to_the_end()
    assert same(client.records, bundled.records)


def test_gateway_that_closes(bundled):
    gateway = Gateway(bundled.day, rate=20_000)
    with gateway, Official(gateway) as client:
        client.start()
        until(lambda: client.count > 1_000, "it is served")
        gateway.close()
        client.to_the_end()
    assert same(client.records, bundled.records[: client.count])
    assert client.records["flags"][-1] & Flag.LAST
    assert client.count < 90_000


# ---------------------------------------------------------------- refused


def test_wrong_key_is_said_at_once(bundled):
    with Gateway(bundled.day, keys=[KEY]) as gateway:
        with Official(gateway, key="db-another") as client, pytest.raises(databento.BentoError, match="no such key"):
            client.subscribe()
        with Official(gateway) as client:
            assert same(client.start().to_the_end().records, bundled.records)


def test_wrong_dataset_is_said_at_once(bundled):
    sentence = "GLBX[.]MDP3 is replayed here, not XNAS[.]ITCH"
    with (
        Gateway(bundled.day) as gateway,
        Official(gateway) as client,
        pytest.raises(databento.BentoError, match=sentence),
    ):
        client.live.subscribe(dataset="XNAS.ITCH", schema="mbo")


@pytest.mark.parametrize("late", [False, True], ids=["at first", "later"])
def test_wrong_schema_is_said_in_the_stream(bundled, late):
    with Gateway(bundled.day, rate=10_000) as gateway, Official(gateway) as client:
        client.subscribe()
        if late:
            client.live.start()
            until(lambda: gateway.sessions, "it is served")
        client.live.subscribe(dataset="GLBX.MDP3", schema="mbp-10")
        if not late:
            client.live.start()
        with pytest.raises(databento.BentoError, match="schema mbp-10 is not served here: only mbo is"):
            client.to_the_end()


def test_many_at_once(bundled):
    with Gateway(bundled.day) as gateway:
        clients = [Official(gateway, ts_out=bool(number % 2)) for number in range(4)]
        for client in clients:
            client.start("SIM3")
        for client in clients:
            client.to_the_end()
    own = bundled.records[bundled.records["instrument_id"] == 1003]
    assert all(same(client.records, own) for client in clients)
    assert threading.active_count() < 50
