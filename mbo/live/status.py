"""How a feed stands."""

from __future__ import annotations

from typing import NamedTuple


class Gap(NamedTuple):
    """Where records are missing: behind so many that were applied, at this time (ns UTC) of the last of them, and why."""

    applied: int
    ts_event: int
    reason: str


class FeedStatus(NamedTuple):
    """How a feed stands: records applied, and of those that came a second time dropped; what has gone wrong so far.

    `stale` says that a book may be behind the exchange's: the connection is lost, or records are missing and no snapshot has come
    yet.
    """

    applied: int
    dropped: int
    connections: int
    connected: bool
    stale: bool
    ended: bool
    gaps: int
    first_gap: Gap | None
    slow_warnings: int
    unknown_symbols: tuple[str, ...]
