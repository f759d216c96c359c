"""A report for people: tables on the terminal, and the same in HTML without scripts for notebooks."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING, Final

from mbo.verification.rules import CLASSES, WITNESSES, WRONG_RULES

if TYPE_CHECKING:
    from mbo.verification.report import Report

Row = tuple[str, ...]
Table = tuple[str, Row, list[Row]]
"""Title, head and rows."""

_EQUAL: Final = {
    "venue": "loses its place on GLBX.MDP3 and keeps it elsewhere",
    "loses": "loses its place",
    "keeps": "keeps its place",
}


def text(report: Report) -> str:
    """Write the tables as text, then every unexplained exception that was kept with its event."""
    lines = [headline(report)]
    for title, head, rows in tables(report):
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        lines += ["", title] if title else [""]
        for row in (head, *rows):
            cells = zip(row, widths, strict=True)
            lines.append("  ".join(_aligned(cell, width) for cell, width in cells).rstrip())
    lines += [f"\n{finding}" for finding in report.findings("")]
    if report.reference is not None:
        lines.append(f"\n{report.reference}")
    return "\n".join(lines)


def html(report: Report) -> str:
    """Draw the same as HTML tables."""
    parts = [f"<p><b>{escape(headline(report))}</b></p>"]
    for title, head, rows in tables(report):
        names = "".join(f'<th style="text-align:left">{escape(cell)}</th>' for cell in head)
        body = "".join(f"<tr>{''.join(map(_html_cell, row))}</tr>" for row in rows)
        caption = f'<caption style="text-align:left">{escape(title)}</caption>' if title else ""
        parts.append(f"<table>{caption}<tr>{names}</tr>{body}</table>")
    parts += [f"<pre>{escape(str(finding))}</pre>" for finding in report.findings("")]
    if report.reference is not None:
        parts.append(report.reference._repr_html_())
    return "".join(parts)


def headline(report: Report) -> str:
    """Say in one line what was found, in what, and which convention was taken."""
    books = "1 book" if report.books == 1 else f"{report.books:,} books"
    seen = f"{report.records:,} records, {report.events:,} events, {books}"
    seen += f", {report.unfinished:,} records of unfinished events" if report.unfinished else ""
    return f"{report.name}: {report.verdict} ({seen}; an M of equal size {_EQUAL[report.equal_size]})"


def tables(report: Report) -> Iterator[Table]:
    """Give the tables: the rules, the fills, the wrong rules, and what the classes mean that were met."""
    rows: list[Row] = [
        (
            one.rule.name, f"{one.checked:,}", f"{one.held:,}",
            ", ".join(f"{why} {count:,}" for why, count in one.explained.items()) or "-",
            f"{one.unexplained:,}", percent(one.rule.tolerance), one.rule.sentence,
        )
        for one in report.rules
    ]  # fmt: skip
    yield "", ("rule", "checked", "held", "explained", "unexplained", "tolerated", "what it says"), rows
    if report.fills.count:
        yield _fills(report)
    if report.power and report.power[0].checked:
        yield _power(report)
    met = {why for one in report.rules for why in one.explained}
    if met:
        yield "Why an exception is none", ("class", ""), [(why, CLASSES[why]) for why in CLASSES if why in met]


def _fills(report: Report) -> Table:
    fills = report.fills
    rows: list[Row] = [
        ("front", f"{fills.front:,}", WITNESSES["front"]),
        ("in turn", f"{fills.in_turn:,}", WITNESSES["in_turn"]),
        *((why, f"{count:,}", CLASSES[why]) for why, count in fills.explained.items()),
        ("unexplained", f"{fills.unexplained:,}", ""),
    ]
    title = f"{fills.count:,} fills as witnesses of price-time priority: {percent(fills.share)} accounted for"
    return title, ("the order filled", "fills", ""), rows


def _power(report: Report) -> Table:
    rows: list[Row] = [
        (
            one.name, percent(one.right_share), percent(one.explained_share), f"{one.unexplained:,}", f"{one.refuted:,}",
            f"{one.alone:,}", WRONG_RULES[one.name],
        )
        for one in report.power
    ]  # fmt: skip
    asked = report.power[0].checked
    title = (
        f"Rules that are wrong on purpose, asked about the {asked:,} fills of orders that were not alone at their price"
    )
    head = (
        "rule of priority",
        "right",
        "or explained",
        "unexplained",
        "only the first is right",
        "only this is right",
        "",
    )
    return title, head, rows


def percent(share: float) -> str:
    """Write a share in percent, cut, not rounded: 100 % is all of them."""
    return f"{int(share * 10_000) / 100:.2f} %"


def _aligned(cell: str, width: int) -> str:
    return cell.rjust(width) if cell[:1].isdigit() else cell.ljust(width)


def _html_cell(cell: str) -> str:
    return f'<td style="text-align:{"right" if cell[:1].isdigit() else "left"}">{escape(cell)}</td>'
