"""The command line as a person meets it: what it prints, what it writes, how it fails."""

from __future__ import annotations

import errno
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mbo
from mbo.formats import read, records_as
from mbo.simulator import write_session

SESSION = str(mbo.SIMULATED)
SUMMARY = mbo.read_dbn(SESSION).summary()
EVENTS = f"{SUMMARY.records:,} in {SUMMARY.events:,} events"
COMMAND = f"{shlex.quote(sys.executable)} -c 'from mbo.cli import main; main()'"


@pytest.fixture
def good(call):
    """Call `mbo` and expect that it works; gives what it prints."""

    def good(*arguments: object) -> str:
        code, out, err = call(*arguments)
        assert (code, err) == (0, ""), err
        return out

    return good


# ---------------------------------------------------------------- what works


def test_version_and_help(good, call):
    assert good("--version") == f"mbo {mbo.__version__}\n"
    for command in ("", "info", "book", "convert", "compare", "run", "gateway", "live", "simulate", "bench", "doctor"):
        assert "Usage" in good(*command.split(), "--help")
    for command in ("info", "book", "convert", "compare", "run", "gateway", "live", "simulate", "bench"):
        assert "Example" in good(command, "--help")
    assert call("nonsense")[0] == 2


def test_info_counts_what_is_there(good):
    out = good("info", SESSION)
    assert EVENTS in out
    assert "SIM2 (id 1002, publisher 2)" in out
    assert "DBN version 3, zstd" in out


def test_book_draws_a_ladder(good):
    out = good("book", SESSION, "--symbol", "SIM1", "--depth", 3)
    head, columns, *levels = out.split("\n\n")[0].splitlines()  # what was counted comes after an empty line
    assert head.startswith("SIM1  2025-01-06T14:30:")
    assert len(levels) == 6
    assert "orders" in columns


def test_book_lists_orders_and_anomalies(good, tmp_path):
    records = mbo.read_dbn(SESSION).select("SIM1").load()[300:3_000]
    path = _written(tmp_path / "cut.dbn", records)
    out = good("book", path, "--depth", 1, "--orders")
    assert "unknown_cancel" in out
    assert "not synced" in out
    rows = [line.split() for line in out.splitlines() if line.startswith(("bid ", "ask "))]
    assert len(rows) > 2
    assert rows[0][4] == "0", "nobody stands before the first order"


def test_book_as_json_has_what_is_promised(good, tmp_path):
    path = tmp_path / "new" / "book.json"
    assert f"{path}: " in good("book", SESSION, "--symbol", "SIM2", "--json", path, "--orders")
    document = json.loads(path.read_text())
    promised = [
        "symbol",
        "instrument_id",
        "publisher_id",
        "ts_event",
        "ts_recv",
        "sequence",
        "synced",
        "crossed",
        "orders",
        "counters",
        "bids",
        "asks",
    ]
    assert set(promised) <= set(document)
    assert document["symbol"] == "SIM2"
    assert document["orders"] == sum(level["count"] for side in ("bids", "asks") for level in document[side])
    prices = [level["price"] for level in document["bids"]]
    assert prices == sorted(prices, reverse=True)
    for level in document["bids"] + document["asks"]:
        assert int(level["px"].replace(".", "")) == level["price"]
        assert level["size"] == sum(order["size"] for order in level["orders"])
    assert json.loads(good("book", SESSION, "--symbol", "SIM2", "--json", "-", "--orders")) == document
    assert len(json.loads(good("book", SESSION, "--symbol", "SIM2", "--json", "-", "--depth", 2))["bids"]) == 2


def test_book_at_an_instant_is_the_book_of_the_package(good):
    at = "2025-01-06T14:30:20.000000001"
    document = json.loads(good("book", SESSION, "--symbol", "1001", "--at", at, "--json", "-"))
    assert document["digest"] == mbo.read_dbn(SESSION).book("SIM1", at=at).digest()
    assert document["symbol"] == "SIM1"


def test_run_writes_every_book_and_a_summary(good, tmp_path):
    out = good("run", "--no-store", "--out", tmp_path / "out")
    manifest = json.loads(mbo.SIMULATED.with_name("simulated.json").read_text())
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    each = [f"SIM{number}.{kind}" for number in (1, 2, 3) for kind in ("book.json", "mbp-10.dbn.zst", "mbp-10.json")]
    assert files == [*each, "summary.json"]
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert {name: book["digest"] for name, book in summary["books"].items()} == manifest["digests"]
    assert summary["messages"] == sum(book["messages"] for book in summary["books"].values()) == 90_000
    for name, digest in manifest["digests"].items():
        assert json.loads((tmp_path / "out" / f"{name}.book.json").read_text())["digest"] == digest
        assert f"{name}.book.json" in out
    assert f"90,000 sent, 90,000 applied, in {SUMMARY.events:,} events" in out
    assert summary["sent"] == 90_000
    assert summary["latency_ns"]["count"] == 90_000
    assert "from sending to the book: p50 " in out
    expected = np.concatenate(list(mbo.read_dbn(SESSION).mbp(10).batches()))
    assert f"MBP-10: {len(expected):,} records" in out
    for name, instrument in (("SIM1", 1001), ("SIM2", 1002), ("SIM3", 1003)):
        own = expected[expected["instrument_id"] == instrument]
        assert summary["books"][name]["mbp_10_records"] == len(own) > 1_000
        for suffix in (".dbn.zst", ".json"):
            assert read(tmp_path / "out" / f"{name}.mbp-10{suffix}").records.tobytes() == own.tobytes()


def test_run_writes_many_books_a_few_at_a_time(good, tmp_path, monkeypatch):
    import mbo.run

    good("run", "--no-store", "--out", tmp_path / "one")
    monkeypatch.setattr(mbo.run, "_OPEN_BOOKS", 2)
    good("run", "--no-store", "--out", tmp_path / "two")
    for path in (tmp_path / "one").glob("*.mbp-10*"):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


@pytest.mark.parametrize("schema", ["mbp-10", "mbp-1", "tbbo", "trades", "bbo-1s", "bbo-1m", "mbo"])
def test_convert_writes_what_the_package_gives(good, tmp_path, schema):
    out = good("convert", SESSION, "--schema", schema, "--symbol", "SIM1", "--out", tmp_path / "new" / "day.parquet")
    day = mbo.read_dbn(SESSION).select("SIM1")
    expected = np.concatenate(list(records_as(day, schema).batches()))
    got = read(tmp_path / "new" / "day.parquet")
    assert got.schema == schema
    assert got.records.tobytes() == expected.tobytes()
    assert out.startswith(f"{tmp_path}/new/day.parquet: {len(expected):,} {schema} records, ")


def test_convert_passes_on_what_comes_out(good, tmp_path):
    counts = {}
    for emit in ("touch", "change"):
        good("convert", SESSION, "--schema", "mbp-1", "--emit", emit, "--out", tmp_path / "day.dbn")
        counts[emit] = len(read(tmp_path / "day.dbn").records)
        expected = mbo.read_dbn(SESSION).mbp(1, emit=emit)
        assert counts[emit] == sum(map(len, expected.batches()))
    assert counts["change"] < counts["touch"]


def test_compare_says_whether_anything_differs(good, call, tmp_path):
    records = read(_converted(good, tmp_path / "day.dbn")).records.copy()
    assert good("compare", tmp_path / "day.dbn", _converted(good, tmp_path / "day.json")).count("100.00 %") == 1
    records["side"][5], records["bid_sz_00"][7] = ord("N"), 12_345
    header = (tmp_path / "day.dbn").read_bytes()[: -records.nbytes]
    (tmp_path / "other.dbn").write_bytes(header + records.tobytes())
    code, out, err = call("compare", tmp_path / "day.dbn", tmp_path / "other.dbn", "--json", tmp_path / "result.json")
    assert (code, err) == (1, "")
    rows = {row[0]: row[1:] for line in out.splitlines() if len(row := line.split()) == 6}
    assert rows["side"][:3] == ["1", "5", "5"]
    assert rows["bid_sz_00"][4] == "12345"
    document = json.loads((tmp_path / "result.json").read_text())
    assert [one["what"] for one in document["differences"]] == ["side", "bid_sz_00"]
    assert call("compare", tmp_path / "day.dbn", tmp_path / "other.dbn", "--ignore", "side")[0] == 1
    for ignore in (["--ignore", "side", "--ignore", "bid_sz_00"], ["--ignore", "side, bid_sz_00"]):
        assert "ignored    side, bid_sz_00" in good("compare", tmp_path / "day.dbn", tmp_path / "other.dbn", *ignore)


def test_compare_takes_the_books_of_two_commands(good, call, tmp_path):
    good("run", "--no-store", "--out", tmp_path)
    good("book", SESSION, "--symbol", "SIM2", "--orders", "--json", tmp_path / "book.json")
    assert "100.00 %" in good("compare", tmp_path / "SIM2.book.json", tmp_path / "book.json")
    code, out, _ = call("compare", tmp_path / "SIM1.book.json", tmp_path / "book.json")
    assert code == 1
    assert "digest" in out


def _converted(good, path: Path) -> Path:
    good("convert", SESSION, "--schema", "mbp-1", "--symbol", "SIM3", "--out", path)
    return path


def test_run_takes_several_files_and_names_results_safely(good, tmp_path):
    records = mbo.read_dbn(SESSION).select("SIM1").load()[:3_000].copy()
    other = records.copy()
    other["publisher_id"] = 2
    one = _written(tmp_path / "one.dbn", records, symbol="SIM/1 x")
    two = _written(tmp_path / "two.dbn", other, symbol="SIM/1 x")
    good("run", one, two, "--no-store", "--no-verify", "--out", tmp_path / "out")  # publisher 2 has other rules
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    each = [f"SIM_1_x.{number}.{kind}" for number in (1, 2) for kind in ("book.json", "mbp-10.dbn.zst", "mbp-10.json")]
    assert names == [*each, "summary.json"]
    for number in (1, 2):
        found = read(tmp_path / "out" / f"SIM_1_x.{number}.mbp-10.json").records
        assert set(found["publisher_id"].tolist()) == {number}


def test_simulate_writes_what_the_seed_says(good, tmp_path):
    good("simulate", "--out", tmp_path / "a.dbn", "--messages", 3_000, "--seed", 5, "--instruments", 2)
    out = good("simulate", "--out", tmp_path / "b.dbn.zst", "--messages", 3_000, "--seed", 5, "--instruments", 2)
    assert "3,000 records of SIM1, SIM2" in out
    first, second = (mbo.read_dbn(tmp_path / name).load() for name in ("a.dbn", "b.dbn.zst"))
    assert first.tobytes() == second.tobytes()


def test_simulate_writes_a_truth_that_convert_agrees_with(good, tmp_path):
    out = good("simulate", "--out", tmp_path / "a.dbn", "--messages", 5_000, "--truth", tmp_path / "truth.dbn.zst")
    assert "MBP-10 records" in out
    good("convert", tmp_path / "a.dbn", "--schema", "mbp-10", "--out", tmp_path / "ours.parquet")
    assert "100" in good("compare", tmp_path / "ours.parquet", tmp_path / "truth.dbn.zst")


def test_doctor_finds_nothing_wrong_and_would(good, call, monkeypatch, tmp_path):
    assert "WRONG" not in good("doctor")
    write_session(tmp_path / "other.dbn", 3_000)
    (tmp_path / "simulated.json").write_text(mbo.SIMULATED.with_name("simulated.json").read_text())
    monkeypatch.setattr(mbo, "SIMULATED", tmp_path / "other.dbn")
    code, out, err = call("doctor")
    assert (code, err) == (1, "mbo: 1 of the checks failed\n")
    assert "WRONG" in out


def test_a_reader_that_goes_away_is_not_an_error_to_talk_about():
    script = f"{COMMAND} book {shlex.quote(SESSION)} --symbol SIM1 --orders | head -n 1"
    done = subprocess.run(script, shell=True, capture_output=True, text=True, timeout=100, check=False)
    assert done.stdout.startswith("SIM1")
    assert done.stderr == ""


# ---------------------------------------------------------------- what fails


def _written(path: Path, records: np.ndarray, symbol: str = "SIM1") -> Path:
    from types import SimpleNamespace

    from databento_dbn import Metadata, Schema, SType

    header = mbo.read_dbn(SESSION).files[0].metadata
    interval = header.mappings["SIM1"][0] | {"symbol": str(records["instrument_id"][0])}
    mapping = SimpleNamespace(raw_symbol=symbol, intervals=[SimpleNamespace(**interval)])
    metadata = Metadata(
        dataset="GLBX.MDP3", start=header.start, end=header.end, schema=Schema.MBO, version=3,
        stype_in=SType.RAW_SYMBOL, stype_out=SType.INSTRUMENT_ID, symbols=[symbol], mappings=[mapping],
    )  # fmt: skip
    path.write_bytes(metadata.encode() + records.tobytes())
    return path


@pytest.fixture
def bad(tmp_path):
    """A folder of files that are wrong, each in its own way."""
    plain = _written(tmp_path / "good.dbn", mbo.read_dbn(SESSION).select("SIM1").load()[:100]).read_bytes()
    header = 8 + int.from_bytes(plain[4:8], "little")
    packed = mbo.SIMULATED.read_bytes()

    def patched(offset: int, value: int) -> bytes:
        return plain[:offset] + bytes([value]) + plain[offset + 1 :]

    files = {
        "truncated.dbn": plain[:-7],
        "cut_header.dbn": plain[: header - 9],
        "magic.dbn": b"PK\x03\x04" + plain[4:],
        "version.dbn": patched(3, 9),
        "length.dbn": patched(header + 56 * 20, 13),
        "zero_length.dbn": patched(header + 56 * 20, 0),
        "rtype.dbn": patched(header + 56 * 20 + 1, 0xEE),
        "cut_frame.dbn.zst": packed[:-1000],
        "damaged.dbn.zst": packed[:500_000] + b"\0" * 64 + packed[500_064:],
        "empty.dbn": b"",
        "nothing.dbn": plain[:header],
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


BAD = {
    "truncated.dbn": "is cut: it ends 49 bytes into record 99",
    "cut_header.dbn": "ends within its header",
    "magic.dbn": "is not a DBN file",
    "version.dbn": "is DBN version 9: only versions 1, 2 and 3 are known",
    "length.dbn": "record 20 .*length byte.* 13",
    "zero_length.dbn": "record 20 .*length byte.* 0",
    "rtype.dbn": "record 20 .*unknown rtype.*0xee",
    "cut_frame.dbn.zst": "is cut: its last zstd frame is not complete",
    "damaged.dbn.zst": "is damaged",
    "empty.dbn": "is empty",
    "nothing.dbn": "no (MBO )?records",
    ".": "is a directory",
    "missing.dbn": "No such file or directory",
    "*.parquet": "no file matches",
}


@pytest.mark.parametrize("command", ["book", "run", "convert"])
@pytest.mark.parametrize("name", BAD)
def test_bad_input_gets_one_sentence_and_leaves_nothing(call, bad, name, command):
    import re

    results = bad / "results"
    target = {
        "book": ["--json", results / "book.json"],
        "run": ["--no-store", "--out", results],
        "convert": ["--schema", "mbp-10", "--out", results / "day.csv"],
    }[command]
    code, out, err = call(command, bad / name, *target)
    if (command, name) == ("convert", "nothing.dbn"):  # no records are converted to no records
        assert (code, err) == (0, "")
        return
    assert code == 1
    assert out == ""
    assert re.fullmatch(rf"mbo: .*{BAD[name]}.*\n", err), err
    assert "Traceback" not in err
    assert not list(results.rglob("*"))
    assert command == "convert" or not results.exists(), "only what is written as it is read needs its folder before"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--symbol", "NOPE"], "no symbol 'NOPE' in the data: it has SIM1, SIM2, SIM3"),
        ([], "3 books fit no symbol: select a symbol of"),
        (
            ["--symbol", "SIM1", "--at", "2031-01-01"],
            "is outside the data, which goes from 2025-01-06T14:30:00.000000000Z",
        ),
        (["--symbol", "SIM1", "--at", "1999-01-01"], "is outside the data"),
        (["--symbol", "SIM1", "--at", "yesterday"], "'yesterday' is not a time"),
        (["--symbol", "77"], "there are no records of 77 in the data"),
    ],
)
def test_a_request_that_fits_nothing_gets_one_sentence(call, arguments, complaint):
    code, out, err = call("book", SESSION, *arguments)
    assert (code, out) == (1, "")
    assert complaint in err
    assert err.count("\n") == 1


def test_strict_names_the_record(call, tmp_path):
    path = _written(tmp_path / "cut.dbn", mbo.read_dbn(SESSION).select("SIM1").load()[300:3_000])
    code, out, err = call("run", path, "--strict", "--no-store", "--out", tmp_path / "out")
    assert (code, out) == (1, "")
    assert err.startswith("mbo: record ")
    assert "breaks the rule 'unknown_" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["simulate", "--out", "x.csv"],
        ["simulate", "--out", "x.dbn", "--messages", 5],
        ["bench", "nothing"],
        ["convert", SESSION, "--schema", "mbp-10", "--out", "day.txt"],
        ["convert", SESSION, "--schema", "mbp-9", "--out", "day.csv"],
        ["convert", SESSION, "--schema", "mbp-10", "--emit", "never", "--out", "day.csv"],
        ["convert", SESSION, "--schema", "trades", "--emit", "change", "--out", "day.csv"],
        ["convert", SESSION, "--schema", "mbp-10", "--symbol", "NOPE", "--out", "day.csv"],
        ["compare", SESSION, SESSION, "--ignore", "sied"],
        ["compare", SESSION, "nothing.json"],
        ["compare", SESSION, "summary.txt"],
    ],
)
def test_other_requests_that_make_no_sense(call, arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = call(*arguments)
    assert code == 1
    assert err.startswith("mbo: ")
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--no-store", "--out", "out"],
        ["book", SESSION, "--symbol", "SIM1", "--json", "out/b.json"],
        ["simulate", "--out", "out/s.dbn"],
        ["convert", SESSION, "--schema", "trades", "--out", "out/t.parquet"],
    ],
)
def test_a_full_disk_is_one_sentence_and_no_file(call, arguments, tmp_path, monkeypatch):
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "fsync", full)
    code, _, err = call(*arguments)
    assert (code, err) == (1, "mbo: No space left on device\n")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare"), reason="a small file system needs root and unshare"
)
def test_a_disk_that_is_really_full(tmp_path):
    script = f"""
        mount -t tmpfs -o size=256k none {tmp_path} || exit 77
        {COMMAND} simulate --out {tmp_path}/day.dbn --messages 50000 2>{tmp_path}/../err; echo $?
        ls -A {tmp_path}
    """
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, timeout=100, check=False
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("no private mounts here")
    assert done.stdout == "1\n"
    assert (tmp_path.parent / "err").read_text() == "mbo: No space left on device\n"


def test_a_place_that_cannot_be_written_is_named(call, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = call("run", "--no-store", "--out", tmp_path / "file" / "out")
    assert code == 1
    assert "file" in err
    assert err.count("\n") == 1


def test_brackets_are_brackets(good, tmp_path):
    path = _written(tmp_path / "z[red]w[_b].dbn", mbo.read_dbn(SESSION).select("SIM1").load()[:300], symbol="a[/]b")
    assert "z[red]w[_b].dbn" in good("info", path)
    assert "a[/]b" in good("run", path, "--no-store", "--out", tmp_path / "o[/b]")


def test_two_venues_are_told_apart(good, call, tmp_path):
    records = mbo.read_dbn(SESSION).select("SIM1").load()[:3_000].copy()
    records["publisher_id"][1_000:] = 2
    path = _written(tmp_path / "two.dbn", records)
    code, _, err = call("book", path)
    assert (code, err.startswith("mbo: 2 books fit no symbol: select a publisher of SIM1 (publisher 1)")) == (1, True)
    document = json.loads(good("book", path, "--publisher", 2, "--json", "-"))
    assert (document["publisher_id"], document["messages"]) == (2, 2_000)


@pytest.mark.parametrize("variables", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}])
def test_a_terminal_that_cannot_show_bars(variables):
    done = subprocess.run(
        [*shlex.split(COMMAND), "book", SESSION, "--symbol", "SIM1"],
        env={**os.environ, **variables}, capture_output=True, timeout=100, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"SIM1" in done.stdout


def test_closed_streams_are_one_sentence_or_none():
    done = subprocess.run(
        f"{COMMAND} info {SESSION} >&-", shell=True, capture_output=True, text=True, timeout=100, check=False
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "Traceback" not in done.stderr
