"""Small charts beside the ladder: spread, mid, order-flow imbalance, throughput and latency over the last minutes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from bokeh.layouts import gridplot
from bokeh.models import ColumnDataSource, DatetimeTickFormatter
from bokeh.plotting import figure

if TYPE_CHECKING:
    from mbo.view import Viewer

EVERY_MS = 500
KEPT = 600  # points: five minutes
COLOURS = {
    "dark": {
        "paper": "#0b0e14",
        "ink": "#9aa4b2",
        "grid": "#1c2330",
        "one": "#5aa9f0",
        "two": "#f5a04f",
        "three": "#c9d1d9",
    },
    "light": {
        "paper": "#ffffff",
        "ink": "#4a5361",
        "grid": "#e3e7ee",
        "one": "#1f6fb8",
        "two": "#b35900",
        "three": "#333b47",
    },
}
CHARTS = {
    "mid": ("Mid price", ["mid"]),
    "spread": ("Spread (ticks)", ["spread"]),
    "flow": ("Order-flow imbalance (sum)", ["flow"]),
    "rate": ("Messages a second", ["rate"]),
    "latency": ("Latency p50 p99 p99.9 (µs)", ["p50", "p99", "p999"]),
}


class Charts:
    """Bokeh figures that `update` streams one point to, over the time shown: a replay's charts are the day's."""

    def __init__(self, viewer: Viewer, theme: str, *, live: bool) -> None:
        self._viewer = viewer
        names = [name for _, series in CHARTS.values() for name in series]
        self._source = ColumnDataSource({"time": [], **{name: [] for name in names}})
        self._seen: Any = None
        self._figures = [self._figure(name) for name in CHARTS if live or name != "latency"]
        self.dress(theme)
        self.layout = gridplot([self._figures], toolbar_location=None, sizing_mode="stretch_width", merge_tools=False)

    def _figure(self, name: str) -> Any:
        title, series = CHARTS[name]
        chart = figure(
            title=title, height=150, min_width=200, sizing_mode="stretch_width", x_axis_type="datetime", tools="",
            outline_line_color=None,
        )  # fmt: skip
        chart.toolbar.logo = None
        chart.toolbar_location = None
        chart.title.text_font_size = "12px"
        chart.axis.major_tick_line_color = chart.axis.minor_tick_line_color = None
        chart.xaxis.formatter = DatetimeTickFormatter(seconds="%H:%M:%S", minsec="%H:%M:%S", minutes="%H:%M")
        chart.xaxis.ticker.desired_num_ticks = 3
        for one in series:
            chart.step("time", one, source=self._source, mode="after", line_width=1.5)
        return chart

    def dress(self, theme: str) -> None:
        """Give them the colours of a theme."""
        colours = COLOURS[theme]
        for chart in self._figures:
            chart.background_fill_color = chart.border_fill_color = colours["paper"]
            chart.title.text_color = colours["ink"]
            chart.grid.grid_line_color = colours["grid"]
            chart.axis.major_label_text_color = chart.axis.axis_line_color = colours["ink"]
            for line, name in zip(chart.renderers, ("one", "two", "three"), strict=False):
                line.glyph.line_color = colours[name]

    def update(self) -> None:
        """Add the viewer's present; after a jump in time the charts begin anew."""
        now = {name: math.nan if value is None else value for name, value in self._viewer.figures().items()}
        if math.isnan(now["mid"]) and not self._source.data["time"]:
            return  # an axis that began at nothing would show nothing else
        if now["time"] == (self._seen or {}).get("time"):
            return
        if self._seen is not None and not self._seen["time"] <= now["time"] and self._source.data["time"]:
            self._source.data = {name: [] for name in self._source.data}
        self._seen = now
        self._source.stream({name: [now[name]] for name in self._source.data}, rollover=KEPT)
