"""What `mbo serve` asks of a recorder: a buffer smaller than a flush holds nothing up, and the end is said."""

from __future__ import annotations

import numpy as np
import pytest

import mbo
from mbo.api.working import read_status, write_status
from mbo.recorder import Recorder
from mbo.records import RecordArray

LIMIT_S = 20.0


class KeptStore:
    """A store that keeps what it is given in memory."""

    def __init__(self) -> None:
        self.blocks: list[RecordArray] = []

    def recorded(self, session: str) -> int:
        return sum(map(len, self.blocks))

    def append(self, records: RecordArray, *, row: int, **_: object) -> int:
        assert row == self.recorded("")
        self.blocks.append(records.copy())
        return self.recorded("")


@pytest.mark.parametrize(("flush_rows", "buffer_rows"), [(1 << 17, 2_000), (2_000, 2_000), (2_000, 2_100)])
def test_no_flush_waits_for_rows_that_there_is_no_room_for(flush_rows, buffer_rows):
    """No flush is due by time within an hour: one that waits for more rows would end the test."""
    day, store = mbo.read_dbn(mbo.SIMULATED), KeptStore()
    with mbo.serve_gateway(day) as gateway:
        options = {"flush_rows": flush_rows, "buffer_rows": buffer_rows, "flush_s": 3_600.0}
        with Recorder(gateway.url, store, session="s", start=0, **options).start() as recorder:
            recorder.feed.wait(LIMIT_S)
    assert np.concatenate(store.blocks).tobytes() == day.load().tobytes()
    assert recorder.status.flushes > 1
    assert recorder.status.waits > 0


def test_a_flush_waits_for_its_rows_where_there_is_room():
    day, store = mbo.read_dbn(mbo.SIMULATED), KeptStore()
    with mbo.serve_gateway(day) as gateway:
        options = {"flush_rows": 20_000, "buffer_rows": 1 << 20, "flush_s": 3_600.0}
        with Recorder(gateway.url, store, session="s", start=0, **options).start() as recorder:
            recorder.feed.wait(LIMIT_S)
    *blocks, _ = map(len, store.blocks)
    assert min(blocks) >= 20_000
    assert recorder.status.waits == 0


def test_the_end_of_a_recording_is_said(tmp_path):
    day, store = mbo.read_dbn(mbo.SIMULATED), KeptStore()
    with mbo.serve_gateway(day) as gateway:
        recorder = Recorder(gateway.url, store, session="s", start=0).start()
        write_status(tmp_path / "status", recorder.status)
        assert not read_status(tmp_path / "status").ended
        recorder.wait(LIMIT_S)
    write_status(tmp_path / "status", recorder.status)
    assert read_status(tmp_path / "status") == recorder.status
    assert recorder.status.ended
    assert recorder.status.stored == 90_000
