"""Going on after a cut: on streams of few times and few payloads, against what an oracle that sees everything says."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbo.live import resume
from mbo.live.resume import History, Overlap, Point
from mbo.live.stream import Arrival
from mbo.records import MBO_DTYPE, RecordArray
from mbo.units import UNDEF_TIMESTAMP

OWN, OTHER = 7, 8


def stream(rows: list[tuple[int, int, int]]) -> RecordArray:
    """Records of (ts_event, order id, instrument id)."""
    records = np.zeros(len(rows), MBO_DTYPE)
    for name, values in zip(("ts_event", "order_id", "instrument_id"), zip(*rows, strict=True), strict=False):
        records[name] = values
    return records


def own(records: RecordArray) -> RecordArray:
    return records[records["instrument_id"] == OWN]


def served(full: RecordArray, start: int) -> RecordArray:
    """What the gateway sends: everything from the first record, of whatever instrument, that reaches `start`."""
    times = np.where(full["ts_event"] == UNDEF_TIMESTAMP, np.uint64(0), full["ts_event"])
    reached = np.flatnonzero(times >= np.uint64(start))
    return own(full[reached[0] :]) if len(reached) else full[:0]


class Case(NamedTuple):
    full: RecordArray
    cut: int  # how many own records were applied
    sizes: list[int]  # of batches, over and over
    turns: list[bool]  # whether a batch begins a new buffer


@st.composite
def cases(draw: st.DrawFn, distinct: bool = False) -> Case:
    times = st.sampled_from([1, 2, 3, 4, 5, UNDEF_TIMESTAMP, 10**12, 3 * 10**9])
    rows = draw(
        st.lists(st.tuples(times, st.integers(1, 2), st.sampled_from([OWN, OWN, OTHER])), min_size=1, max_size=40)
    )
    if distinct:
        rows = [(time, 100 + number, instrument) for number, (time, _, instrument) in enumerate(rows)]
    full = stream(rows)
    cut = draw(st.integers(0, len(own(full))))
    sizes = draw(st.lists(st.integers(1, 9), min_size=1, max_size=6))
    return Case(full, cut, sizes, draw(st.lists(st.booleans(), min_size=1, max_size=6)))


def batches(records: RecordArray, sizes: list[int]) -> list[RecordArray]:
    found, begin = [], 0
    while begin < len(records):
        size = sizes[len(found) % len(sizes)]
        found.append(records[begin : begin + size])
        begin += size
    return found


def applied(case: Case, first: int = 0) -> History:
    history, buffer = History(), 0
    for number, batch in enumerate(batches(own(case.full)[first : case.cut], case.sizes)):
        buffer += case.turns[number % len(case.turns)]
        history.add(Arrival(batch, None, buffer))
    return history


def taken(overlap: Overlap, records: RecordArray, sizes: list[int]) -> RecordArray:
    new = [overlap.take(batch) for batch in batches(records, sizes)]
    return np.concatenate([records[:0], *new])


@given(cases(), st.integers(1, 12))
def test_rest_follows_exactly(case, back):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resume, "_BACK", back)
        history = applied(case)
        point = history.point()
        if not case.cut:
            assert point is None
            return
        assert point is not None
        history.reconnected()
        overlap = Overlap(history, point)
        new = taken(overlap, served(case.full, point.start), case.sizes[::-1])
        assert overlap.done
        assert not overlap.lost
        assert new.tobytes() == own(case.full)[case.cut :].tobytes()


@given(cases(), st.integers(1, 12))
def test_rest_follows_where_the_gateway_leaves_out_what_is_older(case, back):
    """As one does that filters single records by their time; what it leaves out of the rest nobody can know."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resume, "_BACK", back)
        history = applied(case)
        if (point := history.point()) is None:
            return
        if point.number < history.count - len(history.tail(0)):
            return  # of the records that are not kept nobody knows how many are older

        def younger(records: RecordArray) -> RecordArray:
            times = np.where(records["ts_event"] == UNDEF_TIMESTAMP, np.uint64(0), records["ts_event"])
            return records[times >= np.uint64(point.start)]

        overlap = Overlap(history, point)
        new = taken(overlap, younger(served(case.full, point.start)), case.sizes[::-1])
        rest = younger(own(case.full)[case.cut :])
        assert not overlap.lost
        assert new.tobytes() == rest.tobytes()
        assert overlap.done or not len(rest)


@given(cases(distinct=True), st.data())
def test_client_that_joined_goes_on_exactly_or_says_that_it_cannot(case, data):
    first = data.draw(st.integers(0, case.cut))
    history = applied(case, first)
    if (point := history.point()) is None:
        return
    history.reconnected()
    overlap = Overlap(history, point, joined=True)
    new = taken(overlap, served(case.full, point.start), case.sizes[::-1])
    assert overlap.done != overlap.lost
    if overlap.done:
        assert new.tobytes() == own(case.full)[case.cut :].tobytes()


@pytest.mark.parametrize("joined", [False, True], ids=["from its beginning", "joined"])
@given(data=st.data())
def test_other_data_is_noticed(joined, data):
    case = data.draw(cases(distinct=joined))  # equal records might be the same ones for all that who joined can know
    history = applied(case)
    if (point := history.point()) is None:
        return
    known = history.tail(0)
    first = max(point.number, history.count - len(known))
    changed = case.full.copy()
    places = np.flatnonzero(changed["instrument_id"] == OWN)[first : case.cut]
    place = data.draw(st.sampled_from(places.tolist()))
    changed["price"][place] += 1
    overlap = Overlap(history, point, joined=joined)
    new = taken(overlap, served(changed, point.start), case.sizes)
    assert not overlap.done
    assert not len(new)
    assert overlap.lost or (joined and overlap._joined)


def history_of(*times: int) -> History:
    history = History()
    history.add(Arrival(stream([(time, number, OWN) for number, time in enumerate(times)]), None, 0))
    return history


def test_point_is_so_many_records_back_but_within_a_second():
    fast = history_of(*range(5_000))
    assert fast.point() == Point(4_000, 4_000)
    slow = history_of(*range(0, 5_000 * 10**8, 10**8))
    assert slow.point() == Point(4_989 * 10**8, 4_989)


def test_point_is_never_where_time_stood_still_or_ran_back():
    assert history_of(5, 5, 5).point() == Point(5, 0)
    assert history_of(5, 9, 9, 7, 8).point() == Point(5, 0)
    assert history_of(UNDEF_TIMESTAMP, UNDEF_TIMESTAMP).point() == Point(0, 0)
    assert history_of(1, 10**15, 2, 3).point() == Point(10**15, 1)


def test_point_that_is_kept_goes_before_a_forgotten_one():
    history = History()
    for number in range(10):
        records = stream([(1_000 * number + row, row, OWN) for row in range(1_000)])
        history.add(Arrival(records, None, number))
    assert len(history.tail(0)) == 2_000
    assert history.point() == Point(9_000, 9_000)


def test_forgotten_records_are_passed_over_unseen():
    history = History()
    for number in range(6):
        history.add(Arrival(stream([(5, 10 * number + row, OWN) for row in range(10)]), None, number))
    point = history.point()
    assert point == Point(5, 0)
    overlap = Overlap(history, point)
    again = stream([(5, row, OWN) for row in range(70)])
    assert taken(overlap, again, [7]).tobytes() == again[60:].tobytes()


def test_memory_is_bounded_however_often_the_connection_is_lost(monkeypatch):
    monkeypatch.setattr(resume, "_MOST_KEPT", 100)
    history = History()
    for number in range(200):
        buffer = np.zeros(1 << 10, MBO_DTYPE)
        buffer["ts_event"][:30] = number
        history.add(Arrival(buffer[:30], None, 0))
        history.reconnected()
        assert len(history.tail(0)) == min(100, 30 * (number + 1))
        assert not np.shares_memory(history.tail(0), buffer)
        assert len(history._kept) == 1
    assert history.count == 6_000
    assert history.point() is not None


def test_last_applied_older_record_is_not_taken_for_new():
    """The outlier's time is the only one to ask for; what follows it is older, and comes again all the same."""
    history = history_of(1, 10**15, 2, 3)
    point = history.point()
    assert point is not None
    overlap = Overlap(history, point)
    again = stream([(10**15, 1, OWN), (2, 2, OWN), (3, 3, OWN), (4, 4, OWN)])
    for row in range(3):
        assert not len(overlap.take(again[row : row + 1]))
    assert overlap.done
    assert overlap.take(again[3:]).tobytes() == again[3:].tobytes()


@settings(max_examples=30)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 5))
def test_multiplicity_of_equal_records_is_kept(before, run, after):
    full = stream([(1, 1, OWN)] * before + [(2, 2, OWN)] * run + [(3, 3, OWN)] * after)
    for cut in range(1, len(full) + 1):
        history = History()
        history.add(Arrival(full[:cut], None, 0))
        point = history.point()
        assert point is not None
        for joined in (False, True):
            overlap = Overlap(history, point, joined=joined)
            assert taken(overlap, served(full, point.start), [2]).tobytes() == full[cut:].tobytes()
            assert overlap.done


def test_small_batches_and_then_large_ones_are_forgotten_while_they_can_be_read(monkeypatch):
    """Many batches of one buffer cannot all be forgotten during the few of the next; their memory must still be theirs."""
    from mbo.live import stream as module
    from mbo.live.messages import session_metadata
    from mbo.records import MBO_DTYPE

    monkeypatch.setattr(module, "BUFFER_BYTES", 16_384)
    monkeypatch.setattr(module, "_LEAST_ROOM", 1_024)
    records = np.zeros(3_000, MBO_DTYPE)
    records["length"], records["rtype"] = 14, 0xA0
    records["ts_event"] = np.arange(1, 3_001)
    stream, history = module.Stream(), History()
    list(stream.feed(session_metadata("GLBX.MDP3", 0, ts_out=False)))
    cuts = [*range(0, 600, 1), *range(600, 3_001, 300)]
    for begin, end in pairwise(cuts):
        for arrival in stream.feed(records[begin:end].tobytes()):
            history.add(arrival)
            first = history.count - len(history.tail(0))
            assert history.tail(0).tobytes() == records[first : history.count].tobytes()
            assert history._peak == (first, max(0, first - 1)), "the last of those forgotten is the latest"
