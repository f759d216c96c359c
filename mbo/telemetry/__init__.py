"""Telemetry: figures for Prometheus, log lines for machines, spans for OTLP. Nothing is done for a single message."""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Self

from mbo.config import Settings
from mbo.telemetry.figures import BatchMeter, BookFigures, ClientFigures, FeedFigures
from mbo.telemetry.logs import Logs, configure_logs, correlated, new_id
from mbo.telemetry.metrics import Metrics
from mbo.telemetry.spans import Attribute, Spans

if TYPE_CHECKING:
    from opentelemetry.trace import Span

__all__ = [
    "BatchMeter", "BookFigures", "ClientFigures", "FeedFigures", "Logs", "Metrics", "Spans", "Telemetry", "configure_logs",
    "correlated", "new_id",
]  # fmt: skip


class Telemetry:
    """The figures and the spans of one process, as the settings have it: `metrics` and `spans`."""

    def __init__(self, settings: Settings | None = None, *, service: str = "mbo") -> None:
        settings = settings if settings is not None else Settings()
        self.metrics = Metrics()
        self.spans = Spans(
            settings.telemetry.otlp_endpoint, service=service, environment=settings.env,
            per_s=settings.telemetry.spans_per_s,
        )  # fmt: skip

    def span(self, name: str, **attributes: Attribute) -> AbstractContextManager[Span | None]:
        """Make a span of a block; see `Spans.span`."""
        return self.spans.span(name, **attributes)

    def request_span(
        self, method: str, route: str, traceparent: str | None = None
    ) -> AbstractContextManager[Span | None]:
        """Make a span of a request; see `Spans.request`."""
        return self.spans.request(method, route, traceparent)

    def close(self) -> None:
        """Send the last spans, for a few seconds at most."""
        self.spans.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self.close()
