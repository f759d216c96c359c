"""The ladder, as a person sees it."""

from __future__ import annotations

import re

import pytest

from mbo.book import Book, ReferenceBook
from mbo.book.render import bbo_text, headline, ladder_text
from tests.book.tapes import LAST, TOB, tape

pytestmark = pytest.mark.nojit

LADDER = """\
SIM1  1970-01-01T00:00:00.000001104Z  4 orders
 orders                   bid size     price      ask size                   orders
                                        1.03      2         ████             1
                                        1.01      8         ████████████████ 1
      2   ██████████████         7      1.00
"""


@pytest.fixture(params=[Book, ReferenceBook])
def book(request):
    book = request.param(symbol="SIM1")
    book.apply(tape("R 0 N - 0", "A 1 A 101 8", "A 2 A 103 2", "A 3 B 100 5", "A 4 B 100 2"))
    return book


def test_the_ladder_has_asks_on_top_and_the_best_in_the_middle(book):
    assert ladder_text(book) + "\n" == LADDER
    assert str(book) == ladder_text(book)


def test_depth_limits_each_side(book):
    assert "1.03" not in ladder_text(book, 1)
    assert "1.01" in ladder_text(book, 1)


def test_the_headline_says_what_is_wrong_with_a_book():
    book = Book()
    assert headline(book) == "0  no records  0 orders  (not synced: orders from before the data are missing)"
    book.apply(tape("A 1 B 100 5 0", "A 2 A 99 5 4"))
    for words in ("not synced", "suspect: a gap, or inferred", "crossed", "inside an event"):
        assert words in headline(book)
    book.apply(tape("R 0 N - 0"))
    assert headline(book) == "7  1970-01-01T00:00:00.000001100Z  0 orders"


def test_an_empty_book_and_a_top_of_book_feed_draw_too():
    book = Book()
    assert len(ladder_text(book).splitlines()) == 2
    assert bbo_text(book) == ("-", "-")
    book.apply(tape(f"A 0 B 100 5 {TOB | LAST}"))
    assert bbo_text(book) == ("1 x 5 (-)", "-")


def test_reprs_are_one_true_line(book):
    assert repr(book) == f"<{type(book).__name__} SIM1 4 orders>"
    assert repr(book.levels("bid")) == "Levels(1 rows)"
    assert repr(book.orders()) == "Orders(4 rows)"


def test_levels_and_orders_draw_themselves(book):
    html = book.orders("bid")._repr_html_()
    assert re.findall(r"<th>(\w+)</th>", html) == ["order_id", "side", "price", "size", "queue_ahead", "ts_event"]
    assert re.findall(r"<td>(.*?)</td>", html)[:5] == ["3", "B", "1", "5", "0"]
    assert "<caption>" not in html


def test_levels_and_orders_are_arrow_tables(book):
    import polars as pl
    import pyarrow as pa

    frame = pl.DataFrame(book.levels("ask"))
    assert frame.schema == {"price": pl.Int64, "size": pl.UInt64, "count": pl.UInt32}
    assert frame.rows() == [tuple(level) for level in book.levels("ask")]
    table = pa.table(book.orders())
    assert table.column_names == ["order_id", "side", "price", "size", "queue_ahead", "ts_event"]
    assert table["side"].to_pylist() == ["B", "B", "A", "A"]
    assert str(book.levels("ask").arrow(px="decimal")["price"][0]) == "1.010000000"


def test_rows_behave_as_sequences(book):
    asks = book.levels("ask")
    assert asks[-1] == asks[1]
    assert asks[:1] == book.levels("ask", 1)
    assert asks[::-1][0] == asks[1]
    assert asks != book.orders()
    with pytest.raises(IndexError):
        asks[2]
    with pytest.raises(ValueError, match="read-only"):
        asks.array["size"] = 0
