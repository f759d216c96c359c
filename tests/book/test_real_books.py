"""Books of real exchange data: against an independent consensus, and the two books against each other at every event."""

from __future__ import annotations

import json

import numpy as np
import pytest

import mbo
from mbo.book import Book, ReferenceBook
from mbo.records import Flag
from tests.conftest import real

pytestmark = [pytest.mark.data, pytest.mark.nojit]

FILES = [
    "CLX5_mbo.dbn",
    "ESM4_20240508_snapshot.mbo.dbn.zst",
    "databento/ESH1_20201228T13.mbo.dbn.zst",
    "databento/XNAS.ITCH__test_data.mbo.dbn.zst",
]


def test_clx5_ends_in_the_consensus_book():
    expected = json.loads(real("CLX5_final_book_consensus.json").read_text())
    document = mbo.read_dbn(real("CLX5_mbo.dbn")).book().document()
    for side in ("bids", "asks"):
        found = [{name: level[name] for name in ("price", "size", "count")} for level in document[side]]
        assert found == expected[side]
    assert (len(document["bids"]), len(document["asks"]), document["orders"]) == (61, 52, 147)
    assert document["orders"] == expected["orders"]
    assert {rule: counter["count"] for rule, counter in document["counters"].items()} == {
        "unknown_cancel": 1_224, "unknown_modify": 216,
    }  # fmt: skip
    assert not document["synced"]
    assert document["crossed"]


def test_esm4_replays_from_its_snapshot_without_a_fault():
    day = mbo.read_dbn(real("ESM4_20240508_snapshot.mbo.dbn.zst"))
    book = day.book(strict=True)
    assert book.synced
    assert not book.crossed
    assert not book.anomalies
    assert [(level.size, level.count) for level in book.bbo] == [(28, 22), (17, 11)]
    assert [level.price for level in book.bbo] == [5_214_000_000_000, 5_214_250_000_000]
    ends = np.flatnonzero(day.load()["flags"] & int(Flag.LAST))
    assert not any(day.book(at=int(day.load()["ts_recv"][end])).crossed for end in ends[::20])


@pytest.mark.timeout(400)  # as plain Python, on a busy machine
@pytest.mark.parametrize("name", FILES)
def test_both_books_are_equal_after_every_event(name):
    records = mbo.read_dbn(real(name)).load()
    fast, slow = Book(), ReferenceBook()
    start = events = 0
    for end in (np.flatnonzero(records["flags"] & int(Flag.LAST)) + 1).tolist():
        fast.apply(records[start:end])
        slow.apply(records[start:end])
        start = end
        assert fast.digest() == slow.digest(), f"after record {end - 1}"
        events += 1
        if events % 500 == 0:
            fast.check()
            slow.check()
    assert events == fast.status.events
    assert fast.status == slow.status
    assert fast.anomalies == slow.anomalies
