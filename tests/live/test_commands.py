"""`mbo gateway` and `mbo live`, as two processes on one machine."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

import mbo

COMMAND = [sys.executable, "-c", "from mbo.cli import main; main()"]


def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )


def finish(process: subprocess.Popen[str], limit_s: float = 60) -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=limit_s)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    return process.returncode, out, err


def run(*arguments: str, **environment: str) -> tuple[int, str, str]:
    return finish(start(*arguments, **environment))


@pytest.fixture
def gateway() -> Iterator[object]:
    running = []

    def serve(*options: str, **environment: str) -> tuple[subprocess.Popen[str], str]:
        process = start("gateway", mbo.SIMULATED, "--port", "0", *options, **environment)
        running.append(process)
        ready, _, _ = select.select([process.stdout], [], [], 60)
        assert ready, "the gateway said nothing within a minute"
        line = process.stdout.readline()
        return process, re.match(r"(tcp://127\.0\.0\.1:\d+) replays ", line)[1]

    yield serve
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_a_replay_is_followed_to_its_end(gateway, tmp_path):
    _, url = gateway("--max")
    code, out, err = run("live", url, "--symbols", "SIM1", "--until-end", "--json", str(tmp_path / "book.json"))
    assert (code, err) == (0, "")
    book = mbo.read_dbn(mbo.SIMULATED).book("SIM1")
    assert json.loads((tmp_path / "book.json").read_text())["digest"] == book.digest()
    assert str(book) in out
    assert f"ended; {book.status.messages:,} records; latency p50 " in out
    assert out.endswith("book.json: 1 books\n")


def test_several_books_are_a_list(gateway, tmp_path):
    _, url = gateway("--rate", "1000000")
    code, out, _ = run("live", url, "--start", "0", "--until-end", "--json", str(tmp_path / "books.json"))
    assert code == 0
    digests = {one["symbol"]: one["digest"] for one in json.loads((tmp_path / "books.json").read_text())}
    assert digests == {book.symbol: book.digest() for book in mbo.read_dbn(mbo.SIMULATED).books().values()}
    assert "90,000 records" in out


def test_sigterm_ends_a_gateway_in_order(gateway):
    process, url = gateway("--rate", "100")
    with mbo.connect(url) as feed:
        while not feed.status.applied:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        code, out, err = finish(process)
    assert (code, out) == (0, "")
    assert re.search(r"INFO mbo.gateway session 1 ends: \d+ records sent, 0 left out", err)
    assert "Traceback" not in err


def test_keys_come_from_the_environment_or_a_file(gateway, tmp_path):
    (tmp_path / "keys").write_text("first-key\nsecond-key\n")
    for options, environment in (([], {"MBO_GATEWAY_KEY": "first-key"}), (["--key-file", tmp_path / "keys"], {})):
        process, url = gateway("--max", *options, **environment)
        assert run("live", url, "--until-end", MBO_GATEWAY_KEY="first-key")[0] == 0
        code, out, err = run("live", url, "--until-end", MBO_GATEWAY_KEY="wrong-key")
        assert (code, out) == (1, "")
        assert err == "mbo: the gateway refuses: Authentication failed: no such key\n"
        process.terminate()
        assert "key" not in finish(process)[2].replace("no such key", "")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["live", "tcp://127.0.0.1:1"], "127.0.0.1:1: Connection refused"),
        (["live", "http://127.0.0.1:1"], "the url of a gateway is tcp://host:port"),
        (["live", "tcp://key@127.0.0.1:1"], "a key has no place in a url: set MBO_GATEWAY_KEY"),
        (["live", "tcp://127.0.0.1:99999"], "the port in the url of a gateway is a number up to 65535"),
        (["live", "glbx-mdp3.lsg.databento.com"], "Databento's gateway needs a key: set DATABENTO_API_KEY"),
        (["gateway", "nothing.dbn"], "nothing.dbn: No such file or directory"),
        (
            ["gateway", str(mbo.SIMULATED), "--rate", "5", "--max"],
            "a replay has one pace: give --rate, --speed or --max",
        ),
        (["gateway", str(mbo.SIMULATED), "--rate", "-1"], "rate=-1.0: it has to be more than 0"),
        (
            ["gateway", str(mbo.SIMULATED), "--host", "0.0.0.0"],
            "bound to 0.0.0.0, which is not loopback, a gateway needs a key: set MBO_GATEWAY_KEY or give a key file",
        ),
        (["gateway", str(mbo.SIMULATED), "--key-file", os.devnull], f"{os.devnull} holds no key"),
    ],
)
def test_bad_calls_get_one_sentence(arguments, sentence):
    environment = {"MBO_GATEWAY_KEY": "", "DATABENTO_API_KEY": ""}
    assert run(*arguments, **environment) == (1, "", f"mbo: {sentence}\n")


def test_an_unknown_symbol_is_named(gateway):
    _, url = gateway("--max")
    code, _, err = run("live", url, "--symbols", "NOPE", "--until-end")
    assert code == 1
    assert err.endswith("mbo: the gateway has none of the symbols: No instrument found for raw_symbol symbol NOPE\n")


def test_run_at_a_rate_accounts_for_every_record(tmp_path):
    code, out, err = run("run", "--rate", "200000", "--no-store", "--out", str(tmp_path))
    assert (code, err) == (0, "")
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["sent"], summary["messages"], summary["rate"]) == (90_000, 90_000, 200_000)
    assert summary["latency_ns"]["count"] == 90_000
    assert summary["messages_per_s"] < 210_000
    assert "200,000 asked for" in out
    assert "latency   from the time due to the book: p50 " in out
