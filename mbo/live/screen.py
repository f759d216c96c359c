"""The terminal's view of a live feed: ladders that are drawn again ten times a second."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from mbo.book.render import ladder_text
from mbo.live.feed import Feed

if TYPE_CHECKING:
    from mbo.book import Books
    from mbo.recorder import Recorder

_EVERY_S = 0.1
_MOST_LADDERS = 4


def show(feed: Feed, *, depth: int, until_end: bool, recorder: Recorder | None = None) -> None:
    """Draw the first books of a feed until the replay ends or, without `until_end`, until Ctrl-C; raises what ends the feed."""
    from rich.live import Live
    from rich.text import Text

    with Live(refresh_per_second=1 / _EVERY_S, transient=True) as live:
        for _ in feed.watch(_EVERY_S):
            live.update(Text(picture(feed, depth, recorder)))
        while not until_end:
            live.update(Text(picture(feed, depth, recorder)))
            time.sleep(_EVERY_S)


def picture(feed: Feed, depth: int, recorder: Recorder | None = None) -> str:
    """Draw the first books, and say how the feed stands, and its recording."""

    def draw(books: Books) -> tuple[list[str], int]:
        return [ladder_text(book, depth) for book in list(books.values())[:_MOST_LADDERS]], len(books)

    ladders, count = feed.ask(draw)
    more = [f"and {count - len(ladders):,} more books"] if count > len(ladders) else []
    recording = [] if recorder is None else [recording_line(recorder)]
    return "\n\n".join([*ladders, *more, "\n".join([status_line(feed), *recording])])


def status_line(feed: Feed) -> str:
    """Say in a line how a feed stands."""
    status = feed.status
    state = "ended" if status.ended else "STALE" if status.stale else "live"
    parts = [state, f"{status.applied:,} records"]
    if status.connections > 1:
        parts.append(f"{status.connections} connections, {status.dropped:,} records dropped that came twice")
    if status.first_gap is not None:
        first = status.first_gap
        parts.append(f"{status.gaps} gaps, the first after {first.applied:,} records: {first.reason}")
    if status.slow_warnings:
        parts.append(f"{status.slow_warnings} warnings of slow reading")
    if status.unknown_symbols:
        parts.append(f"not found: {', '.join(status.unknown_symbols)}")
    if feed.latency.count:
        parts.append(f"latency {feed.latency}")
    return "; ".join(parts)


def recording_line(recorder: Recorder) -> str:
    """Say in a line how a recording stands."""
    status = recorder.status
    parts = [f"{status.stored:,} rows in session {recorder.session}", f"{status.waiting:,} waiting"]
    if status.waits:
        parts.append(f"held up the stream {status.waits} times, {status.waited_s:.1f} s in all")
    if status.trouble is not None:
        parts.append(f"NOT STORING: {status.trouble}")
    return "; ".join(parts)
