"""The ladder as a picture for notebooks: our own SVG, without scripts, fonts or a network, the same bytes for the same book.

It has its own background, so that it can be read on a light page and on a dark one. A side is told by its columns, by the arrow
and by the colour: blue and orange, which tell apart for every kind of colour sight.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from itertools import accumulate
from typing import TYPE_CHECKING, Final, NamedTuple

from mbo.book.render import LADDER_DEPTH, bbo_text, best_levels, count_text, doubts, standing

if TYPE_CHECKING:
    from mbo.book.interface import L3Book

_COLUMNS: Final = ("cumulative", "orders", "bid size", "price", "ask size", "orders", "cumulative")
_BID_SIZE, _PRICE, _ASK_SIZE = 2, 3, 4
_BAR_PX: Final = 120
_ROW_PX: Final = 20
_CHARACTER_PX: Final = 8  # of 12 px and fixed width, with a reserve for another font
_GAP_PX: Final = 6
_ARROW_PX: Final = 16

_PAPER, _INK, _PALE = "#ffffff", "#1b1f24", "#57606a"


class _Look(NamedTuple):
    bar: str
    inside: str
    arrow: str
    up: bool


_BID: Final = _Look("#a5cdf5", "#e4f1ff", "#0a5cab", True)
_ASK: Final = _Look("#fac993", "#fff1e0", "#a34a00", False)


class _Row(NamedTuple):
    look: _Look
    cells: tuple[str, ...]
    bar: int  # px
    inside: bool


def ladder_svg(book: L3Book, depth: int = LADDER_DEPTH) -> str:
    """Draw the best `depth` levels of each side, asks on top, the best of each side nearest the middle and highlighted.

    Each row has its size with a bar, the count of its orders and the cumulative depth from the best level to it. The title says
    how the book stands, the description its best bid and ask.
    """
    rows = _rows(book, depth)
    title, notes = standing(book), doubts(book)
    widths = [
        max(len(cell) for cell in column) * _CHARACTER_PX + 2 * _GAP_PX
        for column in zip(_COLUMNS, *(row.cells for row in rows), strict=True)
    ]
    widths[_PRICE] += 2 * _ARROW_PX
    for column in (_BID_SIZE, _ASK_SIZE):
        widths[column] = max(widths[column], _BAR_PX)
    edges = list(accumulate(widths, initial=0))
    above = (2 + len(notes)) * _ROW_PX  # the title, what there is to doubt, the names of the columns
    width = max(edges[-1], max(map(len, (title, *notes))) * _CHARACTER_PX + 2 * _GAP_PX)
    height = above + len(rows) * _ROW_PX + _GAP_PX
    bid, ask = bbo_text(book)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" style="max-width:100%;height:auto">',
        f"<title>{_written(title)}</title><desc>best bid {_written(bid)}, best ask {_written(ask)}</desc>",
        f'<rect width="{width}" height="{height}" fill="{_PAPER}"/>',
        f'<g font-family="monospace" font-size="12" fill="{_INK}">',
        f'<text x="{_GAP_PX}" y="{_base(0)}" font-weight="bold">{_written(title)}</text>',
        *(f'<text x="{_GAP_PX}" y="{_base(number * _ROW_PX)}">{note}</text>' for number, note in enumerate(notes, 1)),
        f'<g fill="{_PALE}">{"".join(_texts(_COLUMNS, edges, above - _ROW_PX))}</g>',
        *(_drawn(row, edges, above + number * _ROW_PX) for number, row in enumerate(rows)),
        "</g></svg>",
    ]
    return "\n".join(parts)


def _rows(book: L3Book, depth: int) -> list[_Row]:
    bids, asks, write, largest = best_levels(book, depth)
    rows: dict[_Look, list[_Row]] = {_BID: [], _ASK: []}
    for look, levels in ((_BID, bids), (_ASK, asks)):
        cumulative = accumulate(level.size for level in levels)
        for number, (level, total) in enumerate(zip(levels, cumulative, strict=True)):
            cells = (f"{total:,}", count_text(level), f"{level.size:,}", write(level), "", "", "")
            bar = max(1, level.size * _BAR_PX // largest)
            rows[look].append(_Row(look, cells if look is _BID else cells[::-1], bar, number == 0))
    return [*reversed(rows[_ASK]), *rows[_BID]]


def _drawn(row: _Row, edges: list[int], top: int) -> str:
    look, side = row.look, "bid" if row.look is _BID else "ask"
    parts = [f'<g data-side="{side}"' + (' data-inside="" font-weight="bold">' if row.inside else ">")]
    if row.inside:
        parts.append(f'<rect y="{top}" width="{edges[-1]}" height="{_ROW_PX}" fill="{look.inside}"/>')
    left = edges[_PRICE] - row.bar if look.up else edges[_ASK_SIZE]
    parts.append(f'<rect x="{left}" y="{top + 2}" width="{row.bar}" height="{_ROW_PX - 4}" fill="{look.bar}"/>')
    # The arrow stands between the price and its side's size.
    point = edges[_PRICE] + _GAP_PX if look.up else edges[_ASK_SIZE] - _GAP_PX - 8
    begin, rise = (top + 14, -8) if look.up else (top + 6, 8)
    parts.append(f'<path d="M{point} {begin}h8l-4 {rise}z" fill="{look.arrow}"/>')
    return "".join([*parts, *_texts(row.cells, edges, top), "</g>"])


def _texts(cells: tuple[str, ...], edges: list[int], top: int) -> Iterator[str]:
    """Write the cells of a row: bids end, asks begin at the edge towards the price, which is in the middle."""
    for column, text in enumerate(cells):
        if not text:
            continue
        if column == _PRICE:
            place, anchor = (edges[column] + edges[column + 1]) // 2, "middle"
        elif column < _PRICE:
            place, anchor = edges[column + 1] - _GAP_PX, "end"
        else:
            place, anchor = edges[column] + _GAP_PX, "start"
        yield f'<text x="{place}" y="{_base(top)}" text-anchor="{anchor}">{text}</text>'


def _base(top: int) -> int:
    return top + 14


def _written(text: str) -> str:
    """Write text as XML, which has no place for control characters."""
    return escape("".join(one if one.isprintable() else "\ufffd" for one in text))
