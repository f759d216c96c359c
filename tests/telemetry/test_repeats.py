"""Repeated lines are held back, counted, and the count is written whatever happens next."""

from __future__ import annotations

import logging
import time

import pytest

from mbo.telemetry.repeats import Repeats


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def written():
    return []


@pytest.fixture
def repeats(clock, written):
    repeats = Repeats(written.append, most=2, interval_s=3600, clock=clock)
    yield repeats
    repeats.close()


def line(message: object, *values: object, name: str = "mbo.a", level: int = logging.WARNING) -> logging.LogRecord:
    return logging.LogRecord(name, level, __file__, 1, message, values, None)


def test_the_first_lines_of_an_event_pass_and_the_rest_is_counted(repeats, clock, written):
    assert [repeats.filter(line("gone for %d s", n)) for n in range(5)] == [True, True, False, False, False]
    assert written == []
    clock.now = 3600.0
    repeats.flush()
    assert [(record.getMessage(), record.suppressed) for record in written] == [("gone for 4 s", 2)]


@pytest.mark.parametrize(
    "other",
    [line("b"), line("a", name="mbo.b"), line("a", level=logging.ERROR), line({"event": "c"})],
    ids=["words", "logger", "level", "structlog"],
)
def test_other_events_are_counted_by_themselves(other, repeats):
    for _ in range(5):
        repeats.filter(line("a"))
    assert repeats.filter(other)


def test_events_of_structlog_are_told_apart_by_their_words(repeats):
    passed = [repeats.filter(line({"event": event, "n": n})) for n in range(3) for event in ("a", "b")]
    assert passed == [True, True, True, True, False, False]


def test_after_the_interval_the_next_line_passes_behind_the_count(repeats, clock, written):
    for n in range(4):
        repeats.filter(line("n %d", n))
    clock.now = 3599.9
    assert not repeats.filter(line("n %d", 4))
    clock.now = 3600.0
    assert repeats.filter(line("n %d", 5))
    assert [(record.getMessage(), record.suppressed) for record in written] == [("n 4", 2)]
    assert repeats.filter(line("n %d", 6))
    assert not repeats.filter(line("n %d", 7))


def test_a_line_that_was_held_back_alone_is_written_without_a_count(repeats, clock, written):
    for n in range(3):
        repeats.filter(line("n %d", n))
    clock.now = 3600.0
    repeats.flush()
    assert [(record.getMessage(), record.suppressed) for record in written] == [("n 2", 0)]


def test_at_the_end_what_was_held_back_is_written_and_nothing_is_held_back_any_more(repeats, written):
    for _ in range(5):
        repeats.filter(line("a"))
    repeats.close()
    assert [record.suppressed for record in written] == [2]
    assert all(repeats.filter(line("a")) for _ in range(5))
    repeats.flush(everything=True)
    assert len(written) == 1


def test_a_flush_before_the_interval_is_over_writes_nothing(repeats, clock, written):
    for _ in range(5):
        repeats.filter(line("a"))
    clock.now = 3599.0
    repeats.flush()
    assert written == []


def test_many_events_forget_the_first_and_write_its_count(repeats, written):
    for _ in range(4):
        repeats.filter(line("first"))
    for n in range(5_000):
        repeats.filter(line(f"event {n}"))
    assert [(record.getMessage(), record.suppressed) for record in written] == [("first", 1)]
    assert len(repeats._events) == 1_000


def test_the_count_is_written_even_if_nothing_is_logged_any_more(written):
    repeats = Repeats(written.append, most=1, interval_s=0.05)
    for _ in range(3):
        repeats.filter(line("a"))
    deadline = time.monotonic() + 30
    while not written and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [record.suppressed for record in written] == [1]
    repeats.close()
    assert len(written) == 1


def test_every_line_is_either_written_or_counted(clock, written):
    repeats = Repeats(written.append, most=3, interval_s=10, clock=clock)
    passed = 0
    for n in range(1_000):
        clock.now += (n * 7919 % 13) / 4
        passed += repeats.filter(line("ab"[n % 3 == 0]))
    repeats.close()
    assert passed + sum(1 + record.suppressed for record in written) == 1_000
    assert written
