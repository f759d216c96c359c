"""Messages of the stream: both forms say the same, whole numbers to the last bit, and updates lead to the state they say."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from mbo.api import frames
from mbo.api.frames import Message, Position
from mbo.book.rows import LEVEL_DTYPE
from mbo.errors import ProtocolError

LARGEST = Position(2**64 - 2, 2**63 + 1, 2**32 - 1, 2**53 + 1, 2**53 - 1)


def side(*rows: tuple[int, int, int]) -> np.ndarray:
    return np.array(list(rows), LEVEL_DTYPE)


def message(prev: int = 0, symbol: str = "ÄÖ 1") -> Message:
    bids, asks = side((2**63 - 2, 2**52, 2**32 - 1), (-(2**63), 1, 1)), side((2**53 + 1, 7, 2))
    return Message(
        2**60, prev, symbol, 2**32 - 1, 65_535, LARGEST, True, False, True, False, True, frames.checksum(bids, asks), bids, asks
    )  # fmt: skip


def same(a: Message, b: Message) -> bool:
    plain = lambda one: one._replace(bids=one.bids.tolist(), asks=one.asks.tolist())  # noqa: E731
    return plain(a) == plain(b)


@pytest.mark.parametrize("prev", [0, 2**60 - 1])
def test_both_forms_give_back_what_was_written(prev):
    made = message(prev)
    assert same(frames.read(frames.to_binary(made)), made)
    assert same(frames.read(frames.to_json(made).decode()), made)


def test_json_writes_what_a_double_cannot_hold_as_text():
    found = json.loads(frames.to_json(message()), parse_int=float)  # as JavaScript reads it
    assert found["bids"][0][0] == str(2**63 - 2)
    assert found["ts_recv"] == str(2**64 - 2)
    assert all(isinstance(one, float) and one <= 2**53 for one in (found["sequence"], found["checksum"]))


def test_the_binary_form_is_as_its_documentation_says():
    data = frames.to_binary(message(3))
    assert data[:4] == bytes([1, 2, 1 | 4 | 16, 6])
    assert struct.unpack_from("<HHQQQQQQIIHI", data, 4) == (
        2, 1, 2**60, 3, 2**64 - 2, 2**63 + 1, 2**53 + 1, 2**53 - 1, 2**32 - 1, 2**32 - 1, 65_535, message().checksum,
    )  # fmt: skip
    assert data[70:76].decode() == "ÄÖ 1"
    assert struct.unpack_from("<qQI", data, 76) == (2**63 - 2, 2**52, 2**32 - 1)
    assert len(data) == 76 + 3 * 20


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_frames_are_what_the_library_reads(size):
    payload = b"x" * size
    written = frames.frame(payload, text=False)
    reader = StreamReader()
    reader.feed_data(written)
    parsing = Frame.parse(reader.read_exact, mask=False)
    with pytest.raises(StopIteration) as found:
        next(parsing)
    assert (found.value.value.opcode, found.value.value.data) == (Opcode.BINARY, payload)


rows = st.dictionaries(st.integers(-3, 3), st.tuples(st.integers(0, 3), st.integers(0, 2)).filter(any), max_size=5)


@given(rows, rows, st.booleans())
def test_changes_lead_from_one_state_to_the_other(old, new, descending):
    before, after = (
        side(*((price, *state[price]) for price in sorted(state, reverse=descending))) for state in (old, new)
    )
    changes = frames.changed(before, after)
    assert frames.apply(before, changes, descending=descending).tobytes() == after.tobytes()
    assert len(changes) == sum(old.get(price) != new.get(price) for price in old.keys() | new.keys())


BROKEN = {
    "nothing": b"",
    "a byte": b"\x01",
    "too short": frames.to_binary(message())[:-1],
    "too long": frames.to_binary(message()) + b"\0",
    "another version": b"\x02" + frames.to_binary(message())[1:],
    "no text": "",
    "a list": "[]",
    "half of it": "{",
    "no levels": '{"type":"snapshot"}',
    "odd levels": '{"type":"update","bids":[[1]]}',
}


@pytest.mark.parametrize("payload", BROKEN.values(), ids=BROKEN.keys())
def test_what_is_no_message_is_refused(payload):
    with pytest.raises(ProtocolError, match="no message"):
        frames.read(payload)
