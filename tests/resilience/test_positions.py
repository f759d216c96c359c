"""Where times say little about the place: equal ones, equal records, times that run back or far ahead, filters, joined streams."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import mbo
from mbo.live import resume, stream
from mbo.live.feed import Feed
from mbo.live.gateway import Gateway
from mbo.records import MBO_DTYPE, Flag, RecordArray
from mbo.simulator import simulate
from mbo.units import NS_PER_S, UNDEF_TIMESTAMP
from tests.book.tapes import LAST, TICK, record
from tests.builders import NOON
from tests.resilience.harness import (
    ACK,
    HEADER,
    LIMIT_S,
    MAPPING,
    RECORD,
    digests,
    disturbed,
    rebuilt,
    until,
    write_file,
)
from tests.resilience.proxy import Fault, Proxy

pytestmark = pytest.mark.resilience

BEGIN = HEADER + ACK + MAPPING
"""Where the records begin in the session of a file with one instrument."""


def flow(times: np.ndarray, *, seed: int = 1, instruments: tuple[int, ...] = (7,)) -> RecordArray:
    """One order after the other is added, at these times: no record can be missing or come twice without a trace in the book."""
    random = np.random.default_rng(seed)
    records = np.zeros(len(times), MBO_DTYPE)
    records[:] = record("A", side="B", size=1)
    records["order_id"] = np.arange(len(times)) + 1
    records["price"] = random.integers(1, 50, len(times)) * TICK
    records["size"] = random.integers(1, 100, len(times))
    records["instrument_id"] = random.choice(instruments, len(times))
    records["ts_event"] = times
    records["ts_recv"] = NOON + np.arange(len(times))
    return records


def check_cuts(path: Path, records: RecordArray, places: list[int], begin: int = BEGIN, **options: object) -> None:
    """Cut one feed behind each of these records in turn, and then a feed at all of them, one connection after the other."""
    for place in places:
        with disturbed(path, Fault(cut=begin + place * RECORD), **options) as run:
            run.check(records, faults=1)
    script = [Fault(cut=begin + place * RECORD, reset=place % 2 == 1) for place in places]
    with disturbed(path, *script, **options) as run:
        run.check(records)


def test_byte_identical_records_at_the_cut(tmp_path):
    """Cancels of one lot each from one order: one too many or too few, and its size is another."""
    parts = [record("A", 1, "B", 100, 1_000_000, ts_event=NOON, ts_recv=NOON)]
    for number, run in enumerate([2, 3, 4, 5, 2, 3]):
        same = record("C", 1, "B", 100, 1, ts_event=NOON + number // 2, ts_recv=NOON + number, sequence=number // 2)
        parts += [same] * run
        parts += [record("A", 100 + number, "B", 90, 5, ts_event=NOON + number // 2, ts_recv=NOON + number)] * (
            number % 2
        )
    records = np.concatenate(parts)
    assert len(np.unique(records.view(("V", RECORD)))) < len(records) - 10
    path = write_file(tmp_path / "same.dbn", records)
    check_cuts(path, records, list(range(1, len(records) + 1)))


def test_nothing_but_one_record_over_and_over(tmp_path):
    records = np.repeat(record("A", 5, "B", 100, 1, flags=LAST, ts_event=NOON, ts_recv=NOON), 9)
    check_cuts(write_file(tmp_path / "one.dbn", records), records, list(range(1, 10)))


@pytest.mark.parametrize("kept", ["kept", "forgotten"])
def test_many_records_of_one_time_at_the_cut(tmp_path, monkeypatch, kept):
    if kept == "forgotten":
        monkeypatch.setattr(stream, "BUFFER_BYTES", 1 << 19)
        monkeypatch.setattr(stream, "_LEAST_ROOM", 1 << 16)
        monkeypatch.setattr(resume, "_MOST_KEPT", 1 << 13)
    times = np.concatenate([NOON + np.arange(2_000), np.full(100_000, NOON + 5_000), NOON + 6_000 + np.arange(2_000)])
    records = flow(times.astype("<u8"))
    path = write_file(tmp_path / "many.dbn", records)
    check_cuts(path, records, [1_000, 2_000, 2_001, 30_000, 60_000, 101_999, 102_000, 102_001, 103_500])


def test_times_that_run_back_and_an_outlier(tmp_path):
    random = np.random.default_rng(5)
    times = NOON + np.arange(3_000) * 1_000 + random.integers(-1_000_000, 1_000_000, 3_000)
    times[700] = NOON + 10**18  # three decades ahead
    times[1_800:1_810] -= 3_600 * NS_PER_S
    records = flow(times.astype("<u8"))
    records["ts_event"][40] = records["ts_event"][2_000] = UNDEF_TIMESTAMP
    path = write_file(tmp_path / "back.dbn", records)
    check_cuts(path, records, [1, 41, 600, 700, 701, 702, 1_000, 1_805, 1_811, 2_001, 2_002, 2_999, 3_000])


def test_times_that_only_run_back(tmp_path):
    records = flow((NOON - np.arange(2_500) * 1_000).astype("<u8"))
    check_cuts(write_file(tmp_path / "down.dbn", records), records, [1, 2, 1_500, 2_500])


def test_no_times_at_all(tmp_path):
    records = flow(np.full(500, UNDEF_TIMESTAMP))
    check_cuts(write_file(tmp_path / "none.dbn", records), records, [1, 2, 300, 500])


@pytest.mark.parametrize("ahead_s", [0.0, 0.3, -0.3, 5.0, -5.0], ids=str)
@pytest.mark.parametrize("outlier", [False, True], ids=["", "outlier"])
def test_one_of_several_instruments(tmp_path, ahead_s, outlier):
    """The gateway looks for the time among the records of all instruments, of which this client sees a third."""
    times = NOON + np.arange(6_000) * 700_000
    records = flow(times.astype("<u8"), instruments=(7, 8, 9))
    others = records["instrument_id"] != 7
    records["ts_event"][others] += np.uint64(int(ahead_s * NS_PER_S) % 2**64)
    if outlier:
        records["ts_event"][np.flatnonzero(others)[100]] = NOON + 10**18
    path = write_file(tmp_path / "three.dbn", records)
    own = records[~others]
    check_cuts(path, own, [1, 2, 500, 999, 1_000, 1_001, 1_500, len(own)], symbols=["S7"])


def test_cut_again_in_the_middle_of_the_overlap(tmp_path):
    records = flow((NOON + np.arange(5_000) // 7).astype("<u8"))
    path = write_file(tmp_path / "again.dbn", records)
    again = [Fault(cut=BEGIN + RECORD * place + 11) for place in (1, 10, 500, 900, 999, 3)]
    with disturbed(path, Fault(cut=BEGIN + 3_000 * RECORD + 7), *again) as run:
        run.check(records, faults=7)


def test_client_that_asks_for_a_start(tmp_path):
    records = flow((NOON + np.arange(4_000) // 5).astype("<u8"))
    path = write_file(tmp_path / "start.dbn", records)
    wanted = records[records["ts_event"] >= NOON + 300]
    check_cuts(path, wanted, [1, 2, 5, 6, 1_100, len(wanted)], start=int(NOON + 300))


# -------------------------------------------------------------------- joined in the middle


@pytest.mark.parametrize("same", [1, 40, 5_000], ids=["times apart", "times in runs", "one time"])
@pytest.mark.parametrize("back", [0, 20_000], ids=["in order", "disordered"])
def test_joined_with_a_snapshot_and_cut_later(tmp_path, same, back):
    """The first record of such a client has a time that many before it had too."""
    random = np.random.default_rng(2)
    times = NOON + np.arange(4_000) // same * 1_000 + (random.integers(-back, back, 4_000) if back else 0)
    records = flow(times.astype("<u8"), instruments=(7, 8))
    path = write_file(tmp_path / "joined.dbn", records)
    for join in (1, 950, 2_017, 3_000):
        for place in (1, 2, 30, 300, 900):
            check_joined(path, records, join, place)


def check_joined(path: Path, records: RecordArray, join: int, place: int) -> None:
    """Join at one record and lose the connection behind so many more: the rest comes, exactly, or there is a counted gap."""
    parts: list[bytes] = []
    with Gateway(mbo.read_dbn(path), rate=1e9, hold=True) as gateway, Proxy(gateway.url) as proxy:
        gateway.seek(join)
        instruments = len(np.unique(records["instrument_id"][:join]))
        begin = HEADER + ACK + 2 * MAPPING + (instruments + join) * RECORD
        proxy.script.append(Fault(cut=begin + place * RECORD))
        with Feed(proxy.url, snapshot=True, tap=lambda batch: parts.append(batch.tobytes())) as feed:
            gateway.begin()
            status = feed.wait(LIMIT_S).status
            assert status.connections == 2
            assert status.gaps == 0
            assert digests(feed.books()) == rebuilt(records)
    applied = np.frombuffer(b"".join(parts), MBO_DTYPE)
    snapshot = int((applied["flags"] & int(Flag.SNAPSHOT) == 0).argmax())
    assert snapshot == instruments + join
    assert applied[snapshot:].tobytes() == records[join:].tobytes()


def test_cut_while_the_snapshot_is_sent(tmp_path):
    records = flow((NOON + np.arange(4_000)).astype("<u8"), instruments=(7, 8))
    path = write_file(tmp_path / "joined.dbn", records)
    with Gateway(mbo.read_dbn(path), rate=1e9, hold=True) as gateway, Proxy(gateway.url) as proxy:
        gateway.seek(2_000)
        begin = HEADER + ACK + 2 * MAPPING
        proxy.script += [Fault(cut=begin + 1_000 * RECORD + 5), Fault(cut=begin + 1_999 * RECORD, reset=True)]
        with Feed(proxy.url, snapshot=True) as feed:
            until(lambda: feed.status.connections == 3 and feed.status.connected, "the third snapshot")
            gateway.begin()
            status = feed.wait(LIMIT_S).status
            assert (status.connections, status.gaps) == (3, 0)
            assert digests(feed.books()) == rebuilt(records)


def test_joined_a_simulated_session_at_its_own_pace(tmp_path):
    records = simulate(60_000, seed=4, instruments=3, resting=60).records
    path = write_file(tmp_path / "paced.dbn", records)
    with (
        Gateway(mbo.read_dbn(path), rate=60_000) as gateway,
        Proxy(gateway.url) as proxy,
        Feed(gateway.url) as first,
        Feed(proxy.url, snapshot=True) as second,
    ):
        for number in (1, 2, 3):
            until(lambda least=number * 12_000: second.status.applied > least, "some more records")
            proxy.cut_all()
            until(lambda number=number: second.status.connections == 1 + number, "the next connection")
        assert first.wait(LIMIT_S).status.gaps == 0
        status = second.wait(LIMIT_S).status
        assert (status.connections, status.gaps) == (4, 0)
        assert digests(first.books()) == digests(second.books()) == rebuilt(records)
