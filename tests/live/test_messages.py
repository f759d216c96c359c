"""The gateway's own records: the official library reads what we write, version for version, and we read what it writes."""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import Any

import databento_dbn
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbo.errors import ProtocolError, RequestError
from mbo.live.messages import (
    END_OF_REPLAY,
    ERROR_DTYPE,
    ERROR_V1_DTYPE,
    SYSTEM_DTYPE,
    SYSTEM_V1_DTYPE,
    ErrorCode,
    ErrorMessage,
    SymbolMessage,
    SystemCode,
    SystemMessage,
    Writer,
    read_control,
    session_metadata,
)
from mbo.live.protocol import STYPES
from mbo.records import MBO_DTYPE
from mbo.units import UNDEF_TIMESTAMP
from tests.builders import NOON, mapping, sent, stream

VERSIONS = pytest.mark.parametrize("version", [1, 2, 3])
TS_OUT = pytest.mark.parametrize("ts_out", [False, True], ids=["plain", "ts_out"])


def decoded(records: bytes, version: int, ts_out: bool, policy: Any = None) -> list[Any]:
    """The records of a session as the official library reads them; its client has them all upgraded to version 3."""
    decoder = databento_dbn.DBNDecoder(
        upgrade_policy=policy if policy is not None else databento_dbn.VersionUpgradePolicy.UPGRADE_TO_V3
    )
    decoder.write(session_metadata("GLBX.MDP3", NOON, ts_out=ts_out, version=version) + records)
    metadata, *rest = decoder.decode()
    assert isinstance(metadata, databento_dbn.Metadata)
    assert decoder.buffer() == b"", "nothing is left over"
    return rest


def header(record: Any) -> tuple[int, int, int]:
    return record.publisher_id, record.instrument_id, record.ts_event


# -------------------------------------------------------------------- metadata


@VERSIONS
@TS_OUT
def test_metadata_as_the_real_gateway_sends_it(version, ts_out):
    data = session_metadata("GLBX.MDP3", NOON, ts_out=ts_out, version=version)
    read = databento_dbn.Metadata.decode(data, upgrade_policy=databento_dbn.VersionUpgradePolicy.AS_IS)
    assert (read.version, read.dataset, read.start, read.ts_out) == (version, "GLBX.MDP3", NOON, ts_out)
    assert (read.schema, read.stype_in, read.stype_out) == (None, None, databento_dbn.SType.INSTRUMENT_ID)
    assert (read.end, read.limit, read.symbol_cstr_len) == (None, None, 22 if version == 1 else 71)
    assert (read.symbols, read.partial, read.not_found, read.mappings) == ([], [], [], {})


@VERSIONS
@TS_OUT
def test_metadata_byte_by_byte(version, ts_out):
    count = b"\xff" * 8 if version == 1 else b""
    width = b"" if version == 1 else (71).to_bytes(2, "little")
    fixed = struct.pack("<16sHQQQ", b"XNAS.ITCH", 0xFFFF, NOON, UNDEF_TIMESTAMP, 0) + count
    fixed = (fixed + struct.pack("<BBB", 0xFF, 0, ts_out) + width).ljust(100, b"\0")
    lists = bytes(5 * 4)  # no definition of a schema, no symbols, none partial, none not found, no mappings
    assert session_metadata("XNAS.ITCH", NOON, ts_out=ts_out, version=version) == (
        b"DBN" + bytes([version]) + (len(fixed) + len(lists)).to_bytes(4, "little") + fixed + lists
    )


def test_metadata_that_cannot_be():
    assert session_metadata("A" * 15, 0, ts_out=False)
    for dataset in ("", "A" * 16, "GLBX\0", "É"):
        with pytest.raises(RequestError, match="dataset is"):
            session_metadata(dataset, 0, ts_out=False)
    for version in (0, 4):
        with pytest.raises(RequestError, match=f"no DBN version {version}"):
            session_metadata("A", 0, ts_out=False, version=version)
        with pytest.raises(RequestError, match=f"no DBN version {version}"):
            Writer(version, ts_out=False)


# -------------------------------------------------------------------- records, read by the official library


@VERSIONS
@TS_OUT
def test_system_messages(version, ts_out):
    writer = Writer(version, ts_out)
    texts = {
        SystemCode.HEARTBEAT: "Heartbeat",
        SystemCode.SUBSCRIPTION_ACK: "Subscription request 7 for mbo data succeeded",
        SystemCode.SLOW_READER_WARNING: "Warning: slow reading, 5 records behind",
        SystemCode.REPLAY_COMPLETED: "Finished mbo replay",
        SystemCode.END_OF_INTERVAL: "End of interval for bbo-1s",
        SystemCode.UNSET: END_OF_REPLAY,
    }
    records = [writer.system(words, code, NOON + code) for code, words in texts.items()]
    assert {len(record) for record in records} == {(80 if version == 1 else 320) + 8 * ts_out}
    for record, (code, words) in zip(decoded(b"".join(records), version, ts_out), texts.items(), strict=True):
        assert type(record) is databento_dbn.SystemMsg
        assert (record.msg, record.code.value) == (words, code)
        assert header(record) == (0, 0, NOON + code)
        assert record.ts_out == (NOON + code if ts_out else UNDEF_TIMESTAMP)
        assert record.is_heartbeat() == (code == SystemCode.HEARTBEAT)
    for data, (code, words) in zip(records, texts.items(), strict=True):
        assert read_control(data, version, ts_out) == SystemMessage(words, code, NOON + code)


@VERSIONS
@TS_OUT
@pytest.mark.parametrize("is_last", [True, False], ids=["last", "not last"])
def test_error_messages(version, ts_out, is_last):
    writer = Writer(version, ts_out)
    records = [writer.error(f"wrong: {code.name}", code, NOON, is_last) for code in ErrorCode]
    known = version > 1
    for record, code in zip(decoded(b"".join(records), version, ts_out), ErrorCode, strict=True):
        assert type(record) is databento_dbn.ErrorMsg
        assert (record.err, record.code.value) == (f"wrong: {code.name}", code if known else ErrorCode.UNSET)
        assert record.is_last == (is_last if known else 255)
        assert header(record) == (0, 0, NOON)
        assert record.ts_out == (NOON if ts_out else UNDEF_TIMESTAMP)
    for data, code in zip(records, ErrorCode, strict=True):
        expected = ErrorMessage(f"wrong: {code.name}", code if known else ErrorCode.UNSET, NOON, is_last or not known)
        assert read_control(data, version, ts_out) == expected


@VERSIONS
@TS_OUT
@pytest.mark.parametrize("stype_in", STYPES)
def test_symbol_mappings(version, ts_out, stype_in):
    data = Writer(version, ts_out).mapping(432669, "CL.FUT", "CLX5", NOON, stype_in=stype_in)
    assert len(data) == (80 if version == 1 else 176) + 8 * ts_out
    (record,) = decoded(data, version, ts_out)
    assert type(record) is databento_dbn.SymbolMappingMsg
    assert header(record) == (0, 432669, NOON)
    assert (record.stype_in_symbol, record.stype_out_symbol) == ("CL.FUT", "CLX5")
    assert (record.start_ts, record.end_ts) == (UNDEF_TIMESTAMP, UNDEF_TIMESTAMP)
    if version > 1:
        assert (str(record.stype_in), str(record.stype_out)) == (stype_in, "raw_symbol")
    assert record.ts_out == (NOON if ts_out else UNDEF_TIMESTAMP)
    assert read_control(data, version, ts_out) == SymbolMessage(432669, "CL.FUT", "CLX5", NOON)


@TS_OUT
def test_version_1_is_version_1s_own_layout(ts_out):
    writer = Writer(1, ts_out)
    records = writer.system("x", SystemCode.UNSET, NOON) + writer.error("y", ErrorCode.UNSET, NOON)
    records += writer.mapping(7, "A", "A", NOON, stype_in="raw_symbol")
    as_is = decoded(records, 1, ts_out, databento_dbn.VersionUpgradePolicy.AS_IS)
    kinds = [databento_dbn.SystemMsgV1, databento_dbn.ErrorMsgV1, databento_dbn.SymbolMappingMsgV1]
    assert [type(record) for record in as_is] == kinds
    assert b"".join(bytes(record) for record in as_is) == records


@VERSIONS
@TS_OUT
def test_records_between_market_data(version, ts_out):
    writer = Writer(version, ts_out)
    plain = [record.tobytes() for record in stream(3)]
    mbo = [sent(record, NOON) for record in plain] if ts_out else plain
    data = b"".join([
        writer.mapping(7, "AAA", "AAA", NOON, stype_in="raw_symbol"), mbo[0], writer.system("a", SystemCode.UNSET, NOON),
        mbo[1], writer.error("b", ErrorCode.INTERNAL_ERROR, NOON), mbo[2],
    ])  # fmt: skip
    records = decoded(data, version, ts_out)
    assert [type(record).__name__ for record in records] == [
        "SymbolMappingMsg", "MBOMsg", "SystemMsg", "MBOMsg", "ErrorMsg", "MBOMsg"
    ]  # fmt: skip


# -------------------------------------------------------------------- what the official library writes, and others


def test_records_of_the_official_library_are_read():
    parts: dict[str, Any] = {"publisher_id": 0, "instrument_id": 0, "ts_event": NOON}
    system = databento_dbn.SystemMsg(ts_event=NOON, msg="Heartbeat", code=databento_dbn.SystemCode.HEARTBEAT)
    assert read_control(bytes(system), 3, ts_out=False) == SystemMessage("Heartbeat", SystemCode.HEARTBEAT, NOON)
    error = databento_dbn.ErrorMsg(
        ts_event=NOON, err="no", is_last=False, code=databento_dbn.ErrorCode.SYMBOL_RESOLUTION_FAILED
    )
    assert read_control(bytes(error), 3, ts_out=False) == ErrorMessage(
        "no", ErrorCode.SYMBOL_RESOLUTION_FAILED, NOON, is_last=False
    )
    symbol = databento_dbn.SymbolMappingMsg(
        **(parts | {"instrument_id": 7}), stype_in=databento_dbn.SType.CONTINUOUS, stype_in_symbol="CL.c.0",
        stype_out=databento_dbn.SType.RAW_SYMBOL, stype_out_symbol="CLX5", start_ts=1, end_ts=2,
    )  # fmt: skip
    assert read_control(memoryview(bytes(symbol)), 3, ts_out=False) == SymbolMessage(7, "CL.c.0", "CLX5", NOON)


def test_codes_are_those_of_the_official_library():
    for ours, theirs in ((SystemCode, databento_dbn.SystemCode), (ErrorCode, databento_dbn.ErrorCode)):
        assert {code.name: code.value for code in ours} == {code.name: code.value for code in theirs.variants()}
    assert [code for code in ErrorCode if not code.fatal] == [4, 7]


@VERSIONS
@TS_OUT
def test_layouts_are_as_long_as_the_official_ones(version, ts_out):
    sizes = (80, 80) if version == 1 else (320, 320)
    layouts = (SYSTEM_V1_DTYPE, ERROR_V1_DTYPE) if version == 1 else (SYSTEM_DTYPE, ERROR_DTYPE)
    assert tuple(layout.itemsize for layout in layouts) == sizes
    for data in (mapping(7, "AAA", version=version), Writer(version, ts_out).system("x", SystemCode.UNSET, NOON)):
        assert len(data) == data[0] * 4


@pytest.mark.parametrize("code", [6, 9, 100, 254])
def test_code_newer_than_ours_is_unset(code):
    system = bytearray(Writer(3, ts_out=False).system("x", SystemCode.UNSET, NOON))
    system[-1] = code
    assert read_control(bytes(system), 3, ts_out=False) == SystemMessage("x", SystemCode.UNSET, NOON)
    error = bytearray(Writer(3, ts_out=False).error("x", ErrorCode.UNSET, NOON))
    error[-2] = code
    message = read_control(bytes(error), 3, ts_out=False)
    assert isinstance(message, ErrorMessage)
    assert message.code == (ErrorCode.INTERNAL_ERROR if code == 6 else ErrorCode.UNSET)
    assert message.code.fatal


WORDS = [
    "Heartbeat", "Heartbeat!", "heartbeat", "Subscription request 1 for mbo data succeeded",
    "Subscription request 1 for mbo data failed", "Subscription succeeded", "Warning: slow reading", "Warning",
    "Warning: slow reading, 9 behind", "Finished mbo replay", "Finished", "Replay finished", "End of interval for ohlcv-1s",
    "End of interval", END_OF_REPLAY, "",
]  # fmt: skip


@pytest.mark.parametrize("words", WORDS)
def test_version_1_tells_messages_apart_as_the_official_library_does(words):
    data = Writer(1, ts_out=False).system(words, SystemCode.UNSET, NOON)
    (theirs,) = decoded(data, 1, ts_out=False)
    ours = read_control(data, 1, ts_out=False)
    assert isinstance(ours, SystemMessage)
    assert ours.code == theirs.code.value


# -------------------------------------------------------------------- limits and rubbish


@VERSIONS
@TS_OUT
def test_long_texts_are_cut_between_characters(version, ts_out):
    writer = Writer(version, ts_out)
    rooms = (63, 63) if version == 1 else (302, 301)
    writers = (lambda t: writer.system(t, SystemCode.UNSET, NOON), lambda t: writer.error(t, ErrorCode.UNSET, NOON))
    for room, write in zip(rooms, writers, strict=True):
        for words in ("x" * room, "x" * (room + 1), "x" * 1000, "x" * (room - 1) + "é", "é" * 500):
            data = write(words)
            message = read_control(data, version, ts_out)
            assert isinstance(message, SystemMessage | ErrorMessage)
            assert words.startswith(message.text)
            assert room - 2 < len(message.text.encode()) <= room
            (theirs,) = decoded(data, version, ts_out)
            assert getattr(theirs, "msg", None) or theirs.err == message.text


@VERSIONS
def test_long_symbols_are_refused(version):
    writer, room = Writer(version, ts_out=False), 21 if version == 1 else 70
    fits, too_long = "S" * room, "S" * (room + 1)
    data = writer.mapping(7, fits, fits, NOON, stype_in="raw_symbol")
    assert read_control(data, version, ts_out=False) == SymbolMessage(7, fits, fits, NOON)
    for asked, symbol in ((fits, too_long), (too_long, fits), (fits, "é" * room)):
        with pytest.raises(RequestError, match=f"there is room for {room}"):
            writer.mapping(7, asked, symbol, NOON, stype_in="raw_symbol")


def test_mapping_by_an_unknown_stype_is_refused():
    with pytest.raises(RequestError, match="stype_in is 'ric'"):
        Writer(3, ts_out=False).mapping(7, "A", "A", NOON, stype_in="ric")


@VERSIONS
@TS_OUT
def test_wrong_length_is_a_protocol_error(version, ts_out):
    writer = Writer(version, ts_out)
    for data in (
        writer.system("x", SystemCode.UNSET, NOON),
        writer.error("x", ErrorCode.UNSET, NOON),
        writer.mapping(7, "A", "A", NOON, stype_in="raw_symbol"),
    ):
        for wrong in (data[:-1], data + b"\0", data[:16], bytes([data[0] + 1]) + data[1:], b"\0" + data[1:]):
            with pytest.raises(ProtocolError, match=r"of type 0x1[567] has"):
                read_control(wrong, version, ts_out)
        with pytest.raises(ProtocolError, match="has"):
            read_control(data, version, not ts_out)
        with pytest.raises(ProtocolError, match="has"):
            read_control(data, 3 if version == 1 else 1, ts_out)
        with pytest.raises(ProtocolError, match="fewer than its header"):
            read_control(data[:15], version, ts_out)


def test_market_data_is_none_of_ours():
    for record in stream(3):
        assert read_control(record.tobytes(), 3, ts_out=False) is None
    assert read_control(memoryview(np.zeros(1, MBO_DTYPE)).cast("B"), 3, ts_out=True) is None


@given(st.binary(min_size=64, max_size=64), st.sampled_from([0x15, 0x16, 0x17]))
def test_rubbish_with_the_right_length_can_be_shown(junk, rtype):
    data = bytes([20, rtype]) + bytes(14) + junk
    message = read_control(data, 1, ts_out=False)
    assert message is not None
    texts = message[1:3] if isinstance(message, SymbolMessage) else message[:1]
    assert all(str(words).isprintable() for words in texts)


@given(st.binary(max_size=400), st.sampled_from([1, 2, 3]), st.booleans())
def test_rubbish_is_a_message_or_none_or_a_protocol_error(data, version, ts_out):
    with suppress(ProtocolError):
        message = read_control(data, version, ts_out)
        assert message is None or len(data) == data[0] * 4
