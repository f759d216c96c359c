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
from mbo import cli
from mbo.records import MBO_DTYPE
from mbo.simulator import write_session

SESSION = str(mbo.SIMULATED)
COMMAND = f"{shlex.quote(sys.executable)} -c 'from mbo.cli import main; main()'"


@pytest.fixture
def call(capsys, monkeypatch):
    """Call `mbo` in this process; gives (exit code, standard output, standard error)."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mbo", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return call


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
    for command in ("", "info", "book", "run", "simulate", "bench", "doctor"):
        assert "Usage" in good(*command.split(), "--help")
    for command in ("info", "book", "run", "simulate", "bench"):
        assert "Example" in good(command, "--help")
    assert call("nonsense")[0] == 2


def test_info_counts_what_is_there(good):
    out = good("info", SESSION)
    assert "90,000 in 78,150 events" in out
    assert "SIM2 (id 1002, publisher 1)" in out
    assert "DBN version 3, zstd" in out


def test_book_draws_a_ladder(good):
    out = good("book", SESSION, "--symbol", "SIM1", "--depth", 3)
    head, columns, *levels = out.splitlines()
    assert head.startswith("SIM1  2025-01-06T14:30:44.")
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
    out = good("run", "--out", tmp_path / "out")
    manifest = json.loads(mbo.SIMULATED.with_name("simulated.json").read_text())
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert files == ["SIM1.book.json", "SIM2.book.json", "SIM3.book.json", "summary.json"]
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert {name: book["digest"] for name, book in summary["books"].items()} == manifest["digests"]
    assert summary["messages"] == sum(book["messages"] for book in summary["books"].values()) == 90_000
    for name, digest in manifest["digests"].items():
        assert json.loads((tmp_path / "out" / f"{name}.book.json").read_text())["digest"] == digest
        assert f"{name}.book.json" in out
    assert "90,000 in 78,150 events" in out


def test_run_takes_several_files_and_names_results_safely(good, tmp_path):
    records = mbo.read_dbn(SESSION).select("SIM1").load()[:3_000].copy()
    other = records.copy()
    other["publisher_id"] = 2
    one = _written(tmp_path / "one.dbn", records, symbol="SIM/1 x")
    two = _written(tmp_path / "two.dbn", other, symbol="SIM/1 x")
    good("run", one, two, "--out", tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["SIM_1_x.1.book.json", "SIM_1_x.2.book.json", "summary.json"]


def test_simulate_writes_what_the_seed_says(good, tmp_path):
    good("simulate", "--out", tmp_path / "a.dbn", "--messages", 3_000, "--seed", 5, "--instruments", 2)
    out = good("simulate", "--out", tmp_path / "b.dbn.zst", "--messages", 3_000, "--seed", 5, "--instruments", 2)
    assert "3,000 records of SIM1, SIM2" in out
    first, second = (mbo.read_dbn(tmp_path / name).load() for name in ("a.dbn", "b.dbn.zst"))
    assert first.tobytes() == second.tobytes()


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


@pytest.mark.parametrize("command", ["book", "run"])
@pytest.mark.parametrize("name", BAD)
def test_bad_input_gets_one_sentence_and_leaves_nothing(call, bad, name, command):
    import re

    results = bad / "results"
    target = ["--out", results] if command == "run" else ["--json", results / "book.json"]
    code, out, err = call(command, bad / name, *target)
    assert code == 1
    assert out == ""
    assert re.fullmatch(rf"mbo: .*{BAD[name]}.*\n", err), err
    assert "Traceback" not in err
    assert not results.exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--symbol", "NOPE"], "no symbol 'NOPE' in the data: it has SIM1, SIM2, SIM3"),
        ([], "3 books fit no symbol: name one of"),
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
    code, out, err = call("run", path, "--strict", "--out", tmp_path / "out")
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
        ["run", "--out", "out"],
        ["book", SESSION, "--symbol", "SIM1", "--json", "out/b.json"],
        ["simulate", "--out", "out/s.dbn"],
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
    code, _, err = call("run", "--out", tmp_path / "file" / "out")
    assert code == 1
    assert "file" in err
    assert err.count("\n") == 1


def test_the_records_here_are_mbo():
    assert mbo.MBO_DTYPE is MBO_DTYPE
