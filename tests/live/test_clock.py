"""When records are due: exactly, without drift, whatever is done to the clock meanwhile."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mbo.errors import RequestError
from mbo.live.clock import FOREVER, Clock
from mbo.live.source import Source
from mbo.units import NS_PER_S, UNDEF_TIMESTAMP
from tests.builders import NOON, stream
from tests.live.wire import day_of

T0 = 1_000_000_007_000_000_123  # of a monotonic clock
RATES = st.sampled_from([1, 3, 0.1, 7.3, 1e6 / 3, 500_000, 5e6, 1e9, 3e9]) | st.floats(1e-3, 1e10)
SPEEDS = st.sampled_from([1, 2, 0.5, 0.1, 1 / 3, 1000, 1e-3])


@pytest.fixture(scope="module")
def endless(tmp_path_factory) -> Source:
    return Source(day_of(tmp_path_factory.mktemp("day"), stream(10)), loop=True)


def source_of(folder, *offsets: int | None) -> Source:
    """A file whose records have these times after NOON, or none."""
    records = stream(len(offsets))
    records["ts_recv"] = [UNDEF_TIMESTAMP if offset is None else NOON + offset for offset in offsets]
    return Source(day_of(folder, records))


def started(source: Source, **pace) -> Clock:
    clock = Clock(source, **pace)
    clock.start(T0)
    return clock


def agree(clock: Clock, numbers) -> None:
    """`due(k)` is the first instant at which more than k records have happened."""
    for number in numbers:
        due = clock.due(number)
        assert clock.present(due) > number, number
        assert clock.present(due - 1) <= number, number


# ---------------------------------------------------------------- a rate


@given(RATES, st.lists(st.integers(0, 10**10), min_size=1, max_size=5), st.integers(0, 2**62))
@example(500_000, [10**10, 10**10 - 1], T0)
def test_rate_is_exact_and_does_not_drift(endless, rate, numbers, t0):
    clock = Clock(endless, rate=rate)
    clock.start(t0)
    for number in numbers:
        assert clock.due(number) == t0 + ceil(Fraction(number * NS_PER_S) / Fraction(rate))
    agree(clock, numbers)


def test_rate(tmp_path):
    clock = started(source_of(tmp_path, *range(10)), rate=2)
    half = NS_PER_S // 2
    assert [clock.present(T0 + at) for at in (-1, 0, half - 1, half, 4 * half, 9 * half, 10**15)] == [
        0,
        1,
        1,
        2,
        5,
        10,
        10,
    ]
    assert [clock.due(k) for k in (0, 1, 9, 10, 11)] == [T0, T0 + half, T0 + 9 * half, FOREVER, FOREVER]
    assert clock.started_ns == T0
    assert clock.paced


def test_started_says_when_record_0_was_due(endless):
    clock = started(endless, rate=1000)
    clock.seek(500, T0 + 10**9)
    assert clock.due(500) == T0 + 10**9
    assert clock.started_ns == T0 + 10**9 - 500 * 10**6
    clock.pause(T0 + 10**9)
    assert clock.started_ns is None
    assert Clock(endless, rate=1000).started_ns is None
    assert started(endless, speed=1).started_ns is None


# ---------------------------------------------------------------- a speed


@given(st.lists(st.none() | st.integers(0, 1000), min_size=1, max_size=12), SPEEDS)
@example([0, 0, 0, 5, 5], 1)
@example([0, 900, 3, None, 950, 1], 0.1)
def test_speed_against_the_times_themselves(tmp_path, offsets, speed):
    source = source_of(tmp_path, 0, *offsets)
    clock, latest = started(source, speed=speed), 0
    for number, offset in enumerate((0, *offsets)):
        latest = max(latest, offset or 0)
        assert clock.due(number) == T0 + ceil(Fraction(latest) / Fraction(speed))
    agree(clock, range(len(source.records)))
    assert clock.due(len(source.records)) == FOREVER


def test_speed_in_a_loop_goes_on_turn_after_turn(tmp_path):
    records = stream(3)
    records["ts_recv"] = [NOON, NOON + 100, NOON + 50]
    source = Source(day_of(tmp_path, records), loop=True)
    clock = started(source, speed=2)
    agree(clock, range(14))
    assert clock.due(4 * 1000) == T0 + 1000 * source.shift.time_ns // 2


# ---------------------------------------------------------------- beginning


@pytest.mark.parametrize("pace", [{"rate": 1e9}, {"speed": 1}, {}], ids=["rate", "speed", "unpaced"])
def test_hold(tmp_path, pace):
    clock = Clock(source_of(tmp_path, *range(10)), hold=True, **pace)
    clock.start(T0)
    assert clock.present(T0 + 100) == 0, "a session does not start it"
    assert clock.join(T0 + 100) == 0
    clock.begin(T0 + 1000)
    assert [clock.present(T0 + at) for at in (0, 999)] == [0, 0], "nothing before the instant it begins at"
    assert [clock.present(T0 + at) for at in (1000, 1004, 1009)] == ([1, 5, 10] if pace else [10] * 3)
    clock.begin(T0 + 5000)
    assert clock.present(T0 + 1004) == (5 if pace else 10), "it has begun already"


def test_begin_without_hold(endless):
    clock = Clock(endless, rate=1e9)
    clock.begin(T0)
    assert clock.present(T0 + 4) == 5


def test_begin_says_where_whatever_a_session_starts_at(endless):
    clock = Clock(endless, rate=1e9, hold=True)
    clock.start(T0, at=700)
    clock.begin(T0)
    assert clock.present(T0) == 1


def test_stands_still_until_it_starts(endless):
    clock = Clock(endless, rate=1e9)
    assert clock.present(T0) == 0
    assert clock.due(0) == FOREVER
    assert not clock.paused
    clock.start(T0, at=7)
    clock.start(T0 + 50, at=3)
    assert clock.present(T0 + 2) == 10, "the first session says where it starts"


@pytest.mark.parametrize("pace", [{"rate": 1e9}, {"speed": 1}], ids=["rate", "speed"])
def test_who_joins_gets_what_is_due_from_then_on(tmp_path, pace):
    clock = started(source_of(tmp_path, *range(10)), **pace)
    assert clock.join(T0) == 0, "the first session misses nothing"
    assert clock.join(T0 + 3) == 3
    assert clock.present(T0 + 3) == 4


def test_unpaced_everything_has_happened(tmp_path, endless):
    clock = started(source_of(tmp_path, *range(10)))
    assert (clock.paced, clock.present(T0), clock.due(9), clock.join(T0 + 5), clock.started_ns) == (
        False,
        10,
        0,
        0,
        None,
    )
    assert started(endless).present(T0) == FOREVER
    clock.seek(4, T0)
    assert (clock.present(T0), clock.join(T0)) == (10, 4)
    clock.pause(T0)
    assert (clock.paused, clock.present(T0 + 99)) == (True, 4), "nobody goes further than the beginning"
    clock.resume(T0 + 100)
    assert clock.present(T0 + 100) == 10


# ---------------------------------------------------------------- later


@pytest.mark.parametrize("pace", [{"rate": 1e9}, {"speed": 1}], ids=["rate", "speed"])
def test_pause_and_resume(tmp_path, pace):
    clock = started(source_of(tmp_path, *range(100)), **pace)
    clock.pause(T0 + 9)
    clock.pause(T0 + 20)
    assert clock.paused
    assert [clock.present(T0 + at) for at in (9, 50, 10**9)] == [10] * 3
    assert clock.due(10) == FOREVER
    clock.resume(T0 + 1000)
    clock.resume(T0 + 1050)
    assert not clock.paused
    assert clock.present(T0 + 1020) in (30, 31)  # the next one was due then, or a moment later
    agree(clock, range(10, 100))


def test_pause_before_the_start(endless):
    clock = Clock(endless, rate=1e9)
    clock.pause(T0)
    clock.start(T0 + 1)
    assert clock.present(T0 + 100) == 0, "a session does not end a pause"
    clock.resume(T0 + 200)
    assert clock.present(T0 + 200) == 1
    held = Clock(endless, rate=1e9, hold=True)
    held.pause(T0)
    held.begin(T0 + 5)
    assert held.present(T0 + 5) == 1


def test_resume_does_not_start(endless):
    clock = Clock(endless, rate=1e9)
    clock.resume(T0)
    assert clock.present(T0 + 100) == 0


@pytest.mark.parametrize("pace", [{"rate": 1e9}, {"speed": 1}], ids=["rate", "speed"])
@pytest.mark.parametrize("state", ["running", "paused", "not started"])
def test_seek(tmp_path, pace, state):
    clock = Clock(source_of(tmp_path, *range(100)), **pace)
    if state != "not started":
        clock.start(T0)
    if state == "paused":
        clock.pause(T0 + 3)
    for number in (50, 20):
        clock.seek(number, T0 + 10)
        assert clock.join(T0 + 10) == number
        if state != "running":
            assert clock.present(T0 + 30) == number
    clock.resume(T0 + 10)
    clock.start(T0 + 10)
    assert [clock.present(T0 + 10 + after) for after in (0, 5, 200)] == [21, 26, 100]
    clock.seek(100, T0 + 500)
    assert clock.present(T0 + 500) == 100
    assert clock.due(100) == FOREVER


def test_set_pace(tmp_path):
    clock = started(source_of(tmp_path, *range(0, 1000, 10)), rate=1e9)
    clock.set_pace(T0 + 19, speed=1)
    assert clock.present(T0 + 19) == 21
    assert clock.present(T0 + 19 + 95) == 30
    clock.set_pace(T0 + 19 + 95, speed=2)
    assert [clock.due(k) - T0 - 19 for k in (30, 31)] == [98, 103], "half of what was left till the next, then of ten"
    agree(clock, range(30, 100))
    clock.set_pace(T0 + 200, rate=1)
    assert clock.present(T0 + 201) == clock.present(T0 + 200)
    clock.set_pace(T0 + 300)
    assert not clock.paced
    assert clock.present(T0 + 300) == 100


def test_set_pace_where_there_was_none(endless):
    clock = started(endless)
    clock.set_pace(T0, rate=1e9, at=1234)
    assert clock.present(T0) == 1235
    clock.set_pace(T0 + 1, rate=1e6, at=7)
    assert clock.present(T0 + 1) == 1237, "it has a present of its own"


def test_set_pace_while_it_stands_still(endless):
    clock = started(endless, rate=1e9)
    clock.pause(T0 + 9)
    clock.set_pace(T0 + 20, rate=1e6)
    assert clock.present(T0 + 10**9) == 10
    held = Clock(endless, rate=1e9, hold=True)
    held.begin(T0 + 1000)
    held.set_pace(T0, rate=1e8)
    assert [held.present(T0 + at) for at in (500, 999, 1000, 1010)] == [0, 0, 1, 2]


@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan")], ids=str)
@pytest.mark.parametrize("name", ["rate", "speed"])
def test_no_such_pace(endless, name, value):
    with pytest.raises(RequestError, match=rf"{name}=.*: it has to be more than 0"):
        Clock(endless, **{name: value})
    clock = started(endless, rate=1e9)
    with pytest.raises(RequestError, match=f"{name}="):
        clock.set_pace(T0 + 5, **{name: value})
    assert clock.present(T0 + 9) == 10, "it goes on as it was"


def test_not_two_paces(endless):
    with pytest.raises(RequestError, match="a rate or a speed, not both"):
        Clock(endless, rate=1, speed=1)


STEPS = st.one_of(
    st.tuples(st.just("wait"), st.integers(1, 60)),
    st.tuples(st.sampled_from(["pause", "resume"]), st.just(0)),
    st.tuples(st.just("seek"), st.integers(0, 40)),
    st.tuples(st.sampled_from(["rate", "speed"]), st.sampled_from([1, 2, 0.5, 1 / 3])),
)


@given(st.lists(st.none() | st.integers(0, 60), min_size=40, max_size=40), st.lists(STEPS, max_size=20))
def test_whatever_is_done_present_and_due_agree(tmp_path, offsets, steps):
    clock, now = started(source_of(tmp_path, *offsets), speed=1), T0
    before = clock.present(now)
    for what, value in steps:
        if what == "wait":
            now += value
        elif what == "seek":
            clock.seek(value, now)
            before = value
        elif what == "rate":
            clock.set_pace(now, rate=value * 1e9)
        elif what == "speed":
            clock.set_pace(now, speed=value)
        else:
            getattr(clock, what)(now)
        present = clock.present(now)
        assert present >= before, "time does not run backwards"
        assert present >= clock.join(now)
        if clock.paused:
            assert clock.present(now + 10**6) == present
        else:
            agree(clock, range(present, 40))
        before = present
