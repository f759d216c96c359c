"""Columns and trades of the past: what is in them, and that they do not grow."""

import numpy as np
import pytest

from mbo.book import Book
from mbo.records import Side
from mbo.simulator import simulate
from mbo.view.history import CELLS, History, picture, shade
from mbo.view.ticks import NONE, Ticks
from tests.book.tapes import TICK, tape

TICKS = Ticks(TICK)


def book(*lines: str) -> Book:
    made = Book()
    made.apply(tape("R", *lines))
    return made


def sizes(history: History, number: int) -> dict[int, int]:
    base = int(history.columns["base"][number])
    return {base + int(k): int(history.cells[number][k]) for k in np.flatnonzero(history.cells[number])}


def test_column_has_the_sizes_at_its_end():
    history = History(TICKS, 0, 100)
    history.capture(0, book("A 1 B 99 5", "A 2 B 99 6", "A 3 A 101 7", "A 4 B 90 1"))
    assert sizes(history, 0) == {90: 1, 99: 11, 101: -7}
    assert history.columns[["bid", "ask"]][0].tolist() == (99, 101)


def test_columns_without_events_are_like_the_last():
    history = History(TICKS, 0, 100)
    history.capture(2, book("A 1 B 99 5"))
    history.capture(6, book("A 1 B 99 8"))
    assert [sizes(history, number) for number in range(2, 7)] == [{99: 5}] * 4 + [{99: 8}]
    assert history.columns["number"][2:7].tolist() == [2, 3, 4, 5, 6]


def test_columns_before_the_first_are_empty_and_numbered():
    history = History(TICKS, 0, 100)
    history.capture(3, book("A 1 B 99 5"))
    assert history.columns["number"][:4].tolist() == [0, 1, 2, 3]
    assert history.columns["bid"][:4].tolist() == [NONE, NONE, NONE, 99]
    assert len(set(history.columns["base"][:4].tolist())) == 1
    assert not history.cells[:3].any()


def test_empty_sides_have_no_best():
    history = History(TICKS, 0, 100)
    history.capture(0, book("A 1 B 99 5"))
    assert history.columns["ask"][0] == NONE
    history.capture(1, book())
    assert history.columns["bid"][1] == NONE
    assert not history.cells[1].any()


def test_cells_follow_the_price_only_when_it_has_gone_far():
    near, _ = picture(book("A 1 B 1000 1", "A 2 A 1001 1"), TICKS, None)
    assert near["base"] == 1000 - CELLS // 2
    moved, cells = picture(book("A 1 B 1060 1", "A 2 A 1061 1"), TICKS, int(near["base"]))
    assert moved["base"] == near["base"]
    assert cells[1060 - moved["base"]] == 1
    far, cells = picture(book("A 1 B 1070 1", "A 2 A 1071 1"), TICKS, int(near["base"]))
    assert far["base"] == 1070 - CELLS // 2
    assert cells[CELLS // 2] == 1


def test_prices_out_of_reach_are_left_out():
    column, cells = picture(book("A 1 B 1000 1", "A 2 A 1001 1", "A 3 B 100 9"), TICKS, None)
    assert column["bid"] == 1000
    assert np.abs(cells).sum() == 2


def test_two_columns_become_one_when_there_is_no_room():
    history = History(TICKS, 1000, 100, capacity=8)
    for number in range(8):
        history.capture(number, book(f"A 1 B 99 {number + 1}"))
        history.trade(tape("T 0 A 99 1", ts_recv=1000 + 100 * number + 50, ts_event=0))
    assert history.columns["sold"].tolist() == [1] * 8
    history.capture(history.number_of(1000 + 801), book("A 1 B 99 50"))
    assert (history.column_ns, history.epoch, history.count) == (200, 1, 5)
    assert [sizes(history, number)[99] for number in range(5)] == [2, 4, 6, 8, 50]
    assert history.columns["sold"].tolist() == [2, 2, 2, 2, 0, 0, 0, 0]
    assert history.columns["number"][:5].tolist() == [0, 1, 2, 3, 4]


def test_far_later_column_merges_as_often_as_it_takes():
    history = History(TICKS, 0, 100, capacity=8)
    for number in (0, 1, 2):
        history.capture(number, book(f"A 1 B 99 {number + 1}"))
    history.capture(history.number_of(100 * 100), book("A 1 B 99 9"))
    assert history.column_ns == 1600
    assert history.count == history.number_of(100 * 100) + 1 == 7
    assert [sizes(history, number)[99] for number in range(7)] == [3] * 6 + [9]


def test_trades_are_kept_with_their_numbers():
    records = tape("A 1 B 99 5", "T 0 A 99 2", "F 1 B 99 2", "T 0 B 101 3", "T 0 N 100 4")
    history = History(TICKS, 1100, 100)
    history.trade(records, 40)
    kept = history.trades(0, history.trades_end)
    assert kept["side"].tolist() == [-1, 1, 0]
    assert kept["tick"].tolist() == [99, 101, 100]
    assert kept["size"].tolist() == [2, 3, 4]
    assert kept["time"].tolist() == [1.0, 3.0, 4.0]
    assert kept["record"].tolist() == [41, 43, 44]
    assert [history.trades_before(record) for record in (41, 42, 44, 45)] == [0, 1, 2, 3]


def test_trades_of_a_stream_without_end_are_the_latest():
    history = History(TICKS, 0, 100, trades=1 << 10)
    for number in range(3000):
        history.trade(tape(f"T 0 A 99 {number + 1}", ts_recv=number))
    assert (history.trades_begin, history.trades_end) == (3000 - 1024, 3000)
    assert history.trades(0, 3000)["size"].tolist() == list(range(3000 - 1024 + 1, 3001))
    assert history.trades(2990, 2993)["size"].tolist() == [2991, 2992, 2993]


def test_trades_beyond_what_is_kept_at_once():
    history = History(TICKS, 0, 100, trades=1 << 10)
    history.trade(np.concatenate([tape(f"T 0 A 99 {number + 1}") for number in range(1500)]))
    assert history.trades(0, 1500)["size"].tolist() == list(range(1500 - 1024 + 1, 1501))


def test_shade_is_the_scale_that_is_said():
    given = np.array([0, 1, -2, 3, 1000, -125_000, 2**31 - 1])
    expected = [0] + [min(255, round(1 + 15 * np.log2(abs(size)))) for size in given[1:].tolist()]
    assert shade(given).tolist() == expected


@pytest.mark.parametrize("seed", range(3))
def test_every_cell_is_the_book(seed):
    records = simulate(5_000, seed=seed).records
    made = Book()
    made.apply(records)
    column, cells = picture(made, TICKS, None)
    expected: dict[int, int] = {}
    for side, sign in ((Side.BID, 1), (Side.ASK, -1)):
        for level in made.levels(side):
            place = level.price // TICK - int(column["base"])
            if 0 <= place < CELLS:
                expected[place] = sign * level.size
    assert {int(k): int(cells[k]) for k in np.flatnonzero(cells)} == expected
    assert len(expected) > 20
