"""Queue positions and their estimators: by hand, and event by event against the readable book and plain Python."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

import mbo
from mbo.analytics import estimate_queue, estimator_errors, queue_position
from mbo.analytics.estimators import MODELS
from mbo.book import ReferenceBook
from mbo.errors import RequestError, TimeError
from mbo.records import Action, RecordArray, Side
from mbo.simulator import Feature, simulate
from tests.analytics.tables import column, event_ends, mbp_table, rows_of
from tests.book.tapes import LAST, MBP, SNAPSHOT, TICK, tape

pytestmark = pytest.mark.nojit

ROW = ("order_id", "side", "price", "size", "queue_ahead", "orders_ahead", "queue_behind")
ALL_MODELS = (*MODELS, "power0.5", "true")


def path(order_id: int | list[int], *lines: str, **options: Any) -> list[str]:
    """An order's rows as `ts price size: ahead(orders) behind`."""
    table = queue_position(tape(*lines), order_id, **options)
    return [
        f"{ts} {price // TICK} {size}: {ahead}({orders}) {behind}"
        for ts, price, size, ahead, orders, behind in rows_of(
            table, "ts_event", "price", "size", "queue_ahead", "orders_ahead", "queue_behind"
        )
    ]


# ---------------------------------------------------------------- the true queue


def test_an_order_comes_forward_as_those_before_it_leave():
    lines = [
        "A 1 B 100 5",
        "A 2 B 100 3",
        "A 3 B 100 2",
        "A 4 B 100 1",
        "C 1 B 100 5",
        "C 4 B 100 1",
        "A 9 B 99 1",
        "C 2 B 100 3",
    ]
    assert path(3, *lines) == [
        "1002 100 2: 8(2) 0",
        "1003 100 2: 8(2) 1",
        "1004 100 2: 3(1) 1",
        "1005 100 2: 3(1) 0",
        "1007 100 2: 0(0) 0",
    ]


def test_a_row_stands_at_the_end_of_its_event_only():
    lines = ["A 1 B 100 5 0", "A 2 B 100 3 0", "A 9 A 101 1", "C 1 B 100 2 0", "C 1 B 100 3"]
    assert path(2, *lines) == ["1002 100 3: 5(1) 0", "1004 100 3: 0(0) 0"]


def test_an_order_that_moves_is_followed_to_its_new_place():
    lines = ["A 1 B 100 5", "A 2 B 99 3", "M 1 B 99 4", "M 1 B 99 2", "M 2 B 99 9", "C 1 B 99 2"]
    assert path(1, *lines) == ["1000 100 5: 0(0) 0", "1002 99 4: 3(1) 0", "1003 99 2: 3(1) 0", "1004 99 2: 0(0) 9"]


def test_a_trade_touches_the_level_it_meets():
    lines = ["A 1 B 100 5", "A 2 A 101 5", "T 0 A 100 1", "T 0 B 101 1", "T 0 N 100 1"]
    assert [row[:4] for row in path(1, *lines)] == ["1000", "1002", "1004"]
    assert [row[:4] for row in path(2, *lines)] == ["1001", "1003"]


def test_a_level_without_orders_stands_in_the_queue():
    assert path(1, f"A 0 B 100 7 {MBP | LAST}", "A 1 B 100 5", f"M 0 B 100 4 {MBP | LAST}", f"C 0 B 100 4 {MBP | LAST}") == [
        "1001 100 5: 7(0) 0", "1002 100 5: 4(0) 0", "1003 100 5: 0(0) 0",
    ]  # fmt: skip


def test_orders_of_a_snapshot_are_followed_too():
    lines = [
        "A 5 B 100 5",
        f"R 0 N - 0 {SNAPSHOT}",
        f"A 1 B 100 5 {SNAPSHOT}",
        f"A 2 B 100 3 {SNAPSHOT | LAST}",
        "C 1 B 100 5",
    ]
    assert path(2, *lines) == ["1003 100 3: 5(1) 0", "1004 100 3: 0(0) 0"]
    assert path([5, 2], *lines) == ["1000 100 5: 0(0) 0", "1003 100 3: 5(1) 0", "1004 100 3: 0(0) 0"]


def test_an_order_first_named_by_a_modify_is_followed_from_there():
    assert path(1, "A 2 B 100 3", "M 1 B 100 5", "C 2 B 100 3") == ["1001 100 5: 3(1) 0", "1002 100 5: 0(0) 0"]


def test_an_order_that_never_rests_has_no_rows():
    table = queue_position(tape("A 1 B 100 5"), 2, models=["log"])
    assert table.num_rows == 0
    assert table.schema == queue_position(tape("A 1 B 100 5"), 1, models=["log"]).schema


@pytest.mark.parametrize("wrong", [1.5, -1, 2**64, "1"])
def test_what_is_no_order_id_is_refused(wrong):
    with pytest.raises(RequestError, match="ids are whole numbers"):
        queue_position(tape("A 1 B 100 5"), wrong)


SESSIONS = [
    ({"instruments": 1, "resting": 60}, 4_000),
    (
        {
            "instruments": 2,
            "resting": 40,
            "features": Feature.ICEBERGS | Feature.CROSSING | Feature.SPREADS | Feature.STOPS,
        },
        4_000,
    ),
    ({"instruments": 2, "resting": 30, "features": Feature.ALL}, 4_000),
]


def positions(book: ReferenceBook) -> dict[int, tuple[Any, ...]]:
    """Every resting order's row, read off the whole book."""
    found: dict[int, tuple[Any, ...]] = {}
    for side in ("bid", "ask"):
        for level in range(book.depth(side)):
            orders = list(book.orders(side, level=level))
            total = sum(order.size for order in orders)
            for count, order in enumerate(orders):
                behind = total - order.queue_ahead - order.size
                found[order.order_id] = (
                    order.order_id,
                    chr(order.side),
                    order.price,
                    order.size,
                    order.queue_ahead,
                    count,
                    behind,
                )
    return found


@pytest.mark.parametrize(("options", "messages"), SESSIONS, ids=["plain", "icebergs", "everything"])
@pytest.mark.parametrize("start", [0, 500], ids=["whole", "cut"])
def test_positions_agree_with_the_readable_book_after_every_event(options, messages, start):
    records = simulate(messages, seed=31, **options).records[start:]
    ids = np.unique(records["order_id"])[::4]
    table = queue_position(records, ids.tolist())
    rows = iter([*rows_of(table, "ts_event", "publisher_id", "instrument_id", *ROW), None])
    row = next(rows)
    books: defaultdict[Any, ReferenceBook] = defaultdict(ReferenceBook)
    shown: defaultdict[Any, dict[int, tuple[Any, ...]]] = defaultdict(dict)
    compared = 0
    for first, stop in event_ends(records):
        last = records[stop - 1]
        key = (int(last["publisher_id"]), int(last["instrument_id"]))
        books[key].apply(records[first:stop])
        true = {number: values for number, values in positions(books[key]).items() if number in ids}
        while row is not None and row[:3] == (int(last["ts_event"]), *key):
            assert row[3:] == true[row[3]]
            shown[key][row[3]] = row[3:]
            row = next(rows)
            compared += 1
        # What was not shown now has not changed since it was.
        assert {number: values for number, values in shown[key].items() if number in true} == true
    assert row is None
    assert compared > 500


# ---------------------------------------------------------------- estimators


def test_estimators_by_hand():
    """Behind 10, before 10: of a cancelled 8 the even model puts 4 ahead, the log model too, risk-averse none."""
    lines = ["A 1 B 100 10", "A 2 B 100 1", "A 3 B 100 10", "C 3 B 100 8"]
    models = ["risk_averse", "log", "power1", "power2"]
    table = queue_position(tape(*lines), 2, models=models)
    assert [column(table, f"ahead_{model}")[-1] for model in models] == [10, 6, 6, 6]
    lines[2:] = ["A 3 B 100 30", "C 3 B 100 8"]
    table = queue_position(tape(*lines), 2, models=models)
    log = 10 - 8 * math.log(11) / (math.log(11) + math.log(31))
    assert [column(table, f"ahead_{model}")[-1] for model in models] == pytest.approx([10, log, 8, 10 - 8 * 0.1])


def test_trades_come_off_the_front_and_what_comes_new_stands_behind():
    lines = ["A 1 B 100 10", "A 2 B 100 1", "T 9 A 100 4 0", "F 1 B 100 4 0", "M 1 B 100 6", "A 3 B 100 50"]
    table = queue_position(tape(*lines), 2, models=MODELS)
    for model in MODELS:
        assert column(table, f"ahead_{model}") == [10, 6, 6]


def test_all_trades_of_an_event_come_off_the_front():
    trades = ["T 9 A 100 4 0", "F 1 B 100 4 0", "T 8 A 100 2 0", "F 1 B 100 2 0", "M 1 B 100 4"]
    table = queue_position(tape("A 1 B 100 10", "A 2 B 100 1", "A 3 B 100 50", *trades), 2, models=["risk_averse"])
    assert rows_of(table, "queue_ahead", "ahead_risk_averse") == [(10, 10), (10, 10), (4, 4)]


@pytest.mark.parametrize(
    ("change", "publisher", "believed"),
    [("M 1 B 100 6", 1, 3), ("M 1 B 100 5", 1, 3), ("M 1 B 100 5", 2, 0), ("M 1 B 100 4", 1, 0)],
    ids=["larger", "equal", "equal-elsewhere", "smaller"],
)
def test_whoever_goes_to_the_back_knows_what_stands_there(change, publisher, believed):
    records = tape("A 1 B 100 5", "A 2 B 100 3", change, publisher_id=publisher)
    table = queue_position(records, 1, models=["risk_averse"])
    assert rows_of(table, "queue_ahead", "ahead_risk_averse") == [(0, 0), (0, 0), (believed, believed)]


def test_a_fill_at_one_place_tells_nothing_of_the_next():
    lines = ["A 1 B 100 5", "A 2 B 99 7", "F 1 B 100 1 0", "M 1 B 100 4", "M 1 B 99 4", "A 3 B 99 1"]
    table = queue_position(tape(*lines), 1, models=["risk_averse"])
    assert rows_of(table, "queue_ahead", "ahead_risk_averse") == [(0, 0), (0, 0), (7, 7), (7, 7)]


def test_nobody_believes_to_be_behind_more_than_there_is():
    table = queue_position(tape("A 1 B 100 10", "A 2 B 100 1", "C 1 B 100 7"), 2, models=["risk_averse"])
    assert column(table, "ahead_risk_averse") == [10, 3]


def test_a_fill_in_part_tells_that_nobody_is_ahead():
    lines = [
        "A 1 B 100 10",
        "A 2 B 100 5",
        "A 3 B 100 50",
        "C 1 B 100 4",
        "C 1 B 100 6 0",
        "T 9 A 100 1 0",
        "F 2 B 100 1 0",
        "M 2 B 100 4",
    ]
    table = queue_position(tape(*lines), 2, models=["risk_averse"])
    assert rows_of(table, "queue_ahead", "ahead_risk_averse") == [(10, 10), (10, 10), (6, 10), (0, 0)]


@pytest.mark.parametrize("model", ["", "Log", "power", "power0", "power-1", "powerx", "power1e3"])
def test_a_model_that_does_not_exist_is_refused(model):
    with pytest.raises(RequestError, match="no model"):
        queue_position(tape("A 1 B 100 5"), 1, models=[model])


def advanced(ahead: float, others: float, traded: float, left: float, model: str) -> float:
    """One step of an estimator, from its formula."""
    ahead, others = max(ahead - traded, 0), max(others - traded, 0)
    gone = others - left
    if gone > 0 and model != "risk_averse":
        f = math.log1p if model == "log" else lambda x: x ** float(model.removeprefix("power"))
        behind = max(others - ahead, 0)
        if f(ahead) + f(behind) > 0:
            ahead = max(ahead - f(ahead) / (f(ahead) + f(behind)) * gone, 0)
    return min(ahead, left)


def believed(records: RecordArray, models: list[str]) -> list[tuple[Any, ...]]:
    """For every event and order in plain Python: (book, event, id, true size ahead, beliefs, is it new, filled, depth)."""
    books: defaultdict[Any, ReferenceBook] = defaultdict(ReferenceBook)
    state: dict[Any, Any] = {}
    out = []
    for event, (first, stop) in enumerate(event_ends(records)):
        part = records[first:stop]
        key = (int(part["publisher_id"][0]), int(part["instrument_id"][0]))
        book = books[key]
        traded: defaultdict[Any, int] = defaultdict(int)
        placed, touched = set(), set()
        for n in range(len(part)):
            record = part[n]
            number, price, side, action = (int(record[name]) for name in ("order_id", "price", "side", "action"))
            before = book._order(number) if action in b"ACMF" else None
            if before:
                touched.add((before.side, before.price)) if action != Action.FILL else None
            book.apply(part[n : n + 1])
            after = book._order(number) if action in b"ACMF" else None
            if action == Action.TRADE:
                for met in (Side.BID, Side.ASK):
                    if side != met and any(level.price == price for level in book.levels(met)):
                        traded[met, price] += int(record["size"])
                        touched.add((met, price))
            elif action == Action.FILL and before:
                state[key, number]["filled"] = True
            elif after and action in b"AM":
                touched.add((after.side, after.price))
                same = action == Action.MODIFY and before and (before.side, before.price) == (after.side, after.price)
                if not same or after.size > before.size or (after.size == before.size and key[0] == 1):
                    placed.add(number)
                    state[key, number] = {"filled": False}
        for side in (Side.BID, Side.ASK):
            for depth in range(book.depth(side)):
                orders = list(book.orders(side, level=depth))
                if (side, orders[0].price) not in touched:
                    continue
                total = sum(order.size for order in orders)
                for order in orders:
                    own = state[key, order.order_id]
                    left = total - order.size
                    new = order.order_id in placed
                    for model in models:
                        if new or model == "true":
                            own[model] = order.queue_ahead
                        elif own["filled"]:
                            own[model] = 0
                        else:
                            own[model] = advanced(own[model], own["others"], traded[side, order.price], left, model)
                    own["others"] = left
                    beliefs = tuple(own[model] for model in models)
                    out.append((key, event, order.order_id, order.queue_ahead, beliefs, new, own["filled"], depth))
    return out


@pytest.mark.parametrize(("options", "messages"), SESSIONS, ids=["plain", "icebergs", "everything"])
def test_estimates_and_their_errors_agree_with_plain_python(options, messages):
    records = simulate(messages // 2, seed=41, **options).records
    expected = believed(records, list(ALL_MODELS))
    table = queue_position(records, np.unique(records["order_id"]).tolist(), models=ALL_MODELS)
    found = rows_of(table, "order_id", "queue_ahead", *(f"ahead_{model}" for model in ALL_MODELS))
    found.sort(key=lambda row: row[0])  # ids are of one book each: every order's rows in the order of events
    by_order = sorted(expected, key=lambda row: row[2])
    assert [row[:2] for row in found] == [(row[2], row[3]) for row in by_order]
    assert np.array([row[2:] for row in found]) == pytest.approx(np.array([row[4] for row in by_order]), abs=1e-6)

    for levels in (1, 10):
        errors = estimator_errors(records, ALL_MODELS, levels=levels)
        names = ("publisher_id", "instrument_id", "model", "samples", "mean_ahead", "bias", "mae", "rmse")
        measured = {row[:3]: row[3:] for row in rows_of(errors, *names)}
        assert len(measured) == options["instruments"] * len(ALL_MODELS)
        for (*key, model), values in measured.items():
            own = [row for row in expected if row[0] == tuple(key) and not row[5] and not row[6] and row[7] < levels]
            off = np.array([row[4][ALL_MODELS.index(model)] - row[3] for row in own], float)
            ahead = np.mean([row[3] for row in own])
            summary = (len(own), ahead, off.mean(), np.abs(off).mean(), math.sqrt((off**2).mean()))
            assert values == pytest.approx(summary, rel=1e-6, abs=1e-6)
            assert (values[3] == 0) == (model == "true")


def test_errors_by_hand():
    """Order 2 has 10 ahead and 10 behind, and the 10 ahead are cancelled: risk-averse is off by 10, the even model by 5."""
    records = tape("A 1 B 100 10", "A 2 B 100 10", "A 3 B 100 10", "C 1 B 100 10")
    table = estimator_errors(records, ["true", "risk_averse", "power1"])
    assert rows_of(table, "model", "samples", "mean_ahead", "bias", "mae") == [
        ("true", 5, 4, 0, 0),
        ("risk_averse", 5, 4, 2, 2),
        ("power1", 5, 4, 1, 1),
    ]
    assert column(table, "rmse") == pytest.approx([0, math.sqrt(20), math.sqrt(5)])


def test_errors_are_those_of_the_best_levels():
    records = tape("A 1 B 101 1", "A 2 B 101 5", "A 3 B 100 5", "A 4 B 100 1", "A 5 B 100 1")
    for levels, samples in ((1, 1), (2, 4)):
        assert column(estimator_errors(records, ["log"], levels=levels), "samples") == [samples]


def test_no_records_have_no_errors():
    table = estimator_errors(np.empty(0, mbo.MBO_DTYPE))
    assert table.num_rows == 0
    assert table.schema == estimator_errors(tape("A 1 B 100 5", "A 2 B 100 5")).schema


@pytest.mark.parametrize("wrong", [{"levels": 0}, {"levels": 11}, {"one_in": 0}, {"models": []}])
def test_errors_of_nothing_are_refused(wrong):
    with pytest.raises(RequestError, match="estimator_errors needs"):
        estimator_errors(tape("A 1 B 100 5"), **wrong)


# ---------------------------------------------------------------- from market by price alone


def visible(mbp: pa.Table, side: str, ts_recv: int) -> set[int | None]:
    """The prices of a side in the last row at an instant."""
    row = mbp.slice(int(np.searchsorted(column(mbp, "ts_recv"), ts_recv, side="right")) - 1, 1)
    return {column(row, f"{'bid' if side == 'B' else 'ask'}_px_{level:02}")[0] for level in range(10)}


def test_estimates_from_market_by_price_are_those_that_market_by_order_is_compared_with():
    records = simulate(12_000, seed=7, resting=80).records
    mbp = mbp_table(records)
    restored = np.unique(records["order_id"][records["flags"] & SNAPSHOT != 0])  # a snapshot tells them the truth again
    ids = np.setdiff1d(records["order_id"][records["action"] == Action.ADD], restored)[::5]
    truth = pl.from_arrow(queue_position(records, ids.tolist(), models=MODELS))
    compared = 0
    for (number, price), rows in truth.group_by("order_id", "price", maintain_order=True):
        rows = rows.unique(["ts_recv", "ts_event"], keep="last", maintain_order=True)
        first, last = (rows["ts_recv"].cast(pl.Int64)[place] for place in (0, -1))
        size = rows["size"][0]
        own = records[records["order_id"] == number]
        if rows.height < 4 or (np.isin(own["action"], [Action.FILL, Action.MODIFY])).any():
            continue  # estimate_queue is told one size and one place
        if price not in visible(mbp, rows["side"][0], first):
            continue
        found = estimate_queue(
            mbp, rows["side"][0], price, first, ahead=rows["queue_ahead"][0], size=size, until=last, models=MODELS
        )
        if None in column(found, "queue_size") or column(found, "ts_event")[0] != rows["ts_event"].cast(pl.Int64)[0]:
            continue  # out of sight, or more than one event in the packet by which it came
        estimates = pl.from_arrow(found).unique(["ts_recv", "ts_event"], keep="last", maintain_order=True)
        joined = rows.join(estimates, on=["ts_recv", "ts_event"], suffix="_mbp")
        for model in MODELS:
            assert joined[f"ahead_{model}_mbp"].to_list() == pytest.approx(joined[f"ahead_{model}"].to_list(), abs=1e-9)
        compared += joined.height
    assert compared > 300


def test_an_order_that_is_not_in_the_data_joins_the_back():
    lines = [
        "A 1 B 100 10",
        "A 2 B 100 5",
        "T 9 A 100 4 0",
        "F 1 B 100 4 0",
        "M 1 B 100 6",
        "C 2 B 100 5",
        "A 3 B 100 7",
    ]
    records = tape(*lines)
    records["ts_event"][2:5] = 1004  # the records of an event share it
    mbp = mbp_table(records)
    found = estimate_queue(mbp, "bid", 100 * TICK, 1101, models=["risk_averse", "power1"])
    names = ("ts_event", "queue_size", "traded", "ahead_risk_averse", "ahead_power1")
    assert rows_of(found, *names) == [
        (1001, 15, 0, 15, 15),
        (1004, 11, 4, 11, 11),
        (1005, 6, 0, 6, 6),
        (1006, 13, 0, 6, 6),
    ]
    assert estimate_queue(mbp, "bid", 100 * TICK, 1101, until=1104).num_rows == 2
    behind_one = estimate_queue(mbp, "bid", 100 * TICK, 1101, ahead=10, models=["power1"])
    assert column(behind_one, "ahead_power1") == pytest.approx([10, 6, 6 - 5 * 6 / 11, 6 - 5 * 6 / 11])


def test_what_happens_while_the_level_is_not_visible_is_taken_in_later():
    better = [f"A {10 + k} B {101 + k} 1" for k in range(10)]
    lines = ["A 1 B 100 10", *better, "C 1 B 100 4", "C 10 B 101 1"]
    mbp = mbp_table(tape(*lines))
    found = estimate_queue(mbp, "bid", 100 * TICK, 1100, models=["risk_averse"])
    assert column(found, "queue_size") == [10] * 10 + [None, 6]
    assert column(found, "ahead_risk_averse") == [10] * 11 + [6]


def test_what_trades_while_the_level_is_not_visible_comes_off_its_front():
    better = [f"A {10 + k} B {101 + k} 1" for k in range(10)]
    lines = ["A 1 B 100 10", *better, "T 0 A 100 4", "A 9 B 105 1", "C 10 B 101 1"]
    found = estimate_queue(mbp_table(tape(*lines)), "bid", 100 * TICK, 1100, models=["risk_averse"])
    assert rows_of(found, "queue_size", "traded", "ahead_risk_averse")[-3:] == [
        (None, 4, 10),
        (None, 0, 10),
        (10, 0, 6),
    ]


def test_an_empty_level_has_nobody_ahead():
    mbp = mbp_table(tape("A 1 A 103 10", "A 2 A 101 1", "A 3 A 102 5"))
    found = estimate_queue(mbp, "ask", 102 * TICK, 1101, models=["log"])
    assert rows_of(found, "queue_size", "ahead_log") == [(0, 0), (5, 0)]


def test_an_estimate_of_what_the_rows_do_not_have_is_refused():
    one = tape("A 1 B 100 10")
    with pytest.raises(TimeError, match="no event is as early as 5"):
        estimate_queue(mbp_table(one), "bid", 100 * TICK, 5)
    other = one.copy()
    other["instrument_id"] = 8
    with pytest.raises(RequestError, match="of several books"):
        estimate_queue(mbp_table(np.concatenate([one, other])), "bid", 100 * TICK, 1100)
    with pytest.raises(RequestError, match="deeper than these rows show"):
        estimate_queue(mbp_table(one, 1), "bid", 99 * TICK, 1100)
    with pytest.raises(TimeError):
        estimate_queue(mbp_table(np.empty(0, mbo.MBO_DTYPE)), "bid", 100 * TICK, 1100)
    with pytest.raises(RequestError, match="no model 'true'"):
        estimate_queue(mbp_table(one), "bid", 100 * TICK, 1100, models=["true"])
