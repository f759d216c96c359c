"""A connection that ends at any byte: in the header, the gateway's own records, a record, an event, a snapshot."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from mbo.errors import LostError
from mbo.records import Flag, RecordArray
from mbo.simulator import Feature, simulate
from tests.resilience.harness import ACK, HEADER, MAPPING, RECORD, disturbed, write_file
from tests.resilience.proxy import Fault

pytestmark = pytest.mark.resilience


@pytest.fixture(scope="module")
def tape() -> RecordArray:
    return simulate(300, seed=3, instruments=2, resting=12).records


@pytest.fixture
def path(tape: RecordArray, tmp_path: Path) -> Path:
    return write_file(tmp_path / "tape.dbn", tape)


def begin_of_records() -> int:
    return HEADER + ACK + 2 * MAPPING


@pytest.mark.parametrize("reset", [False, True], ids=["end", "reset"])
def test_first_connection_cut_at_every_byte_of_its_beginning(tape, path, reset, caplog):
    for place in range(HEADER, 1_500, 1 if not reset else 7):
        caplog.clear()
        with disturbed(path, Fault(cut=place, reset=reset)) as run:
            run.check(tape, faults=1)
        assert "the connection is lost" in caplog.text


def test_first_connection_cut_within_the_header_is_an_error(path):
    for place in range(0, HEADER, 5):
        with pytest.raises(LostError, match=r"closed the connection"), disturbed(path, Fault(cut=place)):
            pass


def test_first_connection_cut_within_the_handshake_is_an_error(path):
    for place in range(0, 75, 3):
        with pytest.raises(LostError, match="before it let us in"), disturbed(path, Fault(cut=place, absolute=True)):
            pass


def test_every_later_connection_cut_one_byte_further_on(tape, path):
    """One feed that is cut off again and again: first within the handshake, then ever further on."""
    script = [Fault(cut=begin_of_records() + 100 * RECORD + 13)]
    script += [Fault(cut=place, absolute=True) for place in range(0, 76, 5)]
    script += [Fault(cut=place) for place in range(0, 1_500, 3)]
    with disturbed(path, *script) as run:
        run.check(tape, faults=len(script))


def test_cut_at_every_byte_of_records_in_the_middle(tape, path):
    for record in (0, 1, 77, 150, 298, 299):
        begin = begin_of_records() + record * RECORD
        for place in range(begin, begin + RECORD + 1):
            with disturbed(path, Fault(cut=place)) as run:
                run.check(tape, faults=1)


def test_one_feed_cut_at_every_record(tape, path):
    script = [Fault(cut=begin_of_records() + number * RECORD + 1, reset=number % 2 == 0) for number in range(len(tape))]
    with disturbed(path, *script) as run:
        run.check(tape)
        assert run.feed.status.connections > 100
        assert run.feed.status.dropped > 1_000


def test_cut_by_a_reset_within_event_and_snapshot(tmp_path, caplog):
    records = simulate(3_000, seed=23, instruments=3, resting=30, features=Feature.ALL).records
    path = write_file(tmp_path / "all.dbn", records)
    flags = records["flags"]
    inside = np.flatnonzero(flags & int(Flag.LAST) == 0)
    snapshots = np.flatnonzero((flags & int(Flag.SNAPSHOT) != 0) & (flags & int(Flag.LAST) == 0))
    assert snapshots[-1] > 1_000, "a snapshot in between"
    places = [*inside[:: max(1, len(inside) // 20)], *snapshots[:: max(1, len(snapshots) // 20)], snapshots[-1]]
    header = HEADER + ACK + 3 * MAPPING
    for place in places:
        for within in (0, 23):
            fault = Fault(cut=header + (int(place) + 1) * RECORD + within, reset=True)
            with disturbed(path, fault) as run:
                run.check(records, faults=1)
    losses = [record for record in caplog.records if "the connection is lost" in record.message]
    assert len(losses) == 2 * len(places)
    assert all(loss.levelno == logging.WARNING for loss in losses)


@pytest.mark.parametrize("piece", [1, 7, 55, 57, 1000])
def test_split_into_pieces(tape, path, piece):
    with disturbed(path, Fault(piece=piece)) as run:
        run.check(tape, faults=0)


def test_latency_and_jitter(tape, path):
    with disturbed(path, Fault(piece=997, latency_s=0.001, jitter_s=0.004)) as run:
        run.check(tape, faults=0)


@pytest.mark.parametrize("ts_out", [False, True], ids=["bare", "ts_out"])
@pytest.mark.parametrize("compression", ["none", "zstd"])
@pytest.mark.parametrize("version", [1, 2, 3])
def test_cut_in_every_variant_of_the_stream(tape, path, ts_out, compression, version):
    script = [Fault(cut=place, reset=place % 2 == 0) for place in (3_000, 5_000, 9_999, 12_345)]
    options = {"ts_out": ts_out, "compression": compression}
    with disturbed(path, *script, serve={"dbn_version": version}, **options) as run:
        status = run.feed.wait(30).status
        run.check(tape, faults=status.connections - 1)
        assert status.connections >= 3  # compressed, the whole session is shorter than the last places
