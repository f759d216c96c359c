"""The report as values, JSON, text and HTML, and `mbo.verify` on files, alone and against a reference."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

import mbo
from mbo.errors import RequestError
from mbo.simulator import Feature, simulate, write_session
from mbo.verification import CLASSES, RULES, WRONG_RULES, Outcome, Power, Rule, verify
from mbo.verification.render import percent
from tests.book.tapes import tape
from tests.builders import dbn_bytes, write
from tests.verification.streams import checked
from tests.verification.test_rules import BOOK, SELL

BAD = [*BOOK, f"{SELL} 3 0", "F 2 B 100 3 0", "C 2 B 100 3", "T 90 B 102 3"]


@pytest.fixture
def session(tmp_path):
    return write_session(tmp_path / "day.dbn.zst", 30_000, seed=3, instruments=2, resting=40, features=Feature.ALL)


def test_document_is_json_with_every_rule_and_class():
    report = checked(tape(*BAD))
    document = json.loads(json.dumps(report.document()))
    assert [rule["name"] for rule in document["rules"]] == [rule.name for rule in RULES]
    assert list(document["classes"]) == list(CLASSES)
    assert [one["name"] for one in document["power"]] == list(WRONG_RULES)
    assert (document["ok"], document["records"], document["equal_size"], document["reference"]) == (
        False,
        11,
        "venue",
        None,
    )
    front = next(rule for rule in document["rules"] if rule["name"] == "fill_front")
    assert (front["checked"], front["held"], front["explained"], front["unexplained"]) == (1, 0, {}, 1)
    (exception,) = front["exceptions"]
    assert (exception["class"], exception["index"], exception["place"], exception["order_id"]) == (None, 8, 1, 2)
    assert [one["action"] for one in exception["records"]] == ["T", "F", "C"]
    assert exception["records"][1]["price"] == 1_000_000_000
    trade = next(rule for rule in document["rules"] if rule["name"] == "trade_size")
    assert (trade["explained"], trade["exceptions"][0]["class"]) == ({"off_book": 1}, "off_book")
    assert document["fills"] == {"count": 1, "front": 0, "in_turn": 0, "explained": {}, "unexplained": 1, "share": 0.0}


def test_text_says_what_is_wrong_and_shows_its_records():
    report = checked(tape(*BAD))
    lines = str(report).splitlines()
    assert lines[0].startswith("test: broken without explanation: fill_front (11 records, 9 events, 1 book; ")
    assert "loses its place on GLBX.MDP3" in lines[0]
    assert any(line.split()[:6] == ["trade_size", "2", "1", "off_book", "1", "0"] for line in lines)
    assert "1 fills as witnesses of price-time priority: 0.00 % accounted for" in lines
    assert "fill_front: unexplained, record 8 of 7, 1970-01-01T00:00:00.000001008Z" in lines
    assert "  > F B order 2 1.00 x 3, flags 0" in lines
    assert repr(report) == "<Report of test: broken without explanation: fill_front>"
    assert repr(report.findings("")[0]) == "<Finding fill_front: unexplained, record 8>"


def test_text_without_fills_has_no_tables_of_them():
    report = checked(tape(*BOOK))
    assert "fills as witnesses" not in str(report)
    assert "on purpose" not in str(report)
    assert repr(report) == "<Report of test: every rule holds or is explained>"
    assert (report.fills.share, report.power[0].right_share) == (1, 1)


class _Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.seen = [], set()

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.seen.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_html_is_well_formed_and_escaped():
    report = replace(checked(tape(*BAD)), name="<script>alert(1)</script>&")
    html = report._repr_html_()
    tags = _Tags()
    tags.feed(html)
    assert tags.open == []
    assert tags.seen == {"p", "b", "table", "caption", "tr", "th", "td", "pre"}
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&amp;" in html
    assert "&gt; F B order 2" in html


@pytest.mark.parametrize(
    ("unexplained", "tolerance", "ok"), [(0, 0, True), (1, 0, False), (5, 0.005, True), (6, 0.005, False)]
)
def test_tolerance_is_a_share_of_the_checks(unexplained, tolerance, ok):
    outcome = Outcome(Rule("some", "", tolerance), 1_000, 1_000 - unexplained, {}, unexplained)
    assert outcome.ok is ok
    report = replace(checked(tape(*BOOK)), rules=(outcome,))
    assert bool(report) is ok
    assert report.verdict == (
        "broken without explanation: some" if not ok
        else "every rule holds or is explained" + (" but for 5 within tolerance" if unexplained else "")
    )  # fmt: skip


def test_shares_are_cut_not_rounded():
    assert (percent(1), percent(0.99999), percent(0)) == ("100.00 %", "99.99 %", "0.00 %")
    power = Power("queue shuffled", 10, 4, 3, 1, 2)
    assert (power.right_share, power.explained_share, power.unexplained) == (0.4, 0.7, 3)


def test_rules_are_found_by_name():
    report = checked(tape(*BOOK))
    assert report["new_orders"].checked == 6
    with pytest.raises(KeyError, match="nothing"):
        _ = report["nothing"]


# ---------------------------------------------------------------- files


def test_verify_is_exported_and_reads_a_day(session):
    report = mbo.verify(mbo.read_dbn(session.path))
    assert mbo.verify is verify
    assert report
    assert (report.name, report.records, report.books, report.unfinished) == ("day.dbn.zst", 30_000, 2, 0)
    assert report.findings()[0].symbol in ("SIM1", "SIM2")
    first = report["fill_front"].findings[0]
    records = mbo.read_dbn(session.path).load()
    assert first.records.tobytes() in records.tobytes()
    assert first.records[first.place].tobytes() == records[first.index].tobytes()


def test_verify_a_selection_keeps_the_numbers_of_the_file(session):
    day = mbo.read_dbn(session.path)
    report = mbo.verify(day.select("SIM2"))
    assert report
    assert report.books == 1
    records = day.load()
    for finding in report.findings():
        if finding.rule != "uncrossed":  # whose records are those of the event that decided
            assert finding.records[finding.place].tobytes() == records[finding.index].tobytes()


def test_verify_bundled_session():
    report = mbo.verify(mbo.read_dbn(mbo.SIMULATED))
    assert (sum(rule.unexplained for rule in report.rules), report.fills.share) == (0, 1)


def test_verify_nothing_makes_no_sense(tmp_path):
    empty = write(tmp_path / "empty.dbn", dbn_bytes(tape()))
    with pytest.raises(RequestError, match="no records"):
        mbo.verify(mbo.read_dbn(empty))


@pytest.mark.parametrize("kind", ["mbp-10", "mbp-1", "trades", "mbo", "book"])
def test_reference_is_compared(tmp_path, kind):
    from mbo.formats import records_as
    from mbo.formats import write as write_records
    from mbo.run import write_json

    written = write_session(tmp_path / "day.dbn", 20_000, seed=1, resting=40)
    day = mbo.read_dbn(written.path)
    path = tmp_path / ("reference.json" if kind == "book" else "reference.dbn.zst")
    if kind == "book":
        write_json(path, day.book().document())
    else:
        write_records(records_as(day, kind), path)
    report = mbo.verify(day, reference=path)
    assert report
    assert report.reference is not None
    assert report.reference.equal
    assert report.reference.kind == kind
    other = write_session(tmp_path / "other.dbn", 20_000, seed=2, resting=40)
    report = mbo.verify(mbo.read_dbn(other.path), reference=path)
    assert not report
    assert all(rule.ok for rule in report.rules)
    assert repr(report).endswith("; differs from the reference>")
    assert str(report.reference) in str(report)
    assert "different" in report._repr_html_()
    assert report.document()["reference"]["equal"] is False


def test_memory_does_not_grow_with_the_file():
    records = simulate(200_000, seed=1, resting=40, features=Feature.ALL).records
    checker = mbo.verification.Checker()
    pieces = np.array_split(records, 40)
    row, sizes = 0, []
    tracemalloc.start()
    for number, piece in enumerate(pieces):
        checker.apply(piece, row)
        row += len(piece)
        if number in (9, 39):
            sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert sizes[1] < sizes[0] + 100_000
