"""The figures of a feed and of its clients, as plain values: made where they are kept, sent anywhere, read once a scrape."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mbo.book.interface import ANOMALIES
from mbo.live.latency import BIN_EDGES_NS, Latency
from mbo.live.status import FeedStatus
from mbo.units import NS_PER_S, UNDEF_TIMESTAMP

if TYPE_CHECKING:
    from mbo.book import Books
    from mbo.live.feed import Feed
    from mbo.records import RecordArray
    from mbo.telemetry.spans import Spans

EDGES_NS: Final = (5_000, *(digit * 10**power for power in range(3, 9) for digit in (10, 25, 50)), 10 * NS_PER_S)
"""Upper edges of the buckets of latency: 5 µs, 10, 25, 50 µs, and so on to 10 s."""
_BINS_BELOW: Final = np.searchsorted(
    BIN_EDGES_NS, np.array(EDGES_NS, np.uint64), side="right"
)  # an edge within a bin leaves it out
LOOK_S: Final = 1.0
"""What is asked for again within this time is not looked up again: several who scrape do not disturb each other."""


class BookFigures(NamedTuple):
    """All books of a feed together; `ts_recv` (ns UTC) is that of the latest record, 0 where there is none.

    `synced` are those that have seen a clear or a snapshot.
    """

    books: int = 0
    ts_recv: int = 0
    orders: int = 0
    events: int = 0
    anomalies: Mapping[str, int] = {}
    synced: int = 0


class FeedFigures(NamedTuple):
    """How a feed does: `applied_ns` is when its last batch was applied, ns UTC, 0 before the first.

    `latency` counts the latencies up to each of `EDGES_NS`, then all.
    """

    status: FeedStatus
    batches: int
    applied_ns: int
    books: BookFigures
    latency: tuple[int, ...]
    latency_sum_s: float
    lag_s: float | None
    """The greatest latency since the last look; None where latencies are not measured."""


class ClientFigures(NamedTuple):
    """How the clients of a stream do: `clients` and `waiting_bytes` are of now, all else counts from the start."""

    clients: int = 0
    updates: int = 0
    conflated: int = 0
    bytes: int = 0
    waiting_bytes: int = 0
    dropped: Mapping[str, int] = {}


class BatchMeter:
    """Counts the batches of a feed: its `tap`, or called by it. It costs less than a microsecond a batch.

    A span of a batch lasts from the end of the one before to its own: waiting for it, applying it, and what the tap did.
    """

    def __init__(self, spans: Spans | None = None) -> None:
        self.batches = 0
        self.applied_ns = 0
        self._spans = spans if spans is not None and spans.active else None
        self._noted_ns = 0
        self._known = BookFigures()
        self._looked = -LOOK_S
        self._bins: npt.NDArray[np.int64] | None = None
        self._lag_s: float | None = None

    def __call__(self, records: RecordArray) -> None:
        """Take note of a batch that was applied."""
        before, self.applied_ns = self.applied_ns, time.time_ns()
        self.batches += 1
        if self._spans is not None and not 0 <= self.applied_ns - self._noted_ns < self._spans.pause_ns:
            self._noted_ns = self.applied_ns
            begun = min(before or self.applied_ns, self.applied_ns)
            self._spans.note("mbo.batch", begun, self.applied_ns, records=len(records))

    def figures(self, feed: Feed, timeout_s: float = 1.0) -> FeedFigures:
        """Say how a feed does; where its books do not answer within `timeout_s` they are shown as they were at the last look."""
        now = time.monotonic()
        if now - self._looked >= LOOK_S:
            self._looked = now
            self._lag_s = self._greatest(feed.latency)
            with contextlib.suppress(TimeoutError):
                self._known = feed.ask(book_figures, timeout_s)
        counts, sum_s = latency_counts(feed.latency)
        return FeedFigures(feed.status, self.batches, self.applied_ns, self._known, counts, sum_s, self._lag_s)

    def _greatest(self, latency: Latency) -> float | None:
        bins = latency.bins
        since = bins if self._bins is None else bins - self._bins
        self._bins = bins
        if not bins.any():
            return None
        places = np.flatnonzero(since)
        return float(BIN_EDGES_NS[places[-1]]) / NS_PER_S if len(places) else 0.0


def book_figures(books: Books) -> BookFigures:
    """Sum up books; asked of a feed, on the thread that may touch them, about 10 µs an instrument."""
    orders = events = latest = synced = 0
    anomalies = dict.fromkeys(ANOMALIES, 0)
    for book in books.values():
        status = book.status
        orders, events, synced = orders + status.orders, events + status.events, synced + status.synced
        if status.ts_recv != UNDEF_TIMESTAMP:
            latest = max(latest, status.ts_recv)
        for rule, anomaly in book.anomalies.items():
            anomalies[rule] += anomaly.count
    return BookFigures(len(books), latest, orders, events, anomalies, synced)


def latency_counts(latency: Latency) -> tuple[tuple[int, ...], float]:
    """Count the latencies up to each of `EDGES_NS`, and all, and give their sum in seconds.

    One that is up to 1/64 below an edge may be counted with the next: a latency is never made to look better.
    """
    heights = np.cumsum(latency.bins)
    count = int(heights[-1])
    counts = (*heights[_BINS_BELOW - 1].tolist(), count)
    return counts, latency.mean * count / NS_PER_S if count else 0.0
