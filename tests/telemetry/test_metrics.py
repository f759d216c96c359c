"""What Prometheus reads: every figure under its name, whole even if a part fails, and well-formed by promtool."""

from __future__ import annotations

import re

import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

import mbo
from mbo.telemetry import BookFigures, Metrics
from mbo.telemetry.figures import EDGES_NS
from tests.telemetry.watched import FEED, RECORDER, all_watched, promtool


def samples(metrics: Metrics) -> dict[str, float]:
    """Every sample by its name and labels, as it is written."""
    body, content_type = metrics.exposition()
    assert content_type.startswith("text/plain; version=0.0.4")
    found = {}
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            key = f"{sample.name}{{{labels}}}" if labels else sample.name
            assert key not in found
            found[key] = sample.value
    return found


def own(metrics: Metrics) -> dict[str, float]:
    return {name: value for name, value in samples(metrics).items() if name.startswith("mbo_")}


@pytest.fixture
def everything():
    return all_watched()


def test_every_figure_has_its_name(everything):
    found = own(everything)
    expected = {
        "mbo_build_info{version=" + mbo.__version__ + "}": 1,
        "mbo_messages_total": 1_000, "mbo_messages_repeated_total": 7, "mbo_batches_total": 11, "mbo_events_total": 400,
        "mbo_anomalies_total{rule=bad_size}": 5, "mbo_anomalies_total{rule=bad_price}": 0,
        "mbo_books": 2, "mbo_books_synced": 1, "mbo_orders": 30,
        "mbo_feed_connected": 1, "mbo_feed_stale": 0, "mbo_feed_ended": 0, "mbo_feed_reconnects_total": 2,
        "mbo_feed_gaps_total": 2, "mbo_feed_slow_warnings_total": 4,
        "mbo_feed_last_batch_timestamp_seconds": 1_700_000_000.5, "mbo_feed_last_record_timestamp_seconds": 1_600_000_000.25,
        "mbo_feed_lag_seconds": 0.125, "mbo_latency_seconds_sum": 0.75, "mbo_latency_seconds_count": 2 * len(EDGES_NS),
        "mbo_store_rows_total": 900, "mbo_store_flushes_total": 70, "mbo_store_flush_failures_total": 8,
        "mbo_store_flush_seconds_total": 4.5,
        "mbo_store_longest_flush_seconds": 0.5, "mbo_store_writable": 1, "mbo_recorder_waiting_rows": 50,
        "mbo_recorder_buffer_rows": 1_000, "mbo_recorder_waits_total": 6, "mbo_recorder_waited_seconds_total": 1.5,
        "mbo_clients": 100, "mbo_client_updates_total": 2_000, "mbo_client_updates_conflated_total": 300,
        "mbo_client_bytes_total": 40_000, "mbo_client_waiting_bytes": 500,
        "mbo_clients_dropped_total{reason=slow}": 2, "mbo_clients_dropped_total{reason=shutdown}": 1,
        "mbo_queue_length{queue=questions}": 9,
        "mbo_http_requests_total{method=GET,route=/v1/books/{symbol},status=200}": 1,
        "mbo_http_request_seconds_sum{route=/v1/books/{symbol}}": 0.002,
        "mbo_http_request_seconds_count{route=/v1/books/{symbol}}": 1,
    }  # fmt: skip
    for name in ("build", "queues", "feed", "recorder", "clients"):
        expected["mbo_scrape_failures_total{source=" + name + "}"] = 0
    assert {name: value for name, value in found.items() if not re.search("_bucket|_created", name)} == expected


def test_the_buckets_are_cumulative_and_in_seconds(everything):
    found = own(everything)
    edges = ["5e-06", "1e-05", "2.5e-05", "5e-05", "0.0001", "0.00025", "0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025",
             "0.05", "0.1", "0.25", "0.5", "1.0", "2.5", "5.0", "10.0", "+Inf"]  # fmt: skip
    buckets = {name: value for name, value in found.items() if name.startswith("mbo_latency_seconds_bucket")}
    assert buckets == {f"mbo_latency_seconds_bucket{{le={edge}}}": 2 * n for n, edge in enumerate(edges)}


def test_what_is_asked_for_is_read_at_that_moment():
    metrics, queue = Metrics(), []
    metrics.watch_queue("q", lambda: len(queue))
    assert own(metrics)["mbo_queue_length{queue=q}"] == 0
    queue += [1, 2, 3]
    assert own(metrics)["mbo_queue_length{queue=q}"] == 3


def test_what_is_not_there_yet_is_not_shown():
    metrics = Metrics()
    metrics.watch_feed(lambda: None)
    metrics.watch_recorder(lambda: None, buffer_rows=1)
    metrics.watch_clients(lambda: None)
    names = {name.split("{")[0] for name in own(metrics)}
    assert names == {"mbo_build_info", "mbo_scrape_failures_total", "mbo_scrape_failures_created"}


def test_a_feed_before_its_first_batch_has_no_times_and_no_latency():
    metrics = Metrics()
    metrics.watch_feed(lambda: FEED._replace(batches=0, books=BookFigures(), lag_s=None))
    assert not [name for name in own(metrics) if "timestamp" in name or "lag" in name or "latency" in name]
    assert own(metrics)["mbo_feed_connected"] == 1


@pytest.mark.parametrize(
    ("status", "name", "value"),
    [
        (FEED.status._replace(connected=False), "mbo_feed_connected", 0),
        (FEED.status._replace(stale=True), "mbo_feed_stale", 1),
        (FEED.status._replace(ended=True), "mbo_feed_ended", 1),
        (FEED.status._replace(connections=0), "mbo_feed_reconnects_total", 0),
    ],
)
def test_the_state_of_a_feed_is_shown(status, name, value):
    metrics = Metrics()
    metrics.watch_feed(lambda: FEED._replace(status=status))
    assert own(metrics)[name] == value


def test_a_store_that_takes_nothing_is_shown():
    metrics = Metrics()
    metrics.watch_recorder(lambda: RECORDER._replace(trouble="no room"), buffer_rows=1)
    assert own(metrics)["mbo_store_writable"] == 0


def test_a_part_that_fails_is_counted_and_takes_nothing_with_it(everything, caplog):
    everything.watch_queue("broken", lambda: 1 // 0)
    found = own(everything)
    assert found["mbo_messages_total"] == 1_000
    assert "mbo_queue_length{queue=questions}" not in found
    assert own(everything)["mbo_scrape_failures_total{source=queues}"] == 1
    assert caplog.messages[0].startswith("the figures of the queues could not be read: ")


# ------------------------------------------------------------ requests


def test_requests_are_counted_by_route_and_status():
    metrics = Metrics()
    for method, route, status in (("GET", "/a", 200), ("GET", "/a", 200), ("GET", "/a", 404), ("POST", "/b", 200)):
        metrics.request(method, route, status, 0.1)
    found = own(metrics)
    assert found["mbo_http_requests_total{method=GET,route=/a,status=200}"] == 2
    assert found["mbo_http_requests_total{method=GET,route=/a,status=404}"] == 1
    assert found["mbo_http_requests_total{method=POST,route=/b,status=200}"] == 1
    assert found["mbo_http_request_seconds_count{route=/a}"] == 3
    assert found["mbo_http_request_seconds_bucket{le=0.05,route=/a}"] == 0
    assert found["mbo_http_request_seconds_bucket{le=0.1,route=/a}"] == 3


def test_what_a_peer_invents_makes_no_new_series():
    metrics = Metrics()
    for n in range(100):
        metrics.request(f"BREW{n}", None, 405, 0.1)
    assert own(metrics)["mbo_http_requests_total{method=other,route=none,status=405}"] == 100
    assert len([name for name in own(metrics) if name.startswith("mbo_http_requests_total")]) == 1


def test_two_processes_in_one_keep_their_own_figures():
    one, other = Metrics(), Metrics()
    one.request("GET", "/a", 200, 0.1)
    assert not [name for name in own(other) if "http" in name]


# ------------------------------------------------------------ forms


def test_the_process_itself_is_shown(everything):
    found = samples(everything)
    assert found["process_resident_memory_bytes"] > 1e6
    assert any(name.startswith("python_info") for name in found)


def test_openmetrics_is_given_where_it_is_asked_for(everything):
    body, content_type = everything.exposition("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    names = {family.name for family in openmetrics.text_string_to_metric_families(body.decode())}
    assert {"mbo_messages", "mbo_latency_seconds", "mbo_clients"} <= names


def test_promtool_has_nothing_to_say(everything):
    body, _ = everything.exposition()
    assert len(own(everything)) > 50
    found = promtool("check", "metrics", text=body)
    assert (found.returncode, found.stderr) == (0, "")


@pytest.mark.parametrize(
    ("before", "after"),
    [(b"mbo_messages_total", b"mbo_messages"), (b"# HELP mbo_books Instruments with a book.\n", b""),
     (b"mbo_books 2.0", b"mbo_books x")],
)  # fmt: skip
def test_promtool_would_have_said_something(before, after, everything):
    body, _ = everything.exposition()
    assert before in body
    assert promtool("check", "metrics", text=body.replace(before, after)).returncode != 0
