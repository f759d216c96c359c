"""Which records a selection leaves, and which numbers they keep."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbo.errors import RequestError
from mbo.selection import Selection, Stretch, book_keys, clock_of, empty, joined
from mbo.symbols import Mapping
from mbo.units import UNDEF_TIMESTAMP
from tests.builders import NOON, stream


def kept(selection: Selection, stretch: Stretch) -> list[int]:
    left = selection.of(stretch)
    assert left.records.tobytes() == stretch.records[left.numbers - stretch.numbers[0]].tobytes()
    return left.numbers.tolist()


def test_nothing_chosen_is_the_stretch_itself():
    stretch = Stretch(stream(5), 100)
    assert Selection().of(stretch) is stretch
    assert Selection(start=0, end=UNDEF_TIMESTAMP, publisher_id=1).of(stretch) is stretch, "no copy where all is kept"


def test_time_is_half_open_on_either_clock():
    stretch = Stretch(stream(6), 100)  # ts_event from NOON, ts_recv 100 later
    assert kept(Selection(start=NOON + 102, end=NOON + 104), stretch) == [102, 103]
    assert kept(Selection(start=NOON + 2, end=NOON + 4, clock="ts_event"), stretch) == [102, 103]
    assert kept(Selection(start=NOON + 104), stretch) == [104, 105]
    assert kept(Selection(end=NOON + 102), stretch) == [100, 101]
    assert kept(Selection(end=NOON + 100), stretch) == []


def test_record_without_ts_recv_counts_at_its_ts_event():
    stretch = Stretch(stream(6), 0)
    stretch.records["ts_recv"][2] = UNDEF_TIMESTAMP
    assert kept(Selection(start=NOON + 2, end=NOON + 3), stretch) == [2]
    assert kept(Selection(start=NOON + 102, end=NOON + 200), stretch) == [3, 4, 5]


def test_publisher():
    stretch = Stretch(stream(4), 0)
    stretch.records["publisher_id"] = [1, 2, 1, 3]
    assert kept(Selection(publisher_id=1), stretch) == [0, 2]
    assert kept(Selection(publisher_id=70_000), stretch) == []


def test_instrument_while_it_has_the_name():
    stretch = Stretch(stream(6), 0)
    stretch.records["instrument_id"] = [7, 8, 7, 8, 7, 9]
    day = [NOON + 100 + k for k in range(7)]
    assert kept(Selection((Mapping("A", 7),)), stretch) == [0, 2, 4]
    assert kept(Selection((Mapping("A", 7, day[2], day[4]),)), stretch) == [2]
    assert kept(Selection((Mapping("A", 7, 0, day[1]), Mapping("A", 8, day[1], day[3]))), stretch) == [0, 1]
    assert kept(Selection((Mapping("A", 7, 0, day[1]), Mapping("A", 7, day[4], day[6]), Mapping("B", 9))), stretch) == [
        0,
        4,
        5,
    ]
    assert kept(Selection((Mapping("A", 7, day[2], day[4]), Mapping("7", 7))), stretch) == [0, 2, 4]
    assert kept(Selection(()), stretch) == []
    assert len(Selection((Mapping("A", 7),)).of(Stretch(stream(0), 0)).records) == 0


def test_everything_together_and_ts_out():
    stretch = Stretch(stream(6), np.array([5, 6, 9, 10, 11, 20]), ts_out=np.arange(6, dtype=np.uint64))
    stretch.records["instrument_id"] = [7, 8, 7, 8, 7, 9]
    stretch.records["publisher_id"] = [1, 1, 2, 1, 1, 1]
    left = Selection((Mapping("A", 7), Mapping("B", 9)), publisher_id=1, start=NOON + 101).of(stretch)
    assert left.numbers.tolist() == [11, 20]
    assert left.ts_out.tolist() == [4, 5]


keys = st.integers(0, 2)


@given(st.lists(st.tuples(keys, keys), max_size=40), st.dictionaries(st.tuples(keys, keys), st.integers(-1, 45)))
def test_until_keeps_each_book_s_own_beginning(books, last):
    stretch = Stretch(stream(len(books)), 3)
    for row, (publisher, instrument) in zip(stretch.records, books, strict=True):
        row["publisher_id"], row["instrument_id"] = publisher, instrument
    expected = [3 + k for k, key in enumerate(books) if 3 + k <= last.get(key, -1)]
    assert stretch.until({p << 32 | i: row for (p, i), row in last.items()}).numbers.tolist() == expected


def test_book_keys_tell_publishers_and_instruments_apart():
    records = stream(2)
    records["publisher_id"], records["instrument_id"] = [1, 65_535], [2**32 - 1, 0]
    assert book_keys(records).tolist() == [2**32 + 2**32 - 1, 65_535 << 32]


def test_clock_of():
    assert [clock_of("recv"), clock_of("event")] == ["ts_recv", "ts_event"]
    with pytest.raises(RequestError, match="by='ts_recv': it is 'recv' or 'event'"):
        clock_of("ts_recv")


def test_empty():
    assert (len(empty().records), empty().ts_out) == (0, None)
    assert len(empty(ts_out=True).ts_out) == 0


@pytest.mark.parametrize(
    ("rows", "length", "expected"),
    [
        ([0, 3, 6], 100, [0]),  # one after the other: a first number says it all
        ([0, 3, 6], 6, [0, 6]),
        ([0, 3, 6], 5, [0, 3, 6]),  # none is cut, however long
        ([0, 3, 7], 100, [[0, 1, 2, 3, 4, 5, 7, 8, 9]]),
        ([10, [20, 22, 25], 26], 100, [[10, 11, 12, 20, 22, 25, 26, 27, 28]]),
        ([[1, 2, 5], 6], 100, [[1, 2, 5, 6, 7, 8]]),
        ([], 100, []),
    ],
)
def test_stretches_are_joined_with_their_numbers(rows, length, expected):
    records = stream(3 * len(rows))
    each = [np.array(row) if isinstance(row, list) else row for row in rows]
    parts = [Stretch(records[3 * k : 3 * k + 3], row, read_bytes=k) for k, row in enumerate(each)]
    whole = list(joined(iter(parts), length))
    assert [row if isinstance(row, int) else row.tolist() for row in (part.rows for part in whole)] == expected
    assert b"".join(part.records.tobytes() for part in whole) == records.tobytes()
    assert [part.read_bytes for part in whole][-1:] == [len(rows) - 1][: len(rows)]
