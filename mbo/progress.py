"""A progress bar for work that takes long enough to wonder: on a terminal only, gone when the work is done."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

_Item = TypeVar("_Item")
_quiet = ContextVar("quiet", default=False)


def track(items: Iterable[_Item], total: int, position: Callable[[_Item], int], label: str) -> Iterator[_Item]:
    """Give the items on, and show on standard error how much of `total` their `position` has reached."""
    if not _watched():
        yield from items
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total)
        for item in items:
            yield item
            bar.update(task, completed=position(item))


def say(text: str) -> None:
    """Tell a person at the terminal what takes time; nobody else is told."""
    if _watched():
        print(text, file=sys.stderr)


@contextmanager
def quiet() -> Iterator[None]:
    """Show nothing of what this thread does meanwhile: somebody else tells how far it is."""
    before = _quiet.set(True)
    try:
        yield
    finally:
        _quiet.reset(before)


def _watched() -> bool:
    if _quiet.get() or sys.stderr is None:  # None where the stream was closed before the start
        return False
    return sys.stderr.isatty()
