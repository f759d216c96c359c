"""Every fill before an independent package that rebuilds queues: mbo-queue, whose engine shares nothing with ours."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

import mbo
from mbo.records import Action
from mbo.verification import Checker
from tests.conftest import real
from tests.verification.test_real import ranks

mboq = pytest.importorskip(
    "mboq.fast", reason="the package mbo-queue is not installed: `make independent` fetches it and runs this"
)
SYMBOLS = ("SIM1", "SIM2", "SIM3")


def their_ranks(records) -> dict[int, int | None]:
    """By a fill's record: the orders of its queue before it that its event does not use up; None where its order is unknown."""
    found = mboq.run({name: records[name] for name in records.dtype.names}, tick=10_000_000)["fifo_rank"]
    fills = np.flatnonzero(records["action"] == Action.FILL)
    assert len(found) == len(fills)
    return {index: None if rank < 0 else rank for index, rank in zip(fills.tolist(), found.tolist(), strict=True)}


def verdicts(records) -> dict[int, str]:
    """By a fill's record, the class of its exception to `fill_front`; "first" where there is none."""
    checker = Checker(keep=5_000)
    checker.apply(records, 0)
    checker.finish()
    outcome = checker.report("")["fill_front"]
    assert len(outcome.findings) == outcome.checked - outcome.held, "all of them are kept"
    why = {finding.index: finding.why for finding in outcome.findings}
    fills = np.flatnonzero(records["action"] == Action.FILL)
    return {index: why.get(index, "first") for index in fills.tolist()}


def side_by_side(records) -> Counter[tuple[str, str]]:
    """Count the fills by what they say (first, behind, unknown) and what we say."""
    theirs, ours = their_ranks(records), verdicts(records)
    assert theirs.keys() == ours.keys()
    said = {index: "unknown" if rank is None else "behind" if rank else "first" for index, rank in theirs.items()}
    return Counter((said[index], ours[index]) for index in ours)


@pytest.mark.data
def test_clx5_fill_by_fill():
    records = mbo.read_dbn(real("CLX5_mbo.dbn")).load()
    theirs = their_ranks(records)
    assert theirs == ranks(records), "the count that is in our tests is theirs, record by record"
    assert sum(not rank for rank in theirs.values()) == 2_609, "those of unknown orders among them"
    assert side_by_side(records) == {
        ("first", "first"): 2_471, ("first", "listed_later"): 101, ("first", "aggressor"): 7,
        ("unknown", "opening"): 29, ("unknown", "aggressor"): 1,
        ("behind", "self_match"): 46, ("behind", "aggressor"): 43, ("behind", "opening"): 3,
    }  # fmt: skip


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_simulated_fill_by_fill(symbol):
    """Whom we find first they find first, and whom they find behind has a reason."""
    both = side_by_side(mbo.read_dbn(mbo.SIMULATED).select(symbol).load())
    behind = {why for said, why in both if said == "behind"}
    assert behind
    assert behind <= {"self_match", "iceberg", "aggressor"}
    assert both["first", "first"] > 1_000
    assert "unknown" not in {said for said, _ in both}


def test_a_fill_out_of_turn_is_noticed_by_both():
    records = mbo.read_dbn(mbo.SIMULATED).select("SIM2").load().copy()
    fills = (records["action"] == Action.FILL) & (records["side"] == mbo.Side.BID)
    for place in np.flatnonzero(fills).tolist():
        book = mbo.Book()
        book.apply(records[:place])
        queue = book.orders("bid", level=0)
        if len(queue) > 2 and queue[0].order_id == records["order_id"][place]:
            break
    assert (their_ranks(records)[place], verdicts(records)[place]) == (0, "first")
    records["order_id"][place] = queue[-1].order_id
    assert (their_ranks(records)[place], verdicts(records)[place]) == (len(queue) - 1, "")
