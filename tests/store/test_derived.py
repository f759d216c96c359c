"""What is made of messages on their way in, without a database."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mbo
from mbo.book import Books
from mbo.mbp import Mbp
from mbo.records import Flag
from mbo.store.derived import Snapshots, SourcedMbp
from mbo.store.snapshots import from_row, restore, to_rows
from mbo.symbols import SymbolMap
from mbo.units import UNDEF_TIMESTAMP


def pieces(records, size):
    return [(start, records[start : start + size]) for start in range(0, len(records), size)]


@settings(max_examples=12)
@given(st.integers(100, 2_000), st.integers(0, 20), st.booleans())
def test_sourced_mbp_is_mbp_with_the_messages_it_comes_from(size, seed, unfinished):
    records = mbo.simulate(4_000, seed=seed, instruments=3).records.copy()
    records["sequence"] = np.random.default_rng(seed).integers(0, 2**32, len(records))
    if unfinished:  # events that stay open across many pieces
        records["flags"][np.random.default_rng(seed).random(len(records)) < 0.9] &= 0xFF ^ int(Flag.LAST)
    expected = np.concatenate(Mbp(10).apply(records))
    mbp = SourcedMbp()
    found = [pair for start, part in pieces(records, size) for pair in mbp.apply(part, start)]
    array = np.concatenate([piece for piece, _ in found])
    sources = np.concatenate([numbers for _, numbers in found])
    assert array.tobytes() == expected.tobytes()
    assert len(set(sources.tolist())) == len(sources)
    for name in ("ts_recv", "ts_event", "sequence", "instrument_id", "price", "size", "action"):
        assert (records[sources][name] == array[name]).all(), name


@settings(max_examples=12)
@given(st.integers(20, 400), st.integers(0, 20))
def test_a_kept_book_goes_on_as_the_one_it_was_taken_of(every, seed):
    records = mbo.simulate(3_000, seed=seed, instruments=2).records.copy()
    random = np.random.default_rng(seed)
    records["order_id"][random.random(len(records)) < 0.02] ^= np.uint64(12345)  # anomalies
    records["ts_recv"][random.random(len(records)) < 0.05] = UNDEF_TIMESTAMP
    snapshots = Snapshots(every)
    taken = [*snapshots.apply(records, 0), *snapshots.finish()]
    assert taken
    keys = {(one.publisher_id, one.instrument_id) for one in taken}
    assert all(
        max(s.row_num for s in taken if s.instrument_id == i) == np.flatnonzero(records["instrument_id"] == i)[-1]
        for _, i in keys
    )
    whole = Books()
    whole.apply(records)
    for one in taken[:: max(1, len(taken) // 5)]:
        back = from_row(_table(one))
        books = restore(back, SymbolMap())
        numbers = np.flatnonzero(
            (records["instrument_id"] == one.instrument_id) & (np.arange(len(records)) > one.row_num)
        )
        books.apply(records[numbers], rows=numbers)
        book, expected = books.book(), whole[one.publisher_id, one.instrument_id]
        assert (book.digest(), book.status, book.anomalies) == (expected.digest(), expected.status, expected.anomalies)
        book.check()


def _table(one):
    import pyarrow as pa

    return pa.Table.from_batches([to_rows([one], 7)])


def test_books_are_kept_at_the_same_places_however_the_messages_come():
    records = mbo.simulate(5_000, seed=3, instruments=3).records
    places = []
    for size in (5_000, 1_000, 37):
        snapshots = Snapshots(100)
        taken = [one for start, part in pieces(records, size) for one in snapshots.apply(part, start)]
        places.append([(one.instrument_id, one.row_num, one.ts_high, one.segment) for one in taken])
        assert all(one.base for one in taken)
    assert places[0] == places[1] == places[2]


@pytest.mark.parametrize("count", [0, 1])
def test_few_messages(count):
    records = mbo.simulate(1_000, seed=1).records[-2:][:count]
    snapshots = Snapshots(1)
    assert len([*snapshots.apply(records, 0), *snapshots.finish()]) <= count
