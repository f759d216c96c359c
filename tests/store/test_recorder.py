"""A live stream is recorded exactly: whole, in two runs, over a death at any moment, into a store that is slow or gone."""

from __future__ import annotations

import random
import subprocess
import sys
import time

import numpy as np
import pytest

import mbo
from mbo.errors import LostError, RequestError
from mbo.recorder import Recorder, session_name
from mbo.records import Flag
from mbo.store import Store, ledger
from tests.resilience.harness import LIMIT_S, digests, rebuilt, until, write_file
from tests.store.conftest import ROOT, several_days, unique_dataset

RECORD = """
import sys
import mbo
url, where, session = sys.argv[1:]
with mbo.Store(where) as store, mbo.record(url, store, session=session, start=0, flush_rows=500, flush_s=0.02) as recorder:
    print(recorder.status.stored, flush=True)
    recorder.feed.wait(60)
    recorder.close()
    print(recorder.status.stored, flush=True)
"""


def simulated(count: int, seed: int):
    return mbo.simulate(count, seed=seed, instruments=3, resting=40).records


def a_session() -> str:
    return f"rec-{unique_dataset()}"


@pytest.fixture
def day(tmp_path):
    records = simulated(20_000, 61)
    return records, mbo.read_dbn(write_file(tmp_path / "day.dbn", records))


def test_what_is_recorded_is_what_was_sent(store, day):
    records, file = day
    session = a_session()
    with mbo.serve_gateway(file) as gateway, mbo.record(gateway.url, store, session=session, start=0) as recorder:
        recorder.feed.wait(LIMIT_S)
        recorder.close()
        status = recorder.status
    assert (status.stored, status.waiting, status.failures, status.trouble) == (len(records), 0, 0, None)
    assert store.records(file=session).load().tobytes() == records.tobytes()
    entry = next(entry for entry in store.files() if entry.name == session)
    assert (entry.rows, entry.dataset, entry.state) == (len(records), file.dataset, "recording")
    for symbol in file.symbols:
        assert store.book(symbol, file=session).digest() == file.book(symbol).digest()


def test_a_few_rows_do_not_wait_for_more(store, day):
    _, file = day
    with (
        mbo.serve_gateway(file, rate=2_000) as gateway,
        mbo.record(gateway.url, store, session=a_session(), start=0, flush_s=0.05) as recorder,
    ):
        until(lambda: recorder.status.flushes >= 3, "three flushes by time")
        assert 0 < recorder.status.stored < 10_000


@pytest.mark.parametrize("stops", [1, 3])
def test_a_second_run_goes_on_behind_the_first(store, day, stops):
    records, file = day
    session, seen = a_session(), 0
    for _ in range(stops):
        with (
            mbo.serve_gateway(file, rate=1_500) as gateway,
            mbo.record(gateway.url, store, session=session, start=0, flush_s=0.02) as recorder,
        ):
            until(lambda: recorder.status.stored > seen + 500, "more rows")  # noqa: B023 - it ends with the turn
            assert recorder.feed.status.gaps == 0
        seen = recorder.status.stored
        assert 0 < seen < len(records)
        assert store.recorded(session) == seen
    with mbo.serve_gateway(file) as gateway, mbo.record(gateway.url, store, session=session, start=0) as recorder:
        recorder.feed.wait(LIMIT_S)
        assert recorder.feed.status.gaps == 0
        assert recorder.feed.status.applied == len(records) - seen
        assert digests(recorder.feed.books()) == rebuilt(records)
    assert store.records(file=session).load().tobytes() == records.tobytes()


def test_a_run_too_many_adds_nothing(store, day):
    records, file = day
    session = a_session()
    for _ in range(2):
        with mbo.serve_gateway(file) as gateway, mbo.record(gateway.url, store, session=session, start=0) as recorder:
            recorder.feed.wait(LIMIT_S)
    assert recorder.status.flushes == 0
    assert store.records(file=session).load().tobytes() == records.tobytes()


def test_other_data_is_a_gap_and_a_snapshot(store, day, tmp_path):
    records, file = day
    session = a_session()
    with mbo.serve_gateway(file) as gateway, mbo.record(gateway.url, store, session=session, start=0) as recorder:
        recorder.feed.wait(LIMIT_S)
    others = simulated(6_000, 62)
    other = mbo.read_dbn(write_file(tmp_path / "other.dbn", others))
    with (
        mbo.serve_gateway(other, rate=3_000) as gateway,
        mbo.record(gateway.url, store, session=session, start=0, flush_s=0.05) as recorder,
    ):
        until(lambda: recorder.feed.status.gaps == 1 and not recorder.feed.stale, "a gap and its snapshot")
        recorder.feed.wait(LIMIT_S)
        assert digests(recorder.feed.books()) == rebuilt(others)
    stored = store.records(file=session).load()
    assert stored[: len(records)].tobytes() == records.tobytes()
    assert stored[len(records)]["flags"] & Flag.SNAPSHOT
    assert rebuilt(stored) == rebuilt(others)


def test_a_recording_that_ends_with_a_snapshot_begins_with_another(store, day, caplog):
    _, file = day
    session = a_session()
    snapshot = file.book(file.symbols[0]).snapshot()
    assert store.append(snapshot, session=session, dataset=file.dataset) == len(snapshot)
    with (
        mbo.serve_gateway(file, rate=10_000) as gateway,
        mbo.record(gateway.url, store, session=session, flush_s=0.05) as recorder,
    ):
        until(lambda: not recorder.feed.stale and recorder.feed.status.applied, "the new snapshot")
        assert recorder.feed.status.first_gap.reason.startswith("what the earlier feed had ends with a snapshot")
    assert store.recorded(session) > len(snapshot)


class Sluggish:
    """A store whose `append` does something first."""

    def __init__(self, store: Store, before) -> None:
        self._store, self._before = store, before

    def __getattr__(self, name):
        return getattr(self._store, name)

    def append(self, records, **options):
        self._before(len(records))
        return self._store.append(records, **options)


def test_a_slow_store_holds_the_stream_up_and_loses_nothing(store, day):
    records, file = day
    session, most = a_session(), []

    def dawdle(count):
        most.append((recorder.status.waiting, count))
        time.sleep(0.05)

    options = {"session": session, "start": 0, "flush_rows": 1_000, "buffer_rows": 2_000}
    with mbo.serve_gateway(file) as gateway:
        recorder = Recorder(gateway.url, Sluggish(store, dawdle), **options)
        with recorder.start():
            recorder.feed.wait(LIMIT_S)
    assert recorder.status.waits > 0
    assert recorder.status.waited_s > 0
    assert recorder.status.flush_s >= recorder.status.longest_flush_s >= 0.05
    batch = max(count for _, count in most)
    assert max(waiting for waiting, _ in most) <= max(2_000, batch)  # a batch that is larger alone is let in alone
    assert store.records(file=session).load().tobytes() == records.tobytes()


def test_a_store_that_is_gone_for_a_while_gets_all_of_it(store, day, monkeypatch):
    records, file = day
    monkeypatch.setattr("mbo.recorder._PAUSE_S", 0.02)
    session, failures, troubles = (
        a_session(),
        [LostError("no answer"), OSError(28, "no room"), LostError("no answer")],
        [],
    )

    def fail(count):
        troubles.append(recorder.status.trouble)
        if failures:
            raise failures.pop()

    with mbo.serve_gateway(file) as gateway:
        recorder = Recorder(gateway.url, Sluggish(store, fail), session=session, start=0)
        with recorder.start():
            recorder.feed.wait(LIMIT_S)
    assert recorder.status.failures == 3
    assert troubles[:4] == [None, "no answer", "[Errno 28] no room", "no answer"]
    assert recorder.status.trouble is None
    assert store.records(file=session).load().tobytes() == records.tobytes()


def test_a_store_that_stays_away_ends_the_recording(store, day, monkeypatch):
    records, file = day
    monkeypatch.setattr("mbo.recorder._PAUSE_S", 0.02)
    session = a_session()

    def fail(count):
        raise LostError("no answer")

    with mbo.serve_gateway(file, rate=20_000) as gateway:
        options = {"session": session, "start": 0, "patience_s": 0.2, "flush_s": 0.02}
        recorder = Recorder(gateway.url, Sluggish(store, fail), **options).start()
        with pytest.raises(LostError, match="received and not stored: no answer"):
            recorder.feed.wait(LIMIT_S)
        with pytest.raises(LostError, match="received and not stored: no answer"):
            recorder.close()
    with mbo.serve_gateway(file) as gateway, mbo.record(gateway.url, store, session=session, start=0) as recorder:
        recorder.feed.wait(LIMIT_S)
    assert store.records(file=session).load().tobytes() == records.tobytes()


def test_closing_does_not_wait_for_a_stream_that_is_held_up(store, day):
    _, file = day
    begun = []

    def dawdle(count):
        begun.append(count)
        time.sleep(0.5)

    with mbo.serve_gateway(file) as gateway:
        options = {"session": a_session(), "start": 0, "flush_rows": 10, "buffer_rows": 20}
        recorder = Recorder(gateway.url, Sluggish(store, dawdle), **options).start()
        until(lambda: begun, "the first flush")
        recorder.close()
    assert len(begun) <= 2
    assert recorder.status.waiting == 0


def test_a_mistake_of_the_store_is_not_tried_again(store, day):
    _, file = day
    session = a_session()
    store.append(file.load()[:10], session=session, dataset="OTHER.SET")
    with mbo.serve_gateway(file) as gateway:
        recorder = mbo.record(gateway.url, store, session=session, start=0, flush_s=0.02)
        with pytest.raises(RequestError, match=r"is of OTHER\.SET"):
            recorder.wait(LIMIT_S)
        with pytest.raises(RequestError, match=r"is of OTHER\.SET"):
            recorder.close()
    assert recorder.status.failures == 0


def test_rows_without_a_ledger_are_taken_over(store, monkeypatch):
    records = several_days(3_000, 3, seed=63, instruments=2)
    session, dataset = a_session(), unique_dataset()
    store.append(records[:500], session=session, dataset=dataset)
    inserted = []
    insert = store._backend.insert

    def die(table, rows, token):
        if len(inserted) == 2:
            raise KeyboardInterrupt
        inserted.append(token)
        insert(table, rows, token)

    with monkeypatch.context() as patch:
        patch.setattr(store._backend, "insert", die)
        with pytest.raises(KeyboardInterrupt):
            store.append(records[500:2_500], session=session, dataset=dataset)
    there = store.recorded(session)
    assert 500 < there < 2_500
    assert store.records(file=session).load().tobytes() == records[:there].tobytes()
    assert store.append(records, session=session, dataset=dataset, row=0) == 3_000
    assert store.records(file=session).load().tobytes() == records.tobytes()


def test_two_who_record_one_session_are_told(store, monkeypatch):
    records, others = simulated(2_000, 64), simulated(2_000, 65)
    session, dataset = a_session(), unique_dataset()
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "write", lambda *_: None)
        store.append(records[:800], session=session, dataset=dataset)
    with pytest.raises(RequestError, match="somebody else records it"):
        store.append(others[:900], session=session, dataset=dataset, row=0)


def test_days_are_cut_where_they_change(store):
    records = several_days(600, 3, seed=66)
    records["ts_recv"][::7] = records["ts_recv"][::7][::-1]  # times that go back and forth over midnight
    session, dataset = a_session(), unique_dataset()
    assert store.append(records, session=session, dataset=dataset) == 600
    assert store.records(file=session).load().tobytes() == records.tobytes()


def test_the_session_is_named_after_the_gateway_and_the_day():
    name = session_name("tcp://127.0.0.1:13000")
    assert name.startswith("127.0.0.1:13000@20")
    assert len(name) == len("127.0.0.1:13000@2026-01-01")


@pytest.mark.resilience
def test_a_recorder_killed_at_random_moments_leaves_one_copy(tmp_path):
    """On a store that only the killed process had open."""
    records = simulated(60_000, 67)
    path = write_file(tmp_path / "day.dbn", records)
    url, chance, kills, counts = f"chdb://{tmp_path / 'store'}", random.Random(5), 0, [0]
    with mbo.serve_gateway(mbo.read_dbn(path), rate=8_000) as gateway:
        while kills < 10:
            with _recorder(gateway.url, url, "killed") as child:
                counts.append(int(child.stdout.readline()))
                time.sleep(chance.uniform(0.2, 0.8))
                child.kill()
            kills += 1
    with (
        mbo.serve_gateway(mbo.read_dbn(path)) as gateway,
        _recorder(gateway.url, url, "killed") as child,
    ):
        out, _ = child.communicate(timeout=60)
        assert child.returncode == 0
        assert int(out.split()[-1]) == len(records)
    assert counts == sorted(counts)
    assert len(set(counts)) > 3, counts  # it was killed in the middle, not only before and after
    check = "import sys, mbo; s = mbo.Store(sys.argv[1]); open(sys.argv[2], 'wb').write(s.records().load().tobytes())"
    subprocess.run([sys.executable, "-c", check, url, str(tmp_path / "out")], check=True, timeout=60, cwd=ROOT)
    assert np.fromfile(tmp_path / "out", np.uint8).tobytes() == records.tobytes()


def _recorder(gateway: str, store: str, session: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", RECORD, gateway, store, session]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    whole = [sys.executable, "-m", "mbo", *arguments]
    return subprocess.run(whole, capture_output=True, text=True, timeout=90, cwd=ROOT)


def test_mbo_live_records(tmp_path, day):
    records, file = day
    url = f"chdb://{tmp_path / 'store'}"
    with mbo.serve_gateway(file) as gateway:
        done = command("live", gateway.url, "--start", "0", "--until-end", "--store", url, "--session", "day")
    assert done.returncode == 0, done.stderr
    assert f"{len(records):,} rows in session day; 0 waiting" in done.stdout
    assert f"{len(records)}" in command("query", "SELECT count() AS n FROM mbo.messages", "--store", url).stdout


def test_a_session_without_a_store_is_refused():
    done = command("live", "tcp://127.0.0.1:1", "--session", "day")
    assert done.returncode != 0
    assert "say with --store where it goes" in done.stderr


def test_mbo_run_stores_what_it_streamed_once(tmp_path, day):
    records, file = day
    path = file.files[0].path
    for _ in range(2):
        done = command("run", str(path), "--out", str(tmp_path / "out"))
        assert done.returncode == 0, done.stderr
        assert f"store: {len(records):,} messages, " in done.stdout
    url = f"chdb://{tmp_path / 'out' / 'store'}"
    assert f"in {url}" in done.stdout
    count = "SELECT count() AS n, uniqExact(row_num) AS u FROM mbo.messages"
    assert command("query", count, "--store", url).stdout.count(f"{len(records)}") == 2
    shorter = write_file(tmp_path / "other.dbn", records[:-100])  # the same messages: it takes the place of the first
    assert command("run", str(shorter), "--out", str(tmp_path / "out")).returncode == 0
    names = command("query", "SELECT name FROM mbo.files", "--store", url).stdout
    assert "other.dbn" in names
    assert "day.dbn" not in names
