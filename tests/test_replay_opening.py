"""An inferred opening handed to what is replayed from a file."""

import numpy as np
import pytest

from mbo.errors import RuleError
from mbo.replay import Records, read_dbn
from tests.book.tapes import MAYBE_BAD, TICK, tape
from tests.builders import NOON, dbn_bytes, write


@pytest.fixture
def cut(tmp_path) -> Records:
    """Two instruments cut in the middle of a session; 8's first record is later than 7's."""
    records = np.concatenate(
        [
            tape("A 9 B 99 4", "C 1 B 100 5", "M 2 B 98 1"),
            tape("N", "N", "N", "A 3 A 51 2", "C 1 A 50 2", instrument_id=8)[3:],
        ]
    )
    records["ts_event"] += NOON
    records["ts_recv"] += NOON
    path = tmp_path / "cut.dbn"
    write(path, dbn_bytes(records, symbols={"AAA": 7, "BBB": 8}))
    return read_dbn(path)


def test_an_opening_is_inferred_of_what_is_selected(cut):
    assert repr(cut.infer_opening()) == "<Opening of 2 books, 2 orders inferred, 1 unknown ones left out>"
    opening = cut.select("BBB").infer_opening()
    assert repr(opening) == "<Opening of 1 books, 1 orders inferred, 0 unknown ones left out>"
    assert [book.symbol for book in opening.books().values()] == ["BBB"]


def test_books_begin_with_the_opening_only_if_asked(cut):
    opening = cut.infer_opening()
    assert cut.book("AAA").anomalies["unknown_cancel"].index == 1
    first = NOON + 1100
    book = cut.book("AAA", at=first, opening=opening)
    assert [level.price // TICK for level in book.levels("bid")] == [100, 99]
    assert [level.price // TICK for level in cut.book("AAA", at=first).levels("bid")] == [99]
    whole = cut.books(opening=opening)
    wrong = {key[1]: {k: v.index for k, v in book.anomalies.items() if "unknown" in k} for key, book in whole.items()}
    assert wrong == {7: {"unknown_modify": 2}, 8: {}}


def test_strict_stops_at_what_was_left_out(cut):
    opening = cut.infer_opening()
    assert cut.book("BBB", opening=opening, strict=True).status.orders == 1
    with pytest.raises(RuleError) as error:
        cut.book("AAA", opening=opening, strict=True)
    assert (error.value.rule, error.value.index) == ("unknown_modify", 2)


def test_market_by_price_begins_with_the_opening_and_is_marked(cut):
    day = cut.select("AAA")
    plain, opened = (
        np.concatenate(list(day.mbp(1, opening=opening).batches())) for opening in (None, cut.infer_opening())
    )
    assert plain["bid_px_00"].tolist() == [99 * TICK]
    assert opened["bid_px_00"].tolist() == [100 * TICK, 99 * TICK]  # the opening, and the cancel of what is now known
    assert (opened["flags"] & MAYBE_BAD != 0).tolist() == [True, False]
