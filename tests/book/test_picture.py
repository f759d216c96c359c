"""The ladder as SVG: well-formed, the book's own numbers, told by column, arrow and colour, readable on any page."""

from __future__ import annotations

import re
from itertools import accumulate, pairwise
from xml.etree import ElementTree as ET

import pytest

from mbo.book import Book, ReferenceBook
from mbo.book.picture import ladder_svg
from mbo.book.render import doubts, standing
from mbo.units import format_price
from tests.book.tapes import LAST, TOB, tape

pytestmark = pytest.mark.nojit

SVG = "{http://www.w3.org/2000/svg}"
NORMAL_TEXT = 4.5  # contrast, WCAG 2.2, 1.4.3
GRAPHICS = 3.0  # and 1.4.11


@pytest.fixture(params=[Book, ReferenceBook])
def book(request):
    """
    1.03   2
    1.01   8 | 1,200 (two orders)
    1.00   5 2
    0.99   4
    """
    book = request.param(symbol="SIM1")
    book.apply(tape("R 0 N - 0", "A 1 A 101 8", "A 6 A 101 1200", "A 2 A 103 2"))
    book.apply(tape("A 3 B 100 5", "A 4 B 100 2", "A 5 B 99 4"))
    return book


def drawn(book, depth=10):
    return ET.fromstring(ladder_svg(book, depth))


def rows(picture, side):
    return [row for row in picture.iter(f"{SVG}g") if row.get("data-side") == side]


def cells(row):
    return [text.text for text in row.iter(f"{SVG}text")]


def expected(book, side, depth=10):
    levels = book.levels(side, depth)
    for level, total in zip(levels, accumulate(level.size for level in levels), strict=True):
        found = [f"{total:,}", f"{level.count:,}", f"{level.size:,}", format_price(level.price, 2)]
        yield found if side == "bid" else found[::-1]


def test_rows_have_the_books_numbers(book):
    picture = drawn(book)
    assert [cells(row) for row in rows(picture, "bid")] == list(expected(book, "bid"))
    assert [cells(row) for row in rows(picture, "ask")] == list(expected(book, "ask"))[::-1]
    assert cells(rows(picture, "ask")[0]) == ["1.03", "2", "1", "1,210"]
    assert cells(rows(picture, "bid")[1]) == ["11", "1", "4", "0.99"]


def test_rows_stand_in_the_order_of_their_prices(book):
    tops = [[int(next(row.iter(f"{SVG}text")).get("y")) for row in rows(drawn(book), side)] for side in ("ask", "bid")]
    below = [y for side in tops for y in side]
    assert below == sorted(set(below))


def test_depth_limits_each_side(book):
    picture = drawn(book, 1)
    assert [cells(row) for side in ("ask", "bid") for row in rows(picture, side)] == [
        ["1.01", "1,208", "2", "1,208"],
        ["7", "2", "7", "1.00"],
    ]


def bars(book, side):
    """Where the bars of a side begin, and how long they are."""
    found = [row.findall(f"{SVG}rect")[-1] for row in rows(drawn(book), side)]
    return [int(bar.get("x")) for bar in found], [int(bar.get("width")) for bar in found]


def test_bars_are_as_long_as_sizes(book):
    assert [bars(book, side)[1] for side in ("ask", "bid")] == [[1, 120], [1, 1]], "what is there is seen"
    book.apply(tape("C 6 A 101 1200"))
    assert [bars(book, side)[1] for side in ("ask", "bid")] == [[30, 120], [105, 60]]


def test_bars_grow_away_from_the_price(book):
    book.apply(tape("C 6 A 101 1200"))
    price = int(rows(drawn(book), "bid")[0].findall(f"{SVG}text")[-1].get("x"))
    (end,) = {begin + length for begin, length in zip(*bars(book, "bid"), strict=True)}
    (begin,) = set(bars(book, "ask")[0])
    assert price - end == begin - price > 0


def test_a_side_is_told_by_columns_arrow_and_colour(book):
    picture = drawn(book)
    (price,) = {int(row.findall(f"{SVG}text")[-1].get("x")) for row in rows(picture, "bid")}
    seen = {}
    for side in ("bid", "ask"):
        for row in rows(picture, side):
            away = [int(text.get("x")) - price for text in row.iter(f"{SVG}text")]
            assert all(x <= 0 for x in away) if side == "bid" else all(x >= 0 for x in away)
        arrows = [row.find(f"{SVG}path") for row in rows(picture, side)]
        (colour,) = {arrow.get("fill") for arrow in arrows}
        (shape,) = {re.fullmatch(r"M\d+ \d+h8l-4 (-?)8z", arrow.get("d"))[1] for arrow in arrows}
        (bar,) = {row.findall(f"{SVG}rect")[-1].get("fill") for row in rows(picture, side)}
        seen[side] = shape, colour, bar
    assert (seen["bid"][0], seen["ask"][0]) == ("-", ""), "bids point up, asks down"
    for (red, _, blue), hue in ((rgb(seen["bid"][1]), "blue"), (rgb(seen["ask"][1]), "orange")):
        assert (blue > red) == (hue == "blue")
    assert len({*seen["bid"], *seen["ask"]}) == 6


def test_only_the_best_of_each_side_is_highlighted(book):
    picture = drawn(book)
    for side, inside in (("bid", [True, False]), ("ask", [False, True])):
        assert [row.get("data-inside") is not None for row in rows(picture, side)] == inside
        assert [len(row.findall(f"{SVG}rect")) for row in rows(picture, side)] == [1 + one for one in inside]


def rgb(colour):
    return [int(colour[at : at + 2], 16) for at in (1, 3, 5)]


def contrast(one, other):
    """Contrast of two colours as WCAG 2.2 defines it: 1 to 21."""

    def luminance(colour):
        parts = [part / 255 for part in rgb(colour)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_it_brings_its_own_background_and_can_be_read_on_it(book):
    assert contrast("#000000", "#ffffff") == 21
    picture = drawn(book)
    paper = picture.find(f"{SVG}rect")
    assert (paper.get("width"), paper.get("height")) == (picture.get("width"), picture.get("height"))
    fills = {rect.get("fill") for rect in picture.iter(f"{SVG}rect")}
    assert len(fills) == 5
    (ink,) = {group.get("fill") for group in picture.findall(f"{SVG}g")}
    assert min(contrast(ink, fill) for fill in fills) > NORMAL_TEXT
    (pale,) = {group.get("fill") for group in picture.findall(f"{SVG}g/{SVG}g") if group.get("fill")}
    assert contrast(pale, paper.get("fill")) > NORMAL_TEXT
    arrows = {path.get("fill") for path in picture.iter(f"{SVG}path")}
    assert min(contrast(arrow, fill) for arrow in arrows for fill in fills) > GRAPHICS


def test_it_needs_no_script_and_no_network(book):
    text = ladder_svg(book).replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not re.search(r"<script|<style|<image|<use|\son\w+=|https?:|src=|href=|url\(|\bid=", text)


def test_it_is_the_same_bytes_again(book):
    other = (ReferenceBook if type(book) is Book else Book)(symbol="SIM1")
    other.apply(tape("R 0 N - 0", "A 1 A 101 8", "A 6 A 101 1200", "A 2 A 103 2"))
    for record in tape("A 3 B 100 5", "A 4 B 100 2", "A 5 B 99 4"):
        other.apply(record[None])
    assert ladder_svg(book) == ladder_svg(book) == book._repr_html_() == ladder_svg(other)
    other.apply(tape("C 5 B 99 1"))
    assert ladder_svg(book) != ladder_svg(other)


def test_its_headline_is_text_and_its_name(book):
    picture = drawn(book)
    assert picture.get("role") == "img"
    assert picture.find(f"{SVG}title").text == standing(book) == next(picture.iter(f"{SVG}text")).text
    assert picture.find(f"{SVG}desc").text == "best bid 1.00 x 7 (2), best ask 1.01 x 1,208 (2)"
    assert "4 orders" not in standing(book)
    assert "6 orders" in standing(book)


def test_what_there_is_to_doubt_is_said():
    book = Book(symbol="SIM1")
    book.apply(tape("A 1 B 100 5 0", "A 2 A 99 5 4"))
    texts = [text.text for text in drawn(book).iter(f"{SVG}text")]
    assert texts[1:5] == doubts(book)
    assert len(doubts(book)) == 4


def test_a_crossed_book_draws_both_sides():
    book = Book(symbol="SIM1")
    book.apply(tape("R 0 N - 0", "A 1 B 102 5", "A 2 A 101 3"))
    picture = drawn(book)
    assert "crossed" in [text.text for text in picture.iter(f"{SVG}text")]
    assert [cells(row) for row in rows(picture, "ask")] == [["1.01", "3", "1", "3"]]
    assert [cells(row) for row in rows(picture, "bid")] == [["5", "1", "5", "1.02"]]


def test_empty_and_one_sided_books_draw():
    book = Book(symbol="SIM1")
    picture = drawn(book)
    assert rows(picture, "bid") == rows(picture, "ask") == []
    assert picture.find(f"{SVG}desc").text == "best bid -, best ask -"
    book.apply(tape("R 0 N - 0", "A 1 A 101 3"))
    assert (len(rows(drawn(book), "bid")), len(rows(drawn(book), "ask"))) == (0, 1)
    top = ReferenceBook(symbol="SIM1")
    top.apply(tape(f"A 0 B 100 5 {TOB | LAST}"))
    assert [cells(row) for row in rows(drawn(top), "bid")] == [["5", "-", "5", "1"]]


@pytest.mark.parametrize("symbol", ["<script>alert(1)</script>", "A&B\"'<", "a\x00b\x1b\ud800", "W" * 200])
def test_a_hostile_symbol_is_text(symbol):
    picture = drawn(Book(symbol=symbol))
    title = picture.find(f"{SVG}title").text
    assert len(title) == len(standing(Book(symbol=symbol)))
    assert title.startswith("".join(one if one.isprintable() else "\ufffd" for one in symbol))
    assert {one.tag.removeprefix(SVG) for one in picture.iter()} == {"svg", "title", "desc", "rect", "g", "text"}
    assert int(picture.get("width")) > 7 * len(title)


def test_large_numbers_do_not_touch_their_neighbours():
    book = Book(symbol="SIM1")
    book.apply(tape("R 0 N - 0", *(f"A {n} B {-99_999_999_999 - n} 4000000000" for n in range(1, 10))))
    row = rows(drawn(book), "bid")[-1]
    ends = [(int(text.get("x")), len(text.text)) for text in row.iter(f"{SVG}text")]
    *left, price = ends
    for (before, _), (end, length) in pairwise(left):
        assert end - 7.3 * length > before
    assert price[0] - 7.3 * price[1] / 2 > left[-1][0] + 14, "the arrow has its place"
