"""What `mbo bench` says of its rows: aims met and missed, what was left out, better or worse than an earlier report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mbo import cli
from mbo.bench import core, mbp, others, report
from mbo.bench.report import Report, read_report
from mbo.bench.row import Aim, Row
from mbo.errors import DataError, InternalError

MACHINE = {"processor": "a processor, 2 cores", "system": "Linux"}


def rows() -> list[Row]:
    late = [Aim(0.2, "p50", most=True), Aim(1, most=True), Aim(5, "p99.9", most=True)]
    return [
        Row("book", 1_000, [19, 20, 21], "M/s", [Aim(25), Aim(10, "a plain book")], {"a plain book": 12.5}),
        Row("latency", 500, [0.8, 0.9, 1.1], "ms p99", late, figures={"p50": 0.3, "p99.9": 6.0}),
        Row("resting", 0, [3.0, 3.5], "M/s"),
    ]


@pytest.fixture(autouse=True)
def known(monkeypatch):
    """Measure nothing: the suites `core` and `mbp` are these rows, on this machine, with all that they run beside."""
    monkeypatch.setattr(core, "core", lambda: iter(rows()))
    monkeypatch.setattr(mbp, "mbp", lambda: iter([Row("with MBP-10", 10, [9.0, 9.5], "M/s")]))
    monkeypatch.setattr(report, "machine", lambda: MACHINE)
    monkeypatch.setattr(others, "find_spec", lambda name: name)
    monkeypatch.setenv("MBO_DATA", "somewhere")


def earlier(path: Path, suite: str = "core", machine: dict[str, str] = MACHINE, **changed: dict[str, object]) -> Path:
    """Write a report with these rows, some of their values changed; a row of no values is left out."""
    document = Report(machine, {suite: rows()}).document()
    kept = [row | changed.get(row["name"], {}) for row in document["suites"][suite] if changed.get(row["name"]) != {}]
    document["suites"][suite] = kept
    path.write_text(json.dumps(document))
    return path


# ---------------------------------------------------------------- aims


def test_every_aim_of_a_row_counts():
    book, late, resting = rows()
    assert [row.met for row in (book, late, resting)] == [False, False, None]
    assert [aim.of for aim in book.missed()] == [""]
    assert [aim.of for aim in late.missed()] == ["p50", "p99.9"]
    assert late.cells()[-2:] == ["at most 0.2 p50, at most 1, at most 5 p99.9", "MISSED"]
    assert Row("good", 1, [0.9], "ms", late.aims[1:2]).cells()[-1] == "met"


def test_a_ratio_that_is_no_number_is_missed():
    aims = [Aim(1, "a"), Aim(1, "b", most=True)]
    assert Row("row", 1, [1.0], "M/s", aims, {"a": float("nan"), "b": float("nan")}).missed() == aims


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [float("inf")]])
def test_a_row_without_numbers_stops_the_bench(values):
    with pytest.raises(InternalError, match="measured no number for 'row'"):
        Row("row", 1, values, "M/s")


def test_two_rows_of_one_name_stop_the_bench(monkeypatch):
    monkeypatch.setattr(core, "core", lambda: iter(rows() + rows()[:1]))
    assert report.report(["core"]).failed == {"core": "the bench core has two rows of the name 'book'"}


@pytest.mark.parametrize("error", [InternalError("a book differs"), OSError("no room"), ImportError("no module")])
def test_a_suite_that_fails_keeps_its_rows_and_stops_no_other(monkeypatch, call, error):
    def core_with_a_fault():
        yield rows()[0]
        raise error

    monkeypatch.setattr(core, "core", core_with_a_fault)
    found = report.report(["core", "mbp"])
    assert [len(found.suites[name]) for name in ("core", "mbp")] == [1, 1]
    assert found.failed == {"core": str(error)}
    assert found.closing()[0] == f"failed: core: {error}"
    monkeypatch.setattr(cli, "SUITES", ("core", "mbp"))
    code, out, err = call("bench", "all", "--json")
    assert (code, err) == (1, 'mbo: core ended early: see "failed"\n')
    assert json.loads(out)["failed"] == {"core": str(error)}
    assert call("bench", "all")[0] == 1


def test_the_end_says_what_is_met_missed_and_left_out(monkeypatch):
    monkeypatch.setattr(others, "find_spec", lambda name: None if name == "mboq" else name)
    assert report.report(["core", "mbp"]).closing() == [
        "not installed, left out of core: mbo-queue (likewise)",
        "2 of 5 aims met",
        "missed: core: book: 20, aim 25",
        "missed: core: latency: 0.3, aim at most 0.2 p50",
        "missed: core: latency: 6, aim at most 5 p99.9",
    ]


def test_a_suite_without_aims_misses_none():
    assert report.report(["mbp"]).closing() == ["0 of 0 aims met"]


# ---------------------------------------------------------------- beside an earlier report


def verdicts(path: Path) -> dict[str, str]:
    return {change.name: change.verdict for change in report.report(["core"]).changes(read_report(path))}


def test_spreads_that_part_are_better_or_worse_by_what_the_unit_means(tmp_path):
    slower = {"median": 15.0, "min": 14.0, "max": 18.9}
    assert verdicts(earlier(tmp_path / "a", book=slower, latency=slower))["book"] == "better"
    assert verdicts(earlier(tmp_path / "b", book=slower, latency=slower))["latency"] == "better"
    faster = {"median": 0.5, "min": 0.4, "max": 0.79}
    assert verdicts(earlier(tmp_path / "c", latency=faster))["latency"] == "worse"
    faster = {"median": 30.0, "min": 21.1, "max": 31.0}
    assert verdicts(earlier(tmp_path / "d", book=faster))["book"] == "worse"


def test_spreads_that_touch_say_nothing(tmp_path):
    assert verdicts(earlier(tmp_path / "a", book={"median": 18.0, "min": 17.0, "max": 19.0}))["book"] == ""
    assert verdicts(earlier(tmp_path / "b")) == {"book": "", "latency": "", "resting": ""}


def test_what_cannot_be_compared_is_said(tmp_path):
    path = earlier(
        tmp_path / "old.json", book={"unit": "M rows/s"}, latency={"min": 0.9, "max": 0.9, "median": 0.9},
        resting={"name": "resting before"},
    )  # fmt: skip
    changes = report.report(["core"]).changes(read_report(path))
    assert [(change.name, change.verdict) for change in changes] == [
        ("book", "in another unit"),
        ("latency", "of one run"),
        ("resting", "new"),
        ("resting before", "not measured now"),
    ]
    assert [change.cells() for change in changes[:1]] == [["book", "20 M rows/s", "20 M/s", "", "in another unit"]]
    assert changes[1].ratio == pytest.approx(1)
    assert changes[3].cells() == ["resting before", "3.25 M/s", "", "", "not measured now"]
    assert report.report(["core"]).standing(read_report(path)) == [
        "outside each other's spread: 0 better, 0 worse; 0 within it, 1 in another unit, 1 new, 1 not measured now, "
        "1 of one run"
    ]


def test_one_run_is_neither_better_nor_worse(tmp_path, monkeypatch):
    path = earlier(tmp_path / "old.json", book={"median": 50.0, "min": 45.0, "max": 55.0})
    monkeypatch.setattr(core, "core", lambda: iter([Row("book", 1_000, [20.0], "M/s")]))
    change = report.report(["core"]).changes(read_report(path))[0]
    assert change.cells() == ["book", "50 M/s", "20 M/s", "0.40", "of one run"]


def test_a_median_of_zero_has_no_ratio(tmp_path):
    path = earlier(tmp_path / "old.json", resting={"median": 0, "min": 0, "max": 0.5})
    change = report.report(["core"]).changes(read_report(path))[2]
    assert change.cells() == ["resting", "0 M/s", "3.25 M/s", "", "better"]


def test_another_machine_and_suites_that_were_not_run_are_said(tmp_path):
    path = earlier(tmp_path / "old.json", suite="live", machine=MACHINE | {"processor": "another"})
    assert report.report(["core"]).standing(read_report(path)) == [
        "outside each other's spread: 0 better, 0 worse; 0 within it, 3 new",
        f"{path} is of another processor: no row is called better or worse",
        f"{path} has also live, not run now",
    ]


def test_no_row_is_better_or_worse_than_on_another_machine(tmp_path):
    slower = {"median": 15.0, "min": 14.0, "max": 18.9}
    path = earlier(tmp_path / "old.json", machine=MACHINE | {"system": "another", "numba": "0.1"}, book=slower)
    assert verdicts(path)["book"] == "of another machine"
    assert report.report(["core"]).standing(read_report(path))[1:] == [
        f"{path} is of another system: no row is called better or worse",
        f"{path} was measured with another numba",
    ]


def test_a_slower_report_is_told_and_no_failure(call, tmp_path):
    path = earlier(tmp_path / "old.json", book={"median": 40.0, "min": 38.0, "max": 41.0})
    code, out, err = call("bench", "core", "--compare", path)
    assert (code, err) == (0, "")
    assert any(line.split() == ["book", "40", "M/s", "20", "M/s", "0.50", "worse"] for line in out.splitlines())
    assert out.splitlines()[-5:] == [
        "2 of 5 aims met",
        "missed: core: book: 20, aim 25",
        "missed: core: latency: 0.3, aim at most 0.2 p50",
        "missed: core: latency: 6, aim at most 5 p99.9",
        "outside each other's spread: 0 better, 1 worse; 2 within it",
    ]


def test_json_has_what_is_compared_and_can_be_compared_with(call, tmp_path):
    path = earlier(tmp_path / "old.json", book={"median": 10.0, "min": 9.0, "max": 11.0})
    code, out, _ = call("bench", "core", "--json", "--compare", path)
    assert code == 0
    document = json.loads(out, parse_constant=pytest.fail)
    assert [(change["name"], change["ratio"], change["verdict"]) for change in document["compared"]] == [
        ("book", 2.0, "better"), ("latency", 1.0, ""), ("resting", 1.0, ""),
    ]  # fmt: skip
    path.write_text(out)
    assert call("bench", "core", "--compare", path)[1].endswith("spread: 0 better, 0 worse; 3 within it\n")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is no report"),
        ("{", "is no report"),
        ("[]", "is no report"),
        ("{}", "is no report"),
        ('{"suites": {}}', "is no report"),
        ('{"machine": 1, "suites": {}}', "is no report"),
        ('{"machine": {}, "suites": [1]}', "is no report"),
        ('{"machine": {}, "suites": {"core": [{"name": "book"}]}}', "is no report"),
        ('{"machine": {}, "suites": {"core": [{"name": "b", "min": 1, "median": 1, "max": 1, "unit": 3}]}}', "is no report"),
        ('{"machine": {}, "suites": {"core": [{"name": "b", "min": "1", "median": 1, "max": 1, "unit": "s"}]}}', "is no report"),
        ('{"machine": {}, "suites": {"core": [{"name": "b", "min": 1, "median": NaN, "max": 1, "unit": "s"}]}}', "no median"),
        ('{"machine": {}, "suites": {"core": [{"name": "b", "min": 2, "median": 1, "max": 3, "unit": "s"}]}}', "no median"),
    ],
)  # fmt: skip
def test_a_broken_report_is_one_sentence(call, tmp_path, text, why):
    path = tmp_path / "old.json"
    path.write_text(text)
    code, out, err = call("bench", "core", "--compare", path)
    assert (code, out) == (1, "")
    assert err.startswith(f"mbo: {path}")
    assert why in err
    assert err.count("\n") == 1
    with pytest.raises(DataError):
        read_report(path)


def test_a_report_that_is_not_there_is_one_sentence(call, tmp_path):
    assert call("bench", "--compare", tmp_path / "none.json") == (
        1, "", f"mbo: there is no {tmp_path / 'none.json'} to compare with\n",
    )  # fmt: skip


def test_a_bench_that_is_told_to_end_ends_its_step_in_another_process(tmp_path):
    (tmp_path / "step.py").write_text(
        "import pathlib, signal, time\n"
        "from mbo.bench import apart, report\n"
        "def step():\n"
        "    pathlib.Path('begun').touch()\n"
        "    time.sleep(100)\n"
        "if __name__ == '__main__':\n"
        "    signal.signal(signal.SIGTERM, report._leave)\n"
        "    apart.apart(step)\n"
    )
    bench = subprocess.Popen([sys.executable, "step.py"], cwd=tmp_path)
    try:
        end = time.monotonic() + 60
        while not (tmp_path / "begun").exists() and time.monotonic() < end:
            time.sleep(0.05)
        bench.terminate()
        assert bench.wait(30) == 143
    finally:
        bench.kill()
        bench.wait(10)


def test_a_bench_that_is_told_to_end_leaves_no_files(tmp_path):
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    bench = subprocess.Popen([sys.executable, "-m", "mbo", "bench", "live"], env=environment, stdout=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 60
        while not list(tmp_path.glob("mbo-bench-*/session.dbn*")) and time.monotonic() < end:
            time.sleep(0.05)
        assert list(tmp_path.glob("mbo-bench-*"))
        bench.terminate()
        assert bench.wait(30) == 143
        assert list(tmp_path.glob("mbo-bench-*")) == []
    finally:
        bench.kill()
        bench.wait(10)
