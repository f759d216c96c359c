"""The page: ladder above, charts below, what was chosen in its address. Run it with `panel serve dashboard/app.py`."""

from __future__ import annotations

from typing import Any

import panel as pn

from dashboard import source
from dashboard.charts import COLOURS, EVERY_MS, Charts
from mbo.errors import MboError
from mbo.view import Broadcast, Ladder

STYLE = """
:root { color-scheme: dark light }
body { margin: 0 }
h1.mbo { position: absolute; left: -9999px }
"""


def page() -> None:
    """Lay out one session's page."""
    pn.extension(raw_css=[STYLE])
    try:
        program = source.program()
        state = chosen()
        known = state.get("symbol") in program.symbols
        ladder = Ladder(
            program, symbol=state["symbol"] if known else None, state=state,
            theme="light" if state.get("theme") == "light" else "dark",
            whole_page=True, sizing_mode="stretch_both", styles={"height": "calc(100vh - 170px)", "min-height": "560px"},
        )  # fmt: skip
    except (MboError, OSError) as error:
        pn.pane.Alert(f"{error} Load the page again to try once more.", alert_type="danger").servable(title="mbo")
        return
    charts = Charts(ladder.viewer, ladder.theme, live=isinstance(program, Broadcast))
    layout = pn.Column(
        pn.pane.HTML('<h1 class="mbo">mbo order book</h1>', height=0, margin=0),
        ladder,
        pn.pane.Bokeh(charts.layout, sizing_mode="stretch_width", margin=0),
        sizing_mode="stretch_width",
        margin=0,
        styles=paper(ladder.theme),
    ).servable(title="mbo")

    def follow(event: Any) -> None:
        remember(event.new)
        theme = "light" if event.new.get("theme") == "light" else "dark"
        if layout.styles != paper(theme):
            layout.styles = paper(theme)
            charts.dress(theme)

    ladder.param.watch(follow, "state")
    if pn.state.curdoc is not None:
        pn.state.curdoc.add_periodic_callback(charts.update, EVERY_MS)


def paper(theme: str) -> dict[str, str]:
    """Give the page's ground."""
    return {"background": COLOURS[theme]["paper"], "min-height": "100vh"}


def chosen() -> dict[str, object]:
    """Read what an address says was chosen."""
    wanted = pn.state.location.query_params if pn.state.location else {}
    return {name: value for name, value in wanted.items() if isinstance(value, str | int | float | bool)}


def remember(state: dict[str, object]) -> None:
    """Write what was chosen into the page's address."""
    if pn.state.location:
        plain = {name: value for name, value in state.items() if isinstance(value, str | int | float)}
        pn.state.location.update_query(**plain)


page()
