"""Real files: the fills of CLX5 one by one against a queue built here, and what the wrong rules make of them."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest

import mbo
from mbo.verification import Checker, Report
from tests.conftest import real
from tests.verification.streams import adds_up, broken, explained, lone_trades

pytestmark = pytest.mark.data
LAST = 128


@pytest.fixture(scope="module")
def clx5() -> Report:
    """Everything kept."""
    checker = Checker(keep=5_000)
    checker.apply(mbo.read_dbn(real("CLX5_mbo.dbn")).load(), 0)
    checker.finish()
    return checker.report("CLX5")


def test_clx5_leaves_nothing_of_its_fills_unexplained(clx5):
    assert broken(clx5) == {}
    assert clx5
    assert adds_up(clx5)
    assert (clx5.fills.count, clx5.fills.front, clx5.fills.in_turn, clx5.fills.share) == (2_701, 1_544, 927, 1)
    assert clx5.fills.explained == {"opening": 32, "self_match": 46, "aggressor": 51, "listed_later": 101}
    assert explained(clx5) == {
        "known_orders": {"opening": 1_440}, "fill_known": {"opening": 29, "aggressor": 1},
        "fill_front": clx5.fills.explained, "fill_best": {"opening": 29, "aggressor": 51},
        "trade_size": {"off_book": 22, "beyond": 34}, "fill_settled": {"iceberg": 31, "aggressor": 4},
        "uncrossed": {"auction": 172},
    }  # fmt: skip


def test_clx5_trades_that_are_too_large_have_used_up_their_price_and_most_others_have_not(clx5):
    """So the class is a sign: it would not be one if trades used up their price as a rule."""
    too_large = {finding.index for finding in clx5["trade_size"].findings if finding.why == "beyond"}
    found = Counter(
        (index in too_large, used_up) for index, used_up in lone_trades(mbo.read_dbn(real("CLX5_mbo.dbn")).load())
    )
    assert found[True, False] == 0
    assert found[True, True] > 25
    assert found[False, True] < (found[False, True] + found[False, False]) / 3


def ranks(records) -> dict[int, int | None]:
    """Count for every F the orders before it in its queue that its whole event does not use up; None where its order is unknown.

    So does an independent package that rebuilds queues. Its published count for this file is 2,609 fills of 2,701 with nobody
    before them, those of unknown orders among them.
    """
    places: dict[int, tuple[int, int]] = {}
    queues: dict[tuple[int, int], dict[int, int]] = defaultdict(dict)
    found: dict[int, int | None] = {}
    filled: Counter[int] = Counter()
    waiting: list[tuple[int, list[tuple[int, int]]]] = []
    rows = zip(
        *(records[name].tolist() for name in ("action", "order_id", "side", "price", "size", "flags")), strict=True
    )
    for index, (code, number, side, price, size, flags) in enumerate(rows):
        action, here = chr(code), places.get(number)
        if action == "F":
            if here is None:
                found[index] = None
            else:
                queue = list(queues[here].items())
                waiting.append((index, queue[: [one for one, _ in queue].index(number)]))
            filled[number] += size
        elif action == "C" and here is not None:
            del queues[places.pop(number)][number]
        elif action in "AM":
            keeps = here == (side, price) and size < queues[here][number]
            if here is not None and not keeps:
                del queues[here][number]
            places[number] = side, price
            queues[side, price][number] = size
        if flags & LAST:
            found |= {row: sum(filled[one] < shown for one, shown in before) for row, before in waiting}
            filled.clear()
            waiting.clear()
    return found


def test_clx5_agrees_with_an_independent_count_fill_by_fill(clx5):
    records = mbo.read_dbn(real("CLX5_mbo.dbn")).load()
    why = {finding.index: finding.why for finding in clx5["fill_front"].findings}
    both = Counter(
        ("unknown" if rank is None else "first" if rank == 0 else "behind", why.get(index, "holds"))
        for index, rank in ranks(records).items()
    )
    assert sum(count for (rank, _), count in both.items() if rank != "behind") == 2_609
    assert both == {
        ("first", "holds"): 2_471, ("first", "listed_later"): 101, ("first", "aggressor"): 7,
        ("unknown", "opening"): 29, ("unknown", "aggressor"): 1,
        ("behind", "self_match"): 46, ("behind", "aggressor"): 43, ("behind", "opening"): 3,
    }  # fmt: skip


def test_clx5_refutes_the_wrong_rules(clx5):
    true, *wrong = clx5.power
    assert (true.checked, true.unexplained) == (2_096, 0)
    for one in wrong:
        assert one.right < true.right
        assert one.unexplained > 0.005 * one.checked
        assert one.refuted > 10 * one.alone


def test_es_snapshot_and_small_files():
    report = mbo.verify(mbo.read_dbn(real("ESM4_20240508_snapshot.mbo.dbn.zst")))
    assert (broken(report), explained(report)) == ({}, {"fill_front": {"self_match": 1}})
    assert report["new_orders"].checked > 13_000
    for name in ("ESH1_20201228T13.mbo.dbn.zst", "XNAS.ITCH__test_data.mbo.dbn.zst"):
        report = mbo.verify(mbo.read_dbn(real(f"databento/{name}")))
        assert (broken(report), report.records) == ({}, 4)


def test_clx5_ends_as_others_rebuild_it():
    report = mbo.verify(mbo.read_dbn(real("CLX5_mbo.dbn")), reference=real("CLX5_final_book_consensus.json"))
    assert report
    assert report.reference is not None
    assert report.reference.kind == "book"
