"""Draw docs/scale.svg, how costs grow, from what `mbo bench scale --json` printed: `python docs/scale.py REPORT.json`."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final

import matplotlib as mpl
from matplotlib.figure import Figure

from mbo.bench.report import Earlier, read_report
from mbo.errors import RequestError
from mbo.files import replacing

PLACE: Final = Path(__file__).with_name("scale.svg")
_NAME: Final = re.compile(r"([\d,]+) (.*?)(: memory)?")
_SINGULAR: Final = {"instrument": "instruments", "client": "clients"}
_COLORS: Final = ("#1f5fa8", "#a8501f")
_STYLE: Final = {
    "svg.hashsalt": "mbo", "svg.fonttype": "none", "font.family": "sans-serif", "axes.spines.top": False,
    "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.3,
}  # fmt: skip

Curve = list[tuple[int, float, float, float]]
"""Size, median, least, most."""


def curves(report: Earlier) -> dict[str, tuple[Curve, Curve]]:
    """Take the rows of `scale` apart: what grows, and how time (ns a message) and memory (MB) grow with it.

    Raises:
        RequestError: There are none.
    """
    found: dict[str, tuple[Curve, Curve]] = {}
    for (suite, name), row in report.rows.items():
        if suite != "scale" or (parts := _NAME.fullmatch(name)) is None:
            continue
        what = _SINGULAR.get(parts[2], parts[2])
        point = int(parts[1].replace(",", "")), row["median"], row["min"], row["max"]
        found.setdefault(what, ([], []))[parts[3] is not None].append(point)
    if not found:
        raise RequestError(f"{report.path} has no rows of the suite `scale`")
    return found


def draw(found: dict[str, tuple[Curve, Curve]], machine: str) -> Figure:
    """Draw time above memory, a column for each thing that grows; all axes are logarithmic."""
    figure = Figure(figsize=(3.2 * len(found), 5.2), layout="constrained")
    axes = figure.subplots(2, len(found), sharex="col", sharey="row", squeeze=False)
    for column, (what, both) in enumerate(found.items()):
        for row, curve in enumerate(both):
            sizes, medians, least, most = zip(*sorted(curve), strict=True)
            place, color = axes[row][column], _COLORS[row]
            place.plot(sizes, medians, marker="o", markersize=4, color=color)
            place.fill_between(sizes, least, most, alpha=0.2, color=color)
            place.set_xscale("log")
            place.set_yscale("log")
            place.minorticks_off()
        axes[1][column].set_xlabel(what)
    axes[0][0].set_ylabel("ns a message")
    axes[1][0].set_ylabel("memory, MB")
    figure.suptitle(f"mbo bench scale, simulated sessions; {machine}", fontsize=9)
    return figure


def main(path: Path) -> None:
    """Write the picture, whole or not at all."""
    report = read_report(path)
    found = curves(report)
    with mpl.rc_context(_STYLE), replacing(PLACE) as file:
        draw(found, report.machine["processor"]).savefig(file, format="svg", metadata={"Date": None})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
