"""Figures in Prometheus' form: read when they are asked for, from counters that are kept anyway."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

from prometheus_client import CollectorRegistry, Counter, GCCollector, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

import mbo
from mbo.recorder import RecorderStatus
from mbo.telemetry import families
from mbo.telemetry.figures import ClientFigures, FeedFigures

log: Final = logging.getLogger("mbo.telemetry")

_REQUEST_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """All figures of one process, in a registry of its own.

    What is to be watched says how it is read, once; it is read at every scrape. Where reading fails the rest is given all the same,
    and the failure counted.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._failures = Counter(
            "mbo_scrape_failures", "Figures that could not be read.", ["source"], registry=self.registry
        )
        self._requests = Counter(
            "mbo_http_requests", "Requests that were answered.", ["method", "route", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "mbo_http_request_seconds", "Time to the end of the answer.", ["route"], buckets=_REQUEST_S,
            registry=self.registry,
        )  # fmt: skip
        self._queues: dict[str, Callable[[], int]] = {}
        for collector in (PlatformCollector, GCCollector, ProcessCollector):
            collector(registry=self.registry)
        self._watch("build", lambda: families.of_build(mbo.__version__))
        self._watch("queues", lambda: families.of_queues({name: read() for name, read in self._queues.items()}))

    def request(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """Count a request. `route` is its template, such as /v1/books/{symbol}: paths as they come would have no end."""
        method = method if method in _METHODS else "other"
        route = route or "none"
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def watch_feed(self, read: Callable[[], FeedFigures | None]) -> None:
        """Show a feed; None is one that is not there yet."""
        self._watch("feed", lambda: _present(read(), families.of_feed))

    def watch_recorder(self, read: Callable[[], RecorderStatus | None], *, buffer_rows: int) -> None:
        """Show a recorder, of which `buffer_rows` may wait; None is one that is not there yet."""
        self._watch("recorder", lambda: _present(read(), lambda found: families.of_recorder(found, buffer_rows)))

    def watch_clients(self, read: Callable[[], ClientFigures | None]) -> None:
        """Show the clients of a stream."""
        self._watch("clients", lambda: _present(read(), families.of_clients))

    def watch_queue(self, name: str, read: Callable[[], int]) -> None:
        """Show how long a queue is."""
        self._queues[name] = read

    def exposition(self, accept: str | None = None) -> tuple[bytes, str]:
        """Give all figures, in Prometheus' text or as OpenMetrics where `accept` asks for it, and the type of that content.

        A feed that is watched is asked, and answers between two batches: run it in a thread.
        """
        encode, content_type = choose_encoder(accept or "")
        return encode(self.registry), content_type

    def _watch(self, source: str, made: Callable[[], Iterable[Metric]]) -> None:
        self.registry.register(_Source(source, made, self._failures))


_Found = TypeVar("_Found")


def _present(found: _Found | None, made: Callable[[_Found], Iterable[Metric]]) -> Iterable[Metric]:
    return () if found is None else made(found)


class _Source(Collector):
    """One thing that is watched; its figures are complete or not there."""

    def __init__(self, name: str, made: Callable[[], Iterable[Metric]], failures: Counter) -> None:
        self._name, self._made = name, made
        self._failed = failures.labels(name)

    def collect(self) -> Iterator[Metric]:
        try:
            found = list(self._made())
        except Exception as error:  # noqa: BLE001 - whatever it is, the other figures are still wanted
            self._failed.inc()
            log.warning("the figures of the %s could not be read: %s", self._name, error)
            return
        yield from found
