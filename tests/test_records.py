"""The record's layout against Databento's own, and what counts as records."""

from __future__ import annotations

import databento_dbn
import numpy as np
import pytest

from mbo.errors import RecordError
from mbo.records import (
    HEADER_DTYPE,
    MAPPING_DTYPE,
    MAPPING_V1_DTYPE,
    MBO_DTYPE,
    RTYPES,
    Action,
    Flag,
    Side,
    as_records,
    letter,
    times_of,
)  # fmt: skip
from mbo.units import UNDEF_TIMESTAMP
from tests.builders import stream


def test_layout_byte_for_byte():
    text = "0ea0 0100 07000000 0100000000000080 0200000000000090 ffffffffffffffff 03000000 80 1a 41 42"
    text += "04000000000000a0 feffffff 05000000"
    record = as_records(bytes.fromhex(text))[0]
    names = MBO_DTYPE.names or ()
    assert dict(zip(names, record.tolist(), strict=True)) == {
        "length": 14, "rtype": 0xA0, "publisher_id": 1, "instrument_id": 7, "ts_event": 2**63 + 1, "order_id": 9 * 2**60 + 2,
        "price": -1, "size": 3, "flags": Flag.LAST, "channel_id": 26, "action": Action.ADD, "side": Side.BID,
        "ts_recv": 10 * 2**60 + 4, "ts_in_delta": -2, "sequence": 5,
    }  # fmt: skip


def test_layout_is_databento_s():
    assert MBO_DTYPE.itemsize == databento_dbn.MBOMsg.size_hint == 56
    assert HEADER_DTYPE.itemsize == 16
    theirs = np.dtype([(name, kind) for name, kind in databento_dbn.MBOMsg._dtypes if not name.startswith("_")])
    assert {name: theirs.fields[name][1] for name in theirs.names} == {
        name: MBO_DTYPE.fields[name][1] for name in theirs.names
    }
    assert MAPPING_DTYPE.itemsize == databento_dbn.SymbolMappingMsg.size_hint == 176
    assert MAPPING_V1_DTYPE.itemsize == databento_dbn.SymbolMappingMsgV1.size_hint == 80


def test_rtypes_are_all_that_databento_knows():
    assert set(RTYPES) == {int(rtype) for rtype in databento_dbn.RType.variants()}


def test_letters_and_flags_are_databento_s():
    assert {chr(action) for action in Action} == {str(action) for action in databento_dbn.Action.variants()}
    assert {chr(side) for side in Side} == {str(side) for side in databento_dbn.Side.variants()}
    for flag in Flag:
        assert flag == getattr(databento_dbn, f"F_{flag.name}", flag)
    assert [letter(code) for code in (65, 90, 64, 91, 0, 255)] == ["A", "Z", "0x40", "0x5b", "0x00", "0xff"]


def test_as_records_copies_nothing():
    records = stream(10)
    data = records.tobytes()
    assert np.shares_memory(as_records(records), records)
    assert np.shares_memory(as_records(data), np.frombuffer(data, np.uint8))
    assert as_records(memoryview(data)).tobytes() == data
    assert as_records(bytearray(b"x" + data)[1:]).tobytes() == data


def test_as_records_never_lets_a_caller_s_array_be_written():
    records = stream(10)
    for seen in (as_records(records), as_records(bytearray(records.tobytes()))):
        with pytest.raises(ValueError, match="read-only"):
            seen["size"] = 0
    records["size"] = 1  # the caller still may


def test_as_records_takes_any_layout():
    records = stream(12)
    assert as_records(records[::2]).tobytes() == records[::2].tobytes()
    assert as_records(records.reshape(3, 4)).shape == (12,)
    assert as_records(records[0]).shape == as_records(records[:1]).shape == (1,)
    assert len(as_records(b"")) == len(as_records(records[:0])) == 0


@pytest.mark.parametrize(
    "values", [b"x", b"x" * 57, np.zeros(56, np.uint8), np.zeros(3, np.float64), np.zeros(2, HEADER_DTYPE)], ids=repr
)
def test_as_records_refuses_what_is_not_whole_records(values):
    with pytest.raises(RecordError, match="not"):
        as_records(values)


def test_times_of_a_record_without_ts_recv_is_its_ts_event():
    records = stream(4)
    assert np.shares_memory(times_of(records), records)
    records["ts_recv"][2] = UNDEF_TIMESTAMP
    assert times_of(records).tolist() == [*records["ts_recv"][:2], records["ts_event"][2], records["ts_recv"][3]]
    assert times_of(records, "ts_event").tolist() == records["ts_event"].tolist()
