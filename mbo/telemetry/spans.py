"""Spans of batches and requests, a few a second, sent by OTLP over HTTP where a receiver is named; otherwise nothing at all."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import mbo
from mbo.errors import RequestError
from mbo.units import NS_PER_S

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, SpanKind, Tracer

Attribute = str | int | float | bool

_PATH: Final = "v1/traces"
_EXPORT_S: Final = 5.0  # for one export, and at the end
_DELAY_MS: Final = 1_000
_NOTHING: Final = nullcontext(None)


class Allowance:
    """At most so many a second of each kind; what is not used within a second is lost."""

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._left: dict[str, tuple[float, float]] = {}  # how many there may be, at which time
        self._lock = threading.Lock()

    def take(self, kind: str, now: float) -> bool:
        """Say whether there may be one more at `now`, in seconds."""
        most = max(1.0, self._per_s)
        with self._lock:
            left, then = self._left.get(kind, (most, now))
            left = min(most, left + (now - then) * self._per_s)
            self._left[kind] = (left - 1 if left >= 1 else left), now
        return left >= 1


class Spans:
    """Makes the spans of one process and sends them to `endpoint`, http://host:4318; without one it does nothing.

    It has a provider of its own, the process's global one stays as it is. Of each kind of span at most `per_s` a second are made.
    An error is shown by its type: its words may hold what is nobody's business.
    """

    def __init__(
        self, endpoint: str | None = None, *, service: str = "mbo", environment: str = "dev", per_s: float = 10.0
    ) -> None:
        self._allowance = Allowance(per_s)
        self.pause_ns = int(NS_PER_S / per_s)
        """Between two spans of one kind, if they are to be spread evenly."""
        self._provider: TracerProvider | None = None
        self._tracer: Tracer | None = None
        if endpoint is not None:
            self._provider = _provider(endpoint, service, environment)
            self._tracer = self._provider.get_tracer("mbo", mbo.__version__)

    @property
    def active(self) -> bool:
        """Whether any are made."""
        return self._tracer is not None

    def span(self, name: str, **attributes: Attribute) -> AbstractContextManager[Span | None]:
        """Make a span of a block, within the one around it; None where there is to be none."""
        if self._tracer is None or not self._allowance.take(name, time.monotonic()):
            return _NOTHING
        return self._made(name, attributes)

    def request(self, method: str, route: str, traceparent: str | None = None) -> AbstractContextManager[Span | None]:
        """Make a span of a request, within the one of the peer whose `traceparent` header came with it."""
        if self._tracer is None or not self._allowance.take("request", time.monotonic()):
            return _NOTHING
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        around = TraceContextTextMapPropagator().extract({"traceparent": traceparent}) if traceparent else None
        attributes: dict[str, Attribute] = {"http.request.method": method, "http.route": route}
        return self._made(f"{method} {route}", attributes, around, SpanKind.SERVER)

    def note(self, name: str, begin_ns: int, end_ns: int, **attributes: Attribute) -> None:
        """Make a span of what is over, from and to times in ns UTC."""
        if self._tracer is not None and self._allowance.take(name, time.monotonic()):
            self._tracer.start_span(name, start_time=begin_ns, attributes=attributes).end(end_ns)

    @contextmanager
    def _made(
        self, name: str, attributes: dict[str, Attribute], around: Context | None = None, kind: SpanKind | None = None
    ) -> Iterator[Span]:
        from opentelemetry.trace import SpanKind, StatusCode

        assert self._tracer is not None
        with self._tracer.start_as_current_span(
            name, around, kind or SpanKind.INTERNAL, attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield span
            except BaseException as error:
                span.set_status(StatusCode.ERROR, type(error).__name__)
                span.set_attribute("error.type", type(error).__name__)
                raise

    def flush(self) -> bool:
        """Send what has been made; says whether that was done within five seconds."""
        return self._provider is None or self._provider.force_flush(int(_EXPORT_S * 1000))

    def close(self) -> None:
        """Send what has been made, as far as the receiver takes it within seconds, and end."""
        if self._provider is not None:
            self._provider.shutdown()
            self._provider = self._tracer = None


def _provider(endpoint: str, service: str, environment: str) -> TracerProvider:
    if urlsplit(endpoint).scheme not in ("http", "https"):
        raise RequestError(f"{endpoint!r} receives no spans: write http://host:4318")
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    said: dict[str, Any] = {
        "service.name": service, "service.version": mbo.__version__, "deployment.environment.name": environment
    }  # fmt: skip
    url = endpoint if endpoint.endswith(_PATH) else f"{endpoint.rstrip('/')}/{_PATH}"
    provider = TracerProvider(resource=Resource.create(said), shutdown_on_exit=False)
    exporter = OTLPSpanExporter(url, timeout=_EXPORT_S)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=_DELAY_MS))
    return provider
