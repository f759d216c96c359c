"""The bench measures what it says: small runs of every row, and a wrong book would stop it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import databento_dbn
import numpy as np
import pytest

from mbo._jit import JIT
from mbo.bench import core, live, machine, mbp, others, timing
from mbo.book import Book, Books
from mbo.book.interface import digest_of
from mbo.book.rows import ORDER_DTYPE
from mbo.errors import InternalError
from mbo.mbp import Mbp
from mbo.records import Action, Flag, Side
from mbo.simulator import simulate
from tests.book.tapes import tape

ROOT = Path(__file__).resolve().parents[1]


def shrink(monkeypatch, **values):
    """Set a constant in every module of the bench that has taken it over."""
    for name, value in values.items():
        for module in (core, live, mbp, others, timing):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, value)


@pytest.fixture
def small(monkeypatch):
    shrink(
        monkeypatch,
        RUNS=2,
        MESSAGES=12_000,
        PER_RUN=20_000,
        SLOW_MESSAGES=5_000,
        TURN_S=0,
        RESTING=(50, 100, 400),
        INSTRUMENTS=10,
        DECODED=3_000,
        memory_gb_per_s=lambda: 10.0,
    )


@pytest.fixture
def alone(monkeypatch):
    """As where nothing is installed that the package can do without."""
    monkeypatch.setattr(others, "find_spec", lambda name: None)


def test_every_row_of_core_is_measured(small, alone, monkeypatch):
    monkeypatch.delenv("MBO_DATA", raising=False)
    rows = list(core.core())
    assert [row.name for row in rows] == [
        "book only, 300 orders resting", "ReferenceBook", "dict + SortedDict, decoded tuples",
        "50 orders resting", "100 orders resting", "400 orders resting", "10 instruments interleaved, one thread",
        "10 instruments interleaved, two threads", "file to records", "file by databento_dbn.DBNDecoder, to objects",
        "Zstandard file to records", "Zstandard file by databento_dbn.DBNDecoder, to objects",
    ]  # fmt: skip
    assert all(len(row.values) == 2 and min(row.values) > 0 for row in rows)
    assert set(rows[0].ratios) == {"ReferenceBook", "dict + SortedDict, decoded tuples", "the speed of memory"}
    assert [aim.of for aim in rows[0].aims] == ["", "dict + SortedDict, decoded tuples"]
    assert rows[0].ratios["the speed of memory"] == pytest.approx(rows[0].median * 56e6 / 10e9)
    assert json.dumps([row.document() for row in rows])
    assert all(len(row.cells()) == 7 for row in rows)


def test_a_wrong_book_stops_the_bench(small, monkeypatch):
    session = simulate(2_000, seed=1)
    monkeypatch.setattr(type(session), "digest", lambda self, number: "wrong")
    with pytest.raises(InternalError, match="differs from the simulator's own"):
        timing.books_row("row", session)


def test_all_three_books_are_the_same_book():
    builds = core._builds(simulate(5_000, seed=3).records)
    assert len(builds) == 3
    assert len({build().digest() for build in builds.values()}) == 1


def test_a_book_that_ends_differently_stops_the_bench(small):
    records = simulate(5_000, seed=3).records
    shorter = core._builds(records[:-1])[core.PLAIN]
    with pytest.raises(InternalError, match="the short one ends in another book"):
        timing.in_turn(5_000, core._engine(records).digest(), {"the short one": shorter})


# ---------------------------------------------------------------- what others have written


def test_the_machine_names_the_versions_of_what_runs_beside(monkeypatch):
    monkeypatch.setattr(machine, "memory_gb_per_s", lambda: 12.34)
    monkeypatch.setattr(machine, "_BESIDE", ("polars", "no-such-package"))
    found = machine.machine()
    assert found["beside it"] == f"polars {version('polars')}"
    assert found["memory copied by one core"] == "12.3 GB/s"


def test_what_is_left_out_is_said(alone, monkeypatch):
    monkeypatch.delenv("MBO_DATA", raising=False)
    assert others.left_out(["core", "mbp", "store"]) == [
        "not installed, left out of core: nautilus_trader (make bench-env, then make bench or PYTHONPATH=.bench), "
        "mbo-queue (likewise), databento (the extra `dev`)",
        "not installed, left out of store: duckdb (make bench-env, then make bench or PYTHONPATH=.bench)",
        "left out of core: the book of CLX5, for MBO_DATA does not say where real data lies",
    ]
    assert others.books(simulate(1_000, seed=1).records) == {}
    monkeypatch.setattr(others, "find_spec", lambda name: name)
    monkeypatch.setenv("MBO_DATA", "somewhere")
    assert others.left_out(["core", "live", "store"]) == []


def naive(changes) -> str:
    """The digest of a book whose update leaves an order in its place at a price, as nautilus_trader's does."""
    queues: dict[tuple[int, int], dict[int, int]] = {}
    where: dict[int, tuple[int, int]] = {}
    for action, side, number, price, size, *_ in changes:
        if action == Action.CLEAR:
            queues, where = {}, {}
            continue
        if action == Action.CANCEL or (action == Action.MODIFY and where[number] != (side, price)):
            del queues[where.pop(number)][number]
        if action != Action.CANCEL:
            where[number] = (side, price)
            queues.setdefault((side, price), {})[number] = size
    bids = sorted((key for key in queues if key[0] == Side.BID), key=lambda key: -key[1])
    asks = sorted(key for key in queues if key[0] == Side.ASK)
    rows = [(number, *key, size, 0, False) for key in bids + asks for number, size in queues[key].items()]
    return digest_of(np.array(rows, ORDER_DTYPE))


def ours(records) -> str:
    book = Book()
    book.apply(records)
    return book.digest()


def test_changes_lead_a_book_without_rules_to_ours():
    records = simulate(20_000, seed=1, resting=300).records
    assert naive(others._changes(records)) == ours(records)


def test_parts_that_are_cancelled_and_orders_that_grow_keep_their_sequence():
    records = tape(
        "A 1 B 100 5", "A 2 B 100 5", "A 3 B 100 5", "C 1 B 100 2", "M 2 B 100 9", "M 3 B 100 4", "M 1 B 101 7", "A 9 A 105 1",
        "T 0 A 100 2", "F 2 B 100 2",
    )  # fmt: skip
    changes = [(chr(action), number, size) for action, _, number, _, size, *_ in others._changes(records)]
    assert changes[3:6] == [("M", 1, 3), ("C", 2, 0), ("A", 2, 9)]
    assert naive(others._changes(records)) == ours(records)


@pytest.mark.parametrize(
    ("package", "names"),
    [("nautilus_trader", [others.NAUTILUS, others.NAUTILUS_MADE, others.NAUTILUS_BULK]), ("mboq", [others.QUEUE])],
)
def test_a_book_of_others_is_ours_and_would_be_seen_not_to_be(package, names):
    pytest.importorskip(package, reason=f"{package} is not installed: `make bench-env` fetches it for benches")
    records = simulate(20_000, seed=1, resting=300).records
    records = records[: np.flatnonzero(records["flags"] & int(Flag.LAST))[-1] + 1]
    book = Book()
    book.apply(records)
    placed = np.isin(records["action"], [Action.ADD, Action.MODIFY]) & (
        records["order_id"] == book.orders("bid")[0].order_id
    )
    other = records.copy()
    other["size"][np.flatnonzero(placed)[-1]] += 1
    for name in names:
        assert others.books(records)[name]().digest() == ours(records)
        assert others.books(other)[name]().digest() == ours(other) != ours(records)


def test_what_is_decoded_is_compared_with_the_file(small, alone, monkeypatch):
    class Forgetful:
        def __init__(self, **options):
            self.decoder = decoder(**options)
            self.write = self.decoder.write

        def decode(self):
            return self.decoder.decode()[:-1]

    decoder = databento_dbn.DBNDecoder
    monkeypatch.setattr(databento_dbn, "DBNDecoder", Forgetful)
    with pytest.raises(InternalError, match="to objects: it gives other records than the file"):
        list(others.decoders())


def test_the_optional_environment_hides_nothing_of_the_locked_one():
    def names(file: str) -> set[str]:
        return {name.lower() for name in re.findall(r"^([\w.-]+)==", (ROOT / file).read_text(), re.MULTILINE)}

    optional = names("tests/bench-requirements.txt") | names("tests/verification/requirements.txt")
    assert optional == {"duckdb", "mbo-queue", "msgspec", "nautilus-trader", "pytz"}
    assert not optional & names("requirements.lock")


# ---------------------------------------------------------------- a guard of ratios, for any machine


def leads(messages: int, runs: int) -> dict[str, float]:
    """By name, how often the engine's processor time goes into that of another: the least of several runs in turn."""
    records = simulate(messages, seed=1, resting=300).records

    def engine() -> None:
        Books().apply(records)

    def with_mbp() -> None:
        for _ in Mbp(10).apply(records):
            pass

    builds = core._builds(records)
    works = {"engine": engine, "plain": builds[core.PLAIN], "reference": builds[core.REFERENCE], "mbp-10": with_mbp}
    least = dict.fromkeys(works, float("inf"))
    for run in range(runs + 1):
        for name, work in works.items():
            begun = time.process_time()
            work()
            if run:
                least[name] = min(least[name], time.process_time() - begun)
    return {name: seconds / least["engine"] for name, seconds in least.items()}


def behind(found: dict[str, float]) -> list[str]:
    """What is worse than it is on any machine: the plain book some ten times as slow, the readable one a hundred, MBP-10 two."""
    kept = {"plain": found["plain"] >= 3, "reference": found["reference"] >= 20, "mbp-10": found["mbp-10"] <= 6}
    return [name for name, good in kept.items() if not good]


@pytest.mark.skipif(not JIT, reason="NUMBA_DISABLE_JIT: the engine is not compiled, and slow by intent")
@pytest.mark.skipif("NUMBA_BOUNDSCHECK" in os.environ, reason="NUMBA_BOUNDSCHECK: every index is checked")
def test_the_compiled_engine_keeps_its_lead():
    found = leads(30_000, 5)
    assert behind(found) == [], found


def test_the_guard_sees_an_engine_that_is_not_compiled():
    code = "from tests.test_bench import behind, leads; print(*behind(leads(3_000, 1)))"
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100
    )
    assert done.stdout.split()[:2] == ["plain", "reference"], done.stderr


# ---------------------------------------------------------------- the other suites


def test_a_missing_record_of_market_by_price_stops_the_bench(small, monkeypatch):
    right = Mbp.apply
    monkeypatch.setattr(Mbp, "apply", lambda self, records: [piece[:-1] for piece in right(self, records)])
    with pytest.raises(InternalError, match="of MBP-10 that differ from the simulator's own"):
        next(mbp.mbp())


def test_a_wrong_level_stops_the_bench(small, monkeypatch):
    right = Mbp.apply

    def wrong(self, records):
        pieces = right(self, records)
        pieces[-1]["ask_ct_09"][-1] += 1
        return pieces

    monkeypatch.setattr(Mbp, "apply", wrong)
    with pytest.raises(InternalError, match="of MBP-10 that differ"):
        next(mbp.mbp())


def test_every_row_of_mbp_is_measured(small):
    rows = list(mbp.mbp())
    assert [row.name for row in rows] == ["with MBP-10 records", "with MBP-1 records", "MBO records to Arrow MBP-10"]
    assert all(min(row.values) > 0 for row in rows)
    assert rows[2].messages > 5_000


def test_every_row_of_live_is_measured(monkeypatch):
    shrink(monkeypatch, TURN=20_000, SECONDS=1, RUNS=1, OFFICIAL=5_000, PACED=((20_000, 1), (5_000, 3)))
    rows = list(live.live())
    assert [row.messages for row in rows] == [20_000, 20_000, 15_000, 5_000, 5_000, 5_000]
    assert all(min(row.values) > 0 for row in rows)
    assert set(rows[1].figures) == {"p50", "p99.9", "max"}
    assert set(rows[-1].ratios) == {"the client with a book", "counting"}


def test_a_lost_record_stops_the_bench_of_live(monkeypatch):
    from mbo.errors import LostError
    from mbo.live.process import GatewayProcess

    shrink(monkeypatch, TURN=5_000, RUNS=0, PACED=((5_000, 1),), SECONDS=1)
    monkeypatch.setattr(GatewayProcess, "sent", property(lambda self: self.records + 1))
    with pytest.raises(LostError, match="5,001 records were sent"):
        list(live.live())
