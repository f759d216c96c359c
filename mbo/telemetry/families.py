"""The names of the figures and what they mean: the figures of one thing in, Prometheus' families out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from mbo.recorder import RecorderStatus
from mbo.telemetry.figures import EDGES_NS, ClientFigures, FeedFigures
from mbo.units import NS_PER_S

_EDGES: Final = (*(repr(edge / NS_PER_S) for edge in EDGES_NS), "+Inf")


def of_build(version: str) -> Iterator[Metric]:
    """Say which version this is."""
    family = GaugeMetricFamily("mbo_build_info", "Which version this is; always 1.", labels=["version"])
    family.add_metric([version], 1)
    yield family


def of_feed(found: FeedFigures) -> Iterator[Metric]:
    """Show a feed and its books. What was never seen, such as a time or a latency, is left out."""
    status, books = found.status, found.books
    yield CounterMetricFamily("mbo_messages", "Records applied to the books.", status.applied)
    yield CounterMetricFamily("mbo_messages_repeated", "Records that came twice and were left out.", status.dropped)
    yield CounterMetricFamily("mbo_batches", "Batches of records applied.", found.batches)
    yield CounterMetricFamily("mbo_events", "Events applied since the books were begun.", books.events)
    yield _labelled("mbo_anomalies", "Records that broke a rule of the book.", "rule", books.anomalies)
    yield GaugeMetricFamily("mbo_books", "Instruments with a book.", books.books)
    yield GaugeMetricFamily("mbo_books_synced", "Books that have seen a clear or a snapshot.", books.synced)
    yield GaugeMetricFamily("mbo_orders", "Orders that rest in all books.", books.orders)
    yield GaugeMetricFamily("mbo_feed_connected", "1 while the gateway is connected.", status.connected)
    yield GaugeMetricFamily("mbo_feed_stale", "1 while a book may be behind the exchange's.", status.stale)
    yield GaugeMetricFamily("mbo_feed_ended", "1 once the replay has ended.", status.ended)
    yield CounterMetricFamily("mbo_feed_reconnects", "Connections after the first.", max(0, status.connections - 1))
    yield CounterMetricFamily("mbo_feed_gaps", "Places where records are missing.", status.gaps)
    yield CounterMetricFamily("mbo_feed_slow_warnings", "Times the gateway called us slow.", status.slow_warnings)
    if found.batches:
        yield GaugeMetricFamily(
            "mbo_feed_last_batch_timestamp_seconds", "When the last batch was applied.", found.applied_ns / NS_PER_S
        )
    if books.ts_recv:
        yield GaugeMetricFamily(
            "mbo_feed_last_record_timestamp_seconds", "The latest ts_recv of all books.", books.ts_recv / NS_PER_S
        )
    if found.lag_s is not None:
        yield GaugeMetricFamily(
            "mbo_feed_lag_seconds", "Greatest time from sent or due to applied, since the last look.", found.lag_s
        )
        latency = HistogramMetricFamily(
            "mbo_latency_seconds", "From when a record was sent or due to when it was applied."
        )
        latency.add_metric([], list(zip(_EDGES, found.latency, strict=True)), found.latency_sum_s)
        yield latency


def of_recorder(found: RecorderStatus, buffer_rows: int) -> Iterator[Metric]:
    """Show a recorder, of which `buffer_rows` may wait."""
    yield CounterMetricFamily("mbo_store_rows", "Rows stored in this session, earlier runs included.", found.stored)
    yield CounterMetricFamily("mbo_store_flushes", "Flushes that the store took.", found.flushes)
    yield CounterMetricFamily(
        "mbo_store_flush_failures", "Tries at a flush that the store did not take.", found.failures
    )
    yield CounterMetricFamily("mbo_store_flush_seconds", "What all flushes took.", found.flush_s)
    yield GaugeMetricFamily("mbo_store_longest_flush_seconds", "The longest flush.", found.longest_flush_s)
    yield GaugeMetricFamily("mbo_store_writable", "0 while the store does not take rows.", found.trouble is None)
    yield GaugeMetricFamily("mbo_recorder_waiting_rows", "Rows received and not stored yet.", found.waiting)
    yield GaugeMetricFamily("mbo_recorder_buffer_rows", "Rows that may wait.", buffer_rows)
    yield CounterMetricFamily("mbo_recorder_waits", "Times the stream was held up by the store.", found.waits)
    yield CounterMetricFamily("mbo_recorder_waited_seconds", "How long the stream was held up.", found.waited_s)


def of_clients(found: ClientFigures) -> Iterator[Metric]:
    """Show the clients of a stream."""
    yield GaugeMetricFamily("mbo_clients", "Clients that are connected.", found.clients)
    yield CounterMetricFamily("mbo_client_updates", "Updates sent, to all clients together.", found.updates)
    yield CounterMetricFamily("mbo_client_updates_conflated", "Updates left out for a newer one.", found.conflated)
    yield CounterMetricFamily("mbo_client_bytes", "Bytes of these updates.", found.bytes)
    yield GaugeMetricFamily("mbo_client_waiting_bytes", "Bytes that clients have not taken yet.", found.waiting_bytes)
    yield _labelled("mbo_clients_dropped", "Clients that were let go.", "reason", found.dropped)


def of_queues(lengths: Mapping[str, int]) -> Iterator[Metric]:
    """Show how long queues are, by their names."""
    family = GaugeMetricFamily("mbo_queue_length", "What waits in a queue.", labels=["queue"])
    for name, length in lengths.items():
        family.add_metric([name], length)
    yield family


def _labelled(name: str, meaning: str, label: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, meaning, labels=[label])
    for value, count in counts.items():
        family.add_metric([value], count)
    return family
