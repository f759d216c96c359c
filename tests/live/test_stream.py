"""The bytes of a session, however they come: cut into batches and messages, or an error that says what they are instead."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from mbo.errors import ProtocolError
from mbo.live import stream as module
from mbo.live.messages import (
    ErrorCode,
    ErrorMessage,
    SymbolMessage,
    SystemCode,
    SystemMessage,
    Writer,
    session_metadata,
)
from mbo.live.stream import Arrival, Stream
from mbo.records import RecordArray
from tests.builders import MBP_10, NOON, TRADES, other, sent
from tests.builders import stream as records_of

VARIANTS = [(version, ts_out) for version in (1, 2, 3) for ts_out in (False, True)]


def session(records: RecordArray, *, version: int = 3, ts_out: bool = False) -> bytes:
    """A whole session: an answer, a mapping, a trade that nobody asked for, records, a heartbeat, records, an error, the end."""
    write, half = Writer(version, ts_out), len(records) // 2
    plain = [records[:half], records[half:]]
    first, second = (
        b"".join(sent(one.tobytes(), NOON + number) if ts_out else one.tobytes() for number, one in enumerate(part))
        for part in plain
    )
    trade = sent(other(TRADES), NOON) if ts_out else other(TRADES)
    return b"".join([
        session_metadata("GLBX.MDP3", NOON, ts_out=ts_out, version=version),
        write.system("Subscription request 0 for mbo data succeeded", SystemCode.SUBSCRIPTION_ACK, NOON),
        write.mapping(7, "AAA", "AAA", NOON, stype_in="raw_symbol"),
        trade, first,
        write.system("Heartbeat", SystemCode.HEARTBEAT, NOON),
        second,
        write.error("no more", ErrorCode.INTERNAL_ERROR, NOON),
    ])  # fmt: skip


def messages(version: int) -> list[Any]:
    code = ErrorCode.UNSET if version == 1 else ErrorCode.INTERNAL_ERROR
    return [
        SystemMessage("Subscription request 0 for mbo data succeeded", SystemCode.SUBSCRIPTION_ACK, NOON),
        SymbolMessage(7, "AAA", "AAA", NOON),
        SystemMessage("Heartbeat", SystemCode.HEARTBEAT, NOON),
        ErrorMessage("no more", code, NOON),
    ]


class Taken:
    """What a stream gave, copied as it came."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.records = b""
        self.sent: list[int] = []
        self.messages: list[Any] = []

    def feed(self, data: bytes) -> None:
        for item in self.stream.feed(data):
            if isinstance(item, Arrival):
                self.records += item.records.tobytes()
                self.sent += [] if item.ts_out is None else item.ts_out.tolist()
            else:
                self.messages.append(item)


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "zstd"])
@pytest.mark.parametrize(("version", "ts_out"), VARIANTS)
@pytest.mark.parametrize("step", [1, 3, 57, 10**6], ids=["bytes", "threes", "across records", "whole"])
def test_session_however_it_is_split(version, ts_out, compressed, step):
    records = records_of(40)
    data = session(records, version=version, ts_out=ts_out)
    if compressed:
        data = zstandard.ZstdCompressor(level=1).compress(data)
    taken = Taken(Stream(compressed=compressed))
    for begin in range(0, len(data), step):
        taken.feed(data[begin : begin + step])
    assert taken.records == records.tobytes()
    assert taken.sent == ([NOON + number % 20 for number in range(40)] if ts_out else [])
    assert taken.messages == messages(version)
    assert taken.stream.others == {"trades": 1}
    assert taken.stream.torn == 0
    assert taken.stream.metadata is not None


@given(st.lists(st.integers(0, 5_000), max_size=20), st.sampled_from(VARIANTS))
def test_session_split_at_random(cuts, variant):
    version, ts_out = variant
    records = records_of(40)
    data = session(records, version=version, ts_out=ts_out)
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    taken = Taken(Stream())
    for begin, end in pairwise(places):
        taken.feed(data[begin:end])
    assert taken.records == records.tobytes()
    assert taken.messages == messages(version)


def test_received_into_its_own_memory():
    records = records_of(40)
    data = memoryview(session(records))
    stream, found = Stream(), []
    while len(data):
        room = stream.room()
        room[:100] = bytes(100)  # what lay there before says nothing
        count = min(100, len(data))
        room[:count] = data[:count]
        found += [item.records.tobytes() for item in stream.received(count) if isinstance(item, Arrival)]
        data = data[count:]
    assert b"".join(found) == records.tobytes()


def test_batches_are_of_a_bounded_size(monkeypatch):
    monkeypatch.setattr(module, "BATCH", 16)
    records = records_of(100)
    data = session_metadata("A", NOON, ts_out=False) + records.tobytes()
    sizes = [len(item.records) for item in Stream().feed(data) if isinstance(item, Arrival)]
    assert sizes == [16] * 6 + [4]


# -------------------------------------------------------------------- the buffers


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUFFER_BYTES", 4_096)
    monkeypatch.setattr(module, "_LEAST_ROOM", 512)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("step", [1, 50, 57, 300, 10_000])
def test_batch_stays_as_it_is_until_its_buffer_is_two_behind(step):
    """The promise that `History` lives on."""
    records = records_of(2_000)
    data = session_metadata("A", NOON, ts_out=False) + records.tobytes()
    stream, kept, whole = Stream(), [], b""
    for begin in range(0, len(data), step):
        for item in stream.feed(data[begin : begin + step]):
            assert isinstance(item, Arrival)
            kept = [(one, copy) for one, copy in kept if one.buffer >= item.buffer - 1]
            kept.append((item, item.records.tobytes()))
            whole += kept[-1][1]
            assert all(one.records.tobytes() == copy for one, copy in kept)
    assert whole == records.tobytes()
    assert stream.buffer > 20
    assert len(kept) > 1 or step == 10_000


@pytest.mark.usefixtures("small")
def test_batch_outlives_any_number_of_messages():
    """A weekend of heartbeats must not write over what a reconnection is compared with."""
    records = records_of(20)
    stream = Stream()
    data = session_metadata("A", NOON, ts_out=False) + records.tobytes()
    (arrival,) = [item for item in stream.feed(data) if isinstance(item, Arrival)]
    beat = Writer(3, False).system("Heartbeat", SystemCode.HEARTBEAT, NOON)
    for _ in range(500):
        assert len(list(stream.feed(beat))) == 1
    assert arrival.records.tobytes() == records.tobytes()
    assert stream.buffer <= arrival.buffer + 1


@pytest.mark.usefixtures("small")
def test_batches_are_read_only():
    (arrival,) = [
        item
        for item in Stream().feed(session_metadata("A", NOON, ts_out=False) + records_of(3).tobytes())
        if isinstance(item, Arrival)
    ]
    with pytest.raises(ValueError, match="read-only"):
        arrival.records["price"] = 1


# -------------------------------------------------------------------- what is no session

HEADER = session_metadata("GLBX.MDP3", NOON, ts_out=False)


def everything(data: bytes, step: int = 10**6, *, compressed: bool = False) -> list[Any]:
    stream = Stream(compressed=compressed)
    return [item for begin in range(0, len(data), step) for item in stream.feed(data[begin : begin + step])]


@pytest.mark.parametrize("step", [1, 10**6], ids=["bytes", "whole"])
@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "begins with b'H"),
        (b"D\0BN", "begins with"),
        (b"DBN\x09" + HEADER[4:], "version 9"),
        (b"DBN\x00" + HEADER[4:], "version 0"),
        (b"DBN\x03\xff\xff\xff\xff" + bytes(100), "claims to be"),
        (b"DBN\x03\x04\x00\x00\x00" + bytes(100), "damaged"),
        (HEADER[:30] + b"\xff" * (len(HEADER) - 30) + bytes(100), "header"),
        (HEADER + bytes(100), "no record"),
        (HEADER + b"\xff" * 100, "no record"),
        (HEADER + b"\x01\xa0" + bytes(100), "no record"),
        (HEADER + b"\x10\xa0" + bytes(100), "no record"),
        (HEADER + b"\x03\x17" + bytes(100), "no record"),
        (HEADER + b"\x05\x17" + bytes(100), "type 0x17"),
        (HEADER + sent(records_of(1).tobytes(), 1), "no record"),
    ],
    ids=[
        "http", "almost", "version 9", "version 0", "long header", "short header", "damaged header", "zeros", "ones",
        "short record", "long record", "no header", "short message", "ts_out unasked",
    ],
)  # fmt: skip
def test_rubbish_is_the_peers_fault(data, complaint, step):
    with pytest.raises(ProtocolError, match=complaint):
        everything(data, step)


def test_rubbish_behind_records_comes_after_them():
    records = records_of(5)
    items = Stream().feed(HEADER + records.tobytes() + b"\x02rubbish")
    assert next(items).records.tobytes() == records.tobytes()
    with pytest.raises(ProtocolError, match="no record"):
        next(items)


def test_compressed_rubbish():
    with pytest.raises(ProtocolError, match="no zstd stream"):
        everything(b"rubbish, and more of it", compressed=True)
    with pytest.raises(ProtocolError, match="begins with"):
        everything(zstandard.compress(b"rubbish, and more of it"), compressed=True)


@settings(max_examples=300)
@given(st.binary(max_size=300), st.integers(0, 400), st.integers(1, 200))
def test_random_bytes_anywhere_raise_nothing_but_protocol_errors(rubbish, place, step):
    data = session(records_of(4))
    place = min(place, len(data))
    try:
        everything(data[:place] + rubbish + data[place:], step)
    except ProtocolError as error:
        assert len(str(error)) < 300  # noqa: PT017 - one that is raised is to be a sentence


def test_other_schemas_are_counted():
    stream = Stream()
    data = HEADER + other(MBP_10) + records_of(1).tobytes() + other(TRADES) + other(MBP_10)
    assert [len(item.records) for item in stream.feed(data) if isinstance(item, Arrival)] == [1]
    assert stream.others == {"mbp-10": 2, "trades": 1}


def test_torn_counts_the_bytes_of_what_is_not_whole():
    stream = Stream()
    list(stream.feed(HEADER + records_of(2).tobytes() + b"\x0e\xa0" + bytes(21)))
    assert stream.torn == 23
    assert [len(item.records) for item in stream.feed(bytes(33))] == [1]
    assert stream.torn == 0
