"""What is made ahead comes in order, ends, fails in its place, and stops when nobody wants more."""

from __future__ import annotations

import threading
import time
from itertools import count

import pytest

from mbo.ahead import ahead


def test_items_come_in_order_and_end():
    assert list(ahead(range(1000))) == list(range(1000))
    assert list(ahead([])) == []


def test_one_is_made_while_another_is_used():
    made = threading.Event()

    def items():
        yield 1
        made.set()
        yield 2

    stream = ahead(items())
    assert next(stream) == 1
    assert made.wait(10), "the second was not begun before it was asked for"
    assert list(stream) == [2]


def test_no_more_than_depth_are_made_before_they_are_asked_for():
    made = []

    def items():
        for number in count():
            made.append(number)
            yield number

    stream = ahead(items(), depth=2)
    assert next(stream) == 0
    time.sleep(0.05)
    assert len(made) == 3  # the one that is used, and two more
    stream.close()
    there = len(made)
    time.sleep(0.05)
    assert len(made) == there


def test_an_error_comes_in_its_place():
    def items():
        yield 1
        raise ValueError("broken")

    stream = ahead(items())
    assert next(stream) == 1
    with pytest.raises(ValueError, match="broken"):
        next(stream)
    assert list(stream) == []


def test_nothing_is_left_running():
    before = threading.active_count()
    stream = ahead(count())
    next(stream)
    stream.close()
    assert threading.active_count() == before
