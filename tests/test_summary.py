"""Counts of a stream."""

from __future__ import annotations

import mbo
from mbo.records import Flag
from mbo.summary import Summary
from mbo.units import UNDEF_TIMESTAMP
from tests.builders import NOON, SYSTEM, TRADES, dbn_bytes, frames, mapping, other, stream, write


def test_summary_of_everything(tmp_path):
    records = stream(5_000, instruments=[7, 8])
    records["publisher_id"][:100] = 2
    records["ts_recv"][0] = records["ts_recv"][-1] = UNDEF_TIMESTAMP
    between = {0: [other(SYSTEM), mapping(7, "AAA")], 3_000: [other(TRADES)] * 7}
    path = write(tmp_path / "live.dbn.zst", frames(dbn_bytes(records, between=between, schema=None)))
    found = mbo.read_dbn(path).summary()
    rows = records.tolist()
    assert found.records == 5_000
    assert found.events == sum(bool(row[8] & Flag.LAST) for row in rows)
    assert (found.first, found.last) == (NOON + 101, NOON + 100 + 4_998)
    assert found.actions == {letter: sum(row[10] == ord(letter) for row in rows) for letter in "ACMRTFN"}
    assert list(found.actions.values()) == sorted(found.actions.values(), reverse=True)
    assert found.instruments == {
        (publisher, instrument): sum(row[2:4] == (publisher, instrument) for row in rows)
        for publisher in (1, 2)
        for instrument in (7, 8)
    }
    assert found.skipped == {"trades": 7, "system": 1, "symbol-mapping": 1}


def test_summary_of_a_selection(tmp_path):
    path = write(tmp_path / "day.dbn", dbn_bytes(stream(1_000, instruments=[7, 8]), symbols={"AAA": 7, "BBB": 8}))
    day = mbo.read_dbn(path)
    assert day.summary().records == 1_000
    assert set(day.select("BBB").summary().instruments) == {(1, 8)}


def test_summary_of_nothing():
    assert Summary.of([], {}) == Summary(0, 0, None, None)
    untimed = stream(2)
    untimed["ts_recv"] = UNDEF_TIMESTAMP
    assert (Summary.of([untimed], {}).first, Summary.of([untimed], {}).last) == (None, None)


def test_summary_of_actions_that_are_no_letters():
    records = stream(3)
    records["action"] = [7, 7, 255]
    assert Summary.of([records], {}).actions == {"0x07": 2, "0xff": 1}
