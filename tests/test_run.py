"""The main job checks what it streams by the rules, and says so where a person and a program look."""

from __future__ import annotations

import json
import sys
from typing import Any, NamedTuple

import pytest

import mbo
from mbo import cli
from mbo.run import run
from tests.book.tapes import tape
from tests.builders import NOON, dbn_bytes, write

SOUND = ("R 0 N - 0", "A 1 B 100 5", "A 2 B 100 3", "A 3 A 101 4", "M 2 B 100 2", "C 1 B 100 5")
BROKEN = (*SOUND, "C 9 B 100 1", "C 8 B 100 1", "C 3 A 101 4")  # two of orders that never came
REFILLED = (  # an iceberg shows its next tip: an exception that its own records explain
    *("R 0 N - 0", "A 1 B 100 5", "A 2 B 100 3"),
    *("T 0 A 100 5 0", "F 1 B 100 5 0", "M 1 B 100 5"),
)


class Done(NamedTuple):
    code: int
    out: str
    err: str
    summary: dict[str, Any]
    files: list[str]


@pytest.fixture
def job(tmp_path, monkeypatch, capsys):
    """Call `mbo run` on records."""

    def job(lines: tuple[str, ...], *options: str) -> Done:
        folder = tmp_path / "out"
        arguments = ["run", str(day_of(tmp_path, lines)), "--no-store", "--out", str(folder), *options]
        monkeypatch.setattr(sys, "argv", ["mbo", *arguments])
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
        told = capsys.readouterr()
        summary = json.loads((folder / "summary.json").read_text())
        return Done(code, told.out, told.err, summary, sorted(path.name for path in folder.iterdir()))

    return job


def day_of(folder, lines):
    records = tape(*lines)
    for name in ("ts_event", "ts_recv"):
        records[name] += NOON
    return write(folder / "day.dbn", dbn_bytes(records))


def test_every_record_is_checked_by_the_rules(job):
    done = job(SOUND)
    assert (done.code, done.err) == (0, "")
    rules = done.summary["rules"]
    assert rules == {"count": len(mbo.verification.RULES), "checked": rules["checked"]} | {
        "ok": True, "explained": 0, "unexplained": 0, "broken": [],
    }  # fmt: skip
    assert rules["checked"] > 2 * len(SOUND)
    line = f"{rules['count']} rules checked {rules['checked']:,} times: 0 exceptions explained, 0 not"
    assert line in done.out


def test_what_is_explained_is_counted_and_is_no_failure(job):
    done = job(REFILLED)
    assert (done.code, done.err) == (0, "")
    assert done.summary["rules"]["ok"]
    assert done.summary["rules"]["explained"] == 1
    assert ": 1 exceptions explained, 0 not" in done.out


def test_a_broken_rule_is_one_sentence_after_everything_was_written(job):
    sound, done = job(SOUND), job(BROKEN)
    assert done.code == 1
    assert done.err == "mbo: broken without explanation: known_orders; mbo verify shows the records\n"
    assert done.files == sound.files
    assert "AAA.book.json" in done.files
    rules = done.summary["rules"]
    assert (rules["ok"], rules["unexplained"], rules["broken"]) == (False, 2, ["known_orders"])
    assert (done.summary["messages"], done.summary["books"]["AAA"]["orders"]) == (len(BROKEN), 1)
    assert ": 0 exceptions explained, 2 not" in done.out


def test_verification_can_be_left_out(job):
    done = job(BROKEN, "--no-verify")
    assert (done.code, done.err) == (0, "")
    assert done.summary["rules"] is None
    assert "rules" not in done.out


def test_the_function_reports_what_mbo_verify_finds_and_does_not_raise(tmp_path):
    day = mbo.read_dbn(day_of(tmp_path, BROKEN))
    outcome = run(day, tmp_path / "out", store=False)
    assert not outcome.verification
    assert outcome.verification.document() == mbo.verify(day).document()
    assert run(day, tmp_path / "out", store=False, verified=False).verification is None
