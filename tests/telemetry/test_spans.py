"""Spans that were really sent over HTTP and decoded, a few a second, without the words of errors."""

from __future__ import annotations

import subprocess
import sys

import pytest

import mbo
from mbo.config import Settings
from mbo.errors import RequestError
from mbo.records import MBO_DTYPE
from mbo.telemetry import BatchMeter, Spans, Telemetry
from mbo.telemetry.spans import Allowance
from tests.tools.otlp import OtlpReceiver, values

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
MANY = 1e6  # spans a second: none is left out


@pytest.fixture
def receiver():
    with OtlpReceiver() as receiver:
        yield receiver


def test_spans_say_whose_they_are_and_stand_within_each_other(receiver):
    settings = Settings(env="staging", telemetry={"otlp_endpoint": receiver.endpoint, "spans_per_s": MANY})
    with (
        Telemetry(settings, service="mbo-api") as telemetry,
        telemetry.request_span("GET", "/v1/books/{symbol}", f"00-{TRACE}-{PARENT}-01") as outer,
    ):
        assert outer is not None
        outer.set_attribute("http.response.status_code", 200)
        with telemetry.span("encode", levels=10):
            pass
    assert receiver.paths == {"/v1/traces"}
    (inner, _), (request, resource) = receiver.spans
    assert (inner.name, values(inner.attributes)) == ("encode", {"levels": 10})
    assert request.name == "GET /v1/books/{symbol}"
    assert values(request.attributes) == {
        "http.request.method": "GET", "http.route": "/v1/books/{symbol}", "http.response.status_code": 200
    }  # fmt: skip
    assert (inner.kind, request.kind) == (1, 2)  # internal, server
    assert inner.trace_id.hex() == request.trace_id.hex() == TRACE
    assert inner.parent_span_id == request.span_id
    assert request.parent_span_id.hex() == PARENT
    assert request.start_time_unix_nano <= inner.start_time_unix_nano <= inner.end_time_unix_nano
    assert inner.end_time_unix_nano <= request.end_time_unix_nano
    assert resource["service.name"] == "mbo-api"
    assert resource["service.version"] == mbo.__version__
    assert resource["deployment.environment.name"] == "staging"


@pytest.mark.parametrize("traceparent", [None, "", "nonsense", "00-0-0-01"])
def test_a_request_without_a_peers_span_begins_a_trace(traceparent, receiver):
    spans = Spans(receiver.endpoint, per_s=MANY)
    with spans.request("GET", "/healthz", traceparent):
        pass
    spans.close()
    ((span, _),) = receiver.spans
    assert span.parent_span_id == b""
    assert any(span.trace_id)


def test_an_error_is_shown_by_its_type_alone(receiver):
    spans = Spans(receiver.endpoint, per_s=MANY)
    with pytest.raises(RequestError), spans.span("publish"):
        raise RequestError("hunter2-do-not-show")
    spans.close()
    ((span, _),) = receiver.spans
    assert (span.status.code, span.status.message) == (2, "RequestError")
    assert values(span.attributes) == {"error.type": "RequestError"}
    assert not span.events
    assert receiver.bodies
    assert not any(b"hunter2" in body for body in receiver.bodies)


def test_batches_become_spans_from_one_end_to_the_next(receiver):
    import numpy as np

    spans = Spans(receiver.endpoint, per_s=MANY)
    meter = BatchMeter(spans)
    for count in (3, 5):
        meter(np.zeros(count, MBO_DTYPE))
    spans.close()
    (first, _), (second, _) = receiver.spans
    assert [span.name for span in (first, second)] == ["mbo.batch", "mbo.batch"]
    assert [values(span.attributes) for span in (first, second)] == [{"records": 3}, {"records": 5}]
    assert first.start_time_unix_nano == first.end_time_unix_nano == second.start_time_unix_nano
    assert second.end_time_unix_nano == meter.applied_ns


def test_no_more_than_allowed_are_made_of_each_kind(receiver):
    spans = Spans(receiver.endpoint, per_s=1e-9)
    for _ in range(5):
        with spans.span("one"):
            pass
        with spans.span("two"):
            pass
        with spans.request("GET", "/a"):
            pass
        with spans.request("GET", "/b"):  # a request like the one before
            pass
    spans.close()
    assert sorted(receiver.names) == ["GET /a", "one", "two"]


def test_an_allowance_is_regained_and_never_saved_up():
    allowance = Allowance(2)
    assert [allowance.take("a", 0.0) for _ in range(3)] == [True, True, False]
    assert allowance.take("b", 0.0)
    assert not allowance.take("a", 0.4)
    assert allowance.take("a", 0.5)
    assert not allowance.take("a", 0.6)
    assert [allowance.take("a", 1_000.0) for _ in range(3)] == [True, True, False]


def test_an_allowance_below_one_a_second_lets_one_through():
    allowance = Allowance(0.1)
    assert [allowance.take("a", at) for at in (0.0, 9.0, 10.5)] == [True, False, True]


def test_without_a_receiver_nothing_is_made_or_loaded():
    script = """
import sys
from mbo.telemetry import BatchMeter, Telemetry
with Telemetry() as telemetry:
    with telemetry.span("x", n=1) as one, telemetry.request_span("GET", "/", "00-a-b-01") as two:
        print(one, two, telemetry.spans.active, telemetry.span("x") is telemetry.span("y"), telemetry.spans.flush())
print(sorted(name for name in sys.modules if name.startswith("opentelemetry")))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "None None False True True\n[]\n"


def test_a_receiver_that_refuses_or_is_gone_costs_the_spans_and_nothing_else(caplog):
    with OtlpReceiver(status=400) as receiver:
        refused = Spans(receiver.endpoint, per_s=MANY)
        with refused.span("x"):
            pass
        refused.close()
        assert len(receiver.bodies) == 1
    gone = Spans(receiver.endpoint, per_s=MANY)
    with gone.span("y"):
        pass
    gone.close()
    gone.close()
    with gone.span("z") as after:
        assert after is None
    assert "Failed to export span batch" in caplog.text
    assert receiver.spans == []


@pytest.mark.parametrize("endpoint", ["localhost:4318", "grpc://h:4317", "h"])
def test_a_receiver_is_named_by_a_url(endpoint):
    with pytest.raises(RequestError, match="receives no spans: write http://host:4318"):
        Spans(endpoint)


@pytest.mark.parametrize("path", ["", "/", "/v1/traces"])
def test_the_path_of_a_receiver_is_added_where_it_lacks(path, receiver):
    spans = Spans(receiver.endpoint + path, per_s=MANY)
    with spans.span("x"):
        pass
    assert spans.flush()
    spans.close()
    assert receiver.paths == {"/v1/traces"}
    assert receiver.names == ["x"]
