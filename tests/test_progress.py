"""A progress bar on a terminal, and silence everywhere else."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator

import pytest

from mbo.progress import say, track


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_silent_without_a_terminal(capfd):
    items = [1, 5, 10]
    assert list(track(items, 10, lambda item: item, "working")) == items
    say("not for a file")
    assert capfd.readouterr() == ("", "")


def test_bar_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    items = [1, 5, 10]
    assert list(track(items, 10, lambda item: item, "working")) == items
    say("once")
    text = terminal.getvalue()
    assert "working" in text
    assert "100%" in text
    assert text.endswith("once\n")
    assert capsys.readouterr().out == "", "results go to standard output, progress never"


def test_bar_goes_away_when_the_work_fails(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")

    def failing() -> Iterator[int]:
        yield 1
        raise RuntimeError

    with pytest.raises(RuntimeError):
        list(track(failing(), 2, lambda item: item, "working"))
    list(track([1], 1, lambda item: item, "again"))


def test_bars_may_be_nested(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    for _ in track([1, 2], 2, lambda item: item, "outer"):
        assert list(track([3], 3, lambda item: item, "inner")) == [3]


def test_items_are_given_as_they_come():
    source = iter(range(3))
    first = next(track(source, 3, lambda item: item, "working"))
    assert (first, next(source)) == (0, 1)
