"""Writes Grafana's dashboards, as JSON that is committed: `python docker/grafana/generate.py [FOLDER]`.

It needs Grafana's own builders (`pip install --require-hashes -r tests/operations/requirements.txt`) and nothing of `mbo`. The
tests in tests/operations run every query against a Prometheus that scrapes a live server, and compare what is committed with
what this writes.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from grafana_foundation_sdk.builders import common, heatmap, prometheus, stat, timeseries
from grafana_foundation_sdk.builders.dashboard import Dashboard, DashboardLink, QueryVariable, Row, ThresholdsConfig
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    LegendDisplayMode,
    LegendPlacement,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    VariableOption,
    VariableRefresh,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE: Final = DataSourceRef(type_val="prometheus", uid="prometheus")
ME: Final = '{instance=~"$instance"}'
"""Picks what the variable at the top of a page picks."""
GOOD, WARN, BAD = "green", "orange", "red"


class Query(NamedTuple):
    """One query, and what its lines are called."""

    expr: str
    legend: str = ""


class Panel(NamedTuple):
    """What a panel shows; `bounds` are the values from which on it is orange and red."""

    title: str
    meaning: str
    unit: str
    queries: Sequence[Query]
    kind: str = "lines"
    width: int = 8
    bounds: tuple[float | None, float] | None = None
    least: float | None = 0.0


class Page(NamedTuple):
    """A dashboard: rows of panels under a name."""

    uid: str
    title: str
    meaning: str
    rows: Sequence[tuple[str, Sequence[Panel]]]


def rate(counter: str, by: str = "", labels: str = "") -> str:
    """Write how fast a counter grows, over all that is picked or `by` some labels; `labels` are further ones to pick by."""
    picked = f'{{instance=~"$instance"{", " + labels if labels else ""}}}'
    return f"sum{f' by ({by})' if by else ''} (rate({counter}{picked}[$__rate_interval]))"


def counted(counter: str, by: str = "") -> str:
    """Write how much a counter has grown since the last point."""
    return rate(counter, by).replace("rate(", "increase(")


def quantile(share: float, histogram: str, by: str = "") -> str:
    """Write a percentile of a histogram."""
    return f"histogram_quantile({share}, {rate(f'{histogram}_bucket', f'le, {by}' if by else 'le')})"


def number(
    title: str, meaning: str, expr: str, unit: str = "short", *, bounds: tuple[float | None, float] | None = None
) -> Panel:
    """Describe a panel that is one number."""
    return Panel(title, meaning, unit, [Query(expr)], kind="number", width=4, bounds=bounds)


PERCENTILES: Final = ((0.5, "p50"), (0.99, "p99"), (0.999, "p99.9"))

OVERVIEW: Final = Page(
    "mbo-overview", "mbo: overview", "The feed and its books: how fast, how late, how sound.",
    [
        ("Now", [
            number("Connected", "1 while the gateway is connected.", f"min(mbo_feed_connected{ME})"),
            number("May be behind", "Servers with a book that may be behind the exchange's.", f"sum(mbo_feed_stale{ME})",
                   bounds=(None, 1)),
            number("Alerts", "Alerts that fire.", 'count(ALERTS{alertstate="firing"}) or vector(0)', bounds=(1, 2)),
            number("Messages", "Records applied, a second.", rate("mbo_messages_total"), "cps"),
            number("Late, p99", "99 % of the messages are applied within this time of being sent or due.",
                   quantile(0.99, "mbo_latency_seconds"), "s", bounds=(0.01, 0.05)),
            Panel("Books", "Instruments with a book, and those whose book is whole: it has seen a clear or a snapshot.", "short",
                  [Query(f"sum(mbo_books{ME})", "books"), Query(f"sum(mbo_books_synced{ME})", "whole")], kind="number", width=4),
        ]),
        ("The stream", [
            Panel("Messages", "Records, and events of them, applied a second.", "cps",
                  [Query(rate("mbo_messages_total"), "messages"), Query(rate("mbo_events_total"), "events")]),
            Panel("Messages a batch", "How much work is done at once: it grows with the load, and with what waits.", "short",
                  [Query(f"{rate('mbo_messages_total')} / {rate('mbo_batches_total')}", "messages a batch")]),
            Panel("Orders", "Orders that rest in all books.", "short", [Query(f"sum(mbo_orders{ME})", "orders")]),
        ]),
        ("How late", [
            Panel("Latency", "From when a record was sent or due to when it was applied.", "s",
                  [Query(quantile(share, "mbo_latency_seconds"), name) for share, name in PERCENTILES], bounds=(None, 0.01)),
            Panel("Latency, all of it", "How many messages took how long.", "s",
                  [Query(rate("mbo_latency_seconds_bucket", "le"), "{{le}}")], kind="heat"),
            Panel("Lag behind the feed", "The latest message since the last scrape; how long ago the last batch was applied.", "s",
                  [Query(f"max(mbo_feed_lag_seconds{ME})", "the latest message"),
                   Query(f"time() - max(mbo_feed_last_batch_timestamp_seconds{ME})", "since the last batch")]),
        ]),
        ("What goes wrong", [
            Panel("Gaps, lost connections", "Places where records are missing, and connections after the first.", "short",
                  [Query(counted("mbo_feed_gaps_total"), "gaps"), Query(counted("mbo_feed_reconnects_total"), "lost connections"),
                   Query(counted("mbo_feed_slow_warnings_total"), "called slow")]),
            Panel("Anomalies", "Records that broke a rule of the book, by the rule.", "short",
                  [Query(counted("mbo_anomalies_total", "rule"), "{{rule}}")]),
            Panel("Came twice", "Records that came again after a lost connection and were left out.", "short",
                  [Query(counted("mbo_messages_repeated_total"), "left out")]),
        ]),
        ("Objectives (docs/slo.md)", [
            Panel("How fast the budgets go", "1 uses a budget up in 30 days; from 14.4 over an hour on somebody is woken.", "short",
                  [Query(f"mbo:slo_burn:1h{ME}", "{{slo}}, an hour"), Query(f"mbo:slo_burn:6h{ME}", "{{slo}}, six hours")],
                  width=12, bounds=(1, 14.4)),
            Panel("What was bad", "Its share, over an hour.", "percentunit", [Query(f"mbo:slo_errors:ratio1h{ME}", "{{slo}}")],
                  width=12),
        ]),
        ("The process", [
            Panel("Processor", "Cores in use.", "short", [Query(rate("process_cpu_seconds_total", "instance"), "{{instance}}")]),
            Panel("Memory", "Resident.", "bytes", [Query(f"process_resident_memory_bytes{ME}", "{{instance}}")]),
            Panel("Figures that could not be read", "Other panels are blind while there are any.", "short",
                  [Query(counted("mbo_scrape_failures_total", "source"), "{{source}}")]),
        ]),
    ],
)  # fmt: skip

API: Final = Page(
    "mbo-api", "mbo: API", "REST and WebSocket: who asks, what is answered, how fast; who listens, what they get.",
    [
        ("REST", [
            Panel("Requests", "Answered a second, by route.", "reqps",
                  [Query(rate("mbo_http_requests_total", "route"), "{{route}}")]),
            Panel("Answers", "A second, by status.", "reqps",
                  [Query(rate("mbo_http_requests_total", "status"), "{{status}}")]),
            Panel("Errors of our own", "Share of the answers that are 5xx; what probes are told is left out.", "percentunit",
                  [Query('mbo:slo_errors:ratio5m{instance=~"$instance", slo="refused"}', "errors")], bounds=(0.001, 0.01)),
            Panel("Time to the end of the answer", "Of all routes together.", "s",
                  [Query(quantile(share, "mbo_http_request_seconds"), name) for share, name in PERCENTILES]),
            Panel("Time to the end of the answer, p99", "By route.", "s",
                  [Query(quantile(0.99, "mbo_http_request_seconds", "route"), "{{route}}")]),
            Panel("Waiting for the store", "Questions that wait for the store.", "short",
                  [Query('sum(mbo_queue_length{instance=~"$instance", queue="store"})', "questions")]),
        ]),
        ("WebSocket", [
            Panel("Clients", "Connected.", "short", [Query(f"sum(mbo_clients{ME})", "clients")]),
            Panel("Updates", "Sent to all clients together, and left out for a newer one, a second.", "cps",
                  [Query(rate("mbo_client_updates_total"), "sent"),
                   Query(rate("mbo_client_updates_conflated_total"), "conflated")]),
            Panel("Clients let go", "Because they read nothing, or gave no sign of life.", "short",
                  [Query(f"{counted('mbo_clients_dropped_total')} or vector(0)", "let go")]),
            Panel("Bytes", "Of updates, to all clients together.", "Bps", [Query(rate("mbo_client_bytes_total"), "bytes")]),
            Panel("Bytes that wait", "What clients have not taken yet: more than a message for each is never kept.", "bytes",
                  [Query(f"sum(mbo_client_waiting_bytes{ME})", "bytes")]),
            Panel("Share that was conflated", "Of the updates that were due: how much faster books change than clients read.",
                  "percentunit",
                  [Query(f"{rate('mbo_client_updates_conflated_total')} / "
                         f"({rate('mbo_client_updates_total')} + {rate('mbo_client_updates_conflated_total')})", "conflated")]),
        ]),
    ],
)  # fmt: skip

STORE: Final = Page(
    "mbo-store", "mbo: store", "The recorder between the stream and the database.",
    [
        ("Now", [
            number("Takes rows", "0 while the store does not.", f"min(mbo_store_writable{ME})"),
            number("Rows", "Stored in this session.", f"sum(mbo_store_rows_total{ME})"),
            number("Behind the stream", "How long the rows that wait would take at the present rate.",
                   f"sum(mbo_recorder_waiting_rows{ME}) / ({rate('mbo_store_rows_total')} > 0)", "s", bounds=(5, 30)),
            number("Buffer in use", "Rows that wait, as a share of those that may.",
                   f"max(mbo_recorder_waiting_rows{ME} / mbo_recorder_buffer_rows{ME})", "percentunit", bounds=(0.25, 0.5)),
            number("Longest flush", "Since the start.", f"max(mbo_store_longest_flush_seconds{ME})", "s"),
            number("Failures", "Tries at a flush that the store did not take, since the start.",
                   f"sum(mbo_store_flush_failures_total{ME})", bounds=(1, 10)),
        ]),
        ("Rows", [
            Panel("Rows", "Received and stored, a second.", "cps",
                  [Query(rate("mbo_messages_total"), "received"), Query(rate("mbo_store_rows_total"), "stored")]),
            Panel("Time of a flush", "On average.", "s",
                  [Query(f"{rate('mbo_store_flush_seconds_total')} / {rate('mbo_store_flushes_total')}", "flush")]),
            Panel("Rows a flush", "On average.", "short",
                  [Query(f"{rate('mbo_store_rows_total')} / {rate('mbo_store_flushes_total')}", "rows")]),
        ]),
        ("What waits", [
            Panel("Rows that wait", "And how many may: then the stream is held up, and nothing is dropped.", "short",
                  [Query(f"sum(mbo_recorder_waiting_rows{ME})", "wait"), Query(f"sum(mbo_recorder_buffer_rows{ME})", "may wait")]),
            Panel("Held up", "Share of the time in which the stream was held up by the store.", "percentunit",
                  [Query(rate("mbo_recorder_waited_seconds_total"), "of the time")]),
            Panel("Failures, waits", "Flushes that failed, and times that the stream was held up.", "short",
                  [Query(counted("mbo_store_flush_failures_total"), "failures"),
                   Query(counted("mbo_recorder_waits_total"), "waits")]),
        ]),
    ],
)  # fmt: skip

PAGES: Final = {"overview": OVERVIEW, "api": API, "store": STORE}


def drawn(panel: Panel, identity: int) -> stat.Panel | timeseries.Panel | heatmap.Panel:
    """Build a panel of its kind."""
    made = {"number": stat.Panel, "lines": timeseries.Panel, "heat": heatmap.Panel}[panel.kind]()
    made.id(identity).title(panel.title).description(panel.meaning).datasource(SOURCE).unit(panel.unit)
    made.span(panel.width).height(4 if panel.kind == "number" else 8)
    if panel.least is not None:
        made.min(panel.least)
    for place, query in enumerate(panel.queries):
        target = prometheus.Dataquery().expr(query.expr).ref_id(chr(ord("A") + place)).datasource(SOURCE)
        target = target.instant() if panel.kind == "number" else target.range()
        if query.legend:
            target.legend_format(query.legend)
        if panel.kind == "heat":
            target.format(PromQueryFormat.HEATMAP)
        made.with_target(target)
    if panel.bounds is not None:
        made.thresholds(_bounds(*panel.bounds))
    if isinstance(made, heatmap.Panel):
        made.y_axis(heatmap.YAxisConfig().unit(panel.unit)).unit(
            "cps"
        )  # the unit of the axis, and of what a cell counts
    elif isinstance(made, timeseries.Panel):
        made.fill_opacity(8).line_width(1)
        made.legend(
            common.VizLegendOptions()
            .show_legend(True)
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
        )
        made.tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    elif isinstance(made, stat.Panel):
        made.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        made.color_mode(BigValueColorMode.VALUE if panel.bounds is not None else BigValueColorMode.NONE)
    return made


def _bounds(warn: float | None, bad: float) -> ThresholdsConfig:
    steps = [Threshold(value=None, color=GOOD)]
    steps += [] if warn is None else [Threshold(value=warn, color=WARN)]
    return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps([*steps, Threshold(value=bad, color=BAD)])


def dashboard(page: Page) -> str:
    """Build a page, as the text of its file."""
    made = (
        Dashboard(page.title).uid(page.uid).description(page.meaning).tags(["mbo"]).readonly().timezone("utc")
        .refresh("10s").time("now-30m", "now").tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(_instances())
        .link(DashboardLink("mbo").type(DashboardLinkType.DASHBOARDS).tags(["mbo"]).include_vars(True).keep_time(True))
    )  # fmt: skip
    identities = itertools.count(1)
    for title, panels in page.rows:
        made.with_row(Row(title).id(next(identities)))
        for panel in panels:
            made.with_panel(drawn(panel, next(identities)))
    return json.dumps(made.build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def _instances() -> QueryVariable:
    return (
        QueryVariable("instance").label("Server").datasource(SOURCE)
        .query("label_values(mbo_build_info, instance)").refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(True).include_all(True).all_value(".+").current(VariableOption(selected=True, text=["All"], value=["$__all"]))
    )  # fmt: skip


def write(folder: Path) -> Iterable[Path]:
    """Write all pages into a folder; gives their files."""
    for name, page in PAGES.items():
        path = folder / f"{name}.json"
        path.write_text(dashboard(page), encoding="utf-8")
        yield path


if __name__ == "__main__":
    for written in write(Path(sys.argv[1]) if sys.argv[1:] else Path(__file__).parent / "dashboards"):
        print(written)
