"""Faults planted in copies of the engine and of the analytics' kernels: the tests notice every one of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.proof.mutants import ANALYTICS, EMISSION, ENGINE, PARALLEL
from tests.proof.planting import Suite, copy, run, survivors

pytestmark = [pytest.mark.proof, pytest.mark.timeout(900)]

_BOOKS = Suite(("proof/test_generated.py", "book/test_contract.py"), "not Reference")
_EMITTED = Suite(("test_mbp.py",), "not the_last_record and not only_the_schemas")  # no whole sessions
_PARALLEL = Suite(("book/test_parallel.py",), "not day")
_NEEDED = ("proof/alphabets.py", "proof/side_by_side.py", "book/tapes.py")

# As plain Python whole sessions take long: only what is there by hand.
_BY_HAND = "not agree_with and not anywhere and not compared_with and not whatever and not conserve"
_LIVES = Suite(("analytics/test_orders.py",), _BY_HAND)
_QUEUES = Suite(("analytics/test_queues.py",), _BY_HAND)
_BARS = Suite(("analytics/test_bars.py",), _BY_HAND)
_ANALYTICS = {
    "analytics/_life_kernels.py": _LIVES,
    "analytics/_watch_kernels.py": _QUEUES,
    "analytics/_bar_kernels.py": _BARS,
}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy(tmp_path_factory.mktemp("engine"), [_BOOKS], _NEEDED)


def test_a_copy_that_does_not_run_is_not_a_kill(engine: Path, tmp_path: Path):
    shutil.copytree(engine, tmp_path / "broken")
    (tmp_path / "broken" / "mbo" / "book" / "_kernels.py").write_text("nonsense")
    outcome = run(tmp_path / "broken", _BOOKS)
    assert outcome.code != 0
    assert not outcome.killer


def test_every_fault_in_the_engine_is_noticed(engine: Path, tmp_path: Path, tell: Callable[[str], None]):
    assert len({mutant.fault for mutant in ENGINE}) == len(ENGINE) >= 25
    living = survivors(engine, ENGINE, lambda mutant: _BOOKS, tmp_path, tell)
    assert not living, "\n".join(living)


def test_every_fault_in_books_on_several_threads_is_noticed(tmp_path: Path, tell: Callable[[str], None]):
    assert len({mutant.fault for mutant in PARALLEL}) == len(PARALLEL) >= 8
    package = copy(tmp_path / "parallel", [_PARALLEL], ("book/tapes.py", "book/test_property.py"))
    living = survivors(package, PARALLEL, lambda mutant: _PARALLEL, tmp_path, tell)
    assert not living, "\n".join(living)


def test_every_fault_in_market_by_price_is_noticed(tmp_path: Path, tell: Callable[[str], None]):
    assert len({mutant.fault for mutant in EMISSION}) == len(EMISSION) >= 10
    package = copy(tmp_path / "emission", [_EMITTED], ("book/tapes.py",))
    living = survivors(package, EMISSION, lambda mutant: _EMITTED, tmp_path, tell)
    assert not living, "\n".join(living)


def test_every_fault_in_the_analytics_is_noticed(tmp_path: Path, tell: Callable[[str], None]):
    assert len({mutant.fault for mutant in ANALYTICS}) == len(ANALYTICS) >= 20
    package = copy(tmp_path / "analytics", _ANALYTICS.values(), ("analytics/tables.py", "book/tapes.py"))
    living = survivors(package, ANALYTICS, lambda mutant: _ANALYTICS[mutant.file], tmp_path, tell)
    assert not living, "\n".join(living)
