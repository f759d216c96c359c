"""Faults planted in copies of the engine: the tests notice every one of them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

import mbo
from tests.proof.mutants import MUTANTS, Mutant

pytestmark = [pytest.mark.proof, pytest.mark.timeout(900)]

_TESTS = Path(__file__).parents[1]
_SUITE = ["proof/test_generated.py", "book/test_contract.py"]
_NEEDED = [*_SUITE, "proof/alphabets.py", "proof/side_by_side.py", "book/tapes.py"]
_ONE_TEST_S = 10
_SETTINGS = "[pytest]\naddopts = --import-mode=importlib\nmarkers = nojit\n    proof\nfilterwarnings = error\n"
# A copy that tested the original would let every fault live.
_OWN_PACKAGE = "from pathlib import Path\nimport mbo\nassert Path(mbo.__file__).parents[1] == Path(__file__).parent\n"
_KILLERS = {
    "AssertionError": "assertion",
    "assert ": "assertion",
    "mbo.errors.InternalError": "check(), InternalError",
    "mbo.errors.RuleError": "RuleError",
    "mbo.errors.OrderError": "OrderError",
    "IndexError": "index out of bounds",
    "KeyError": "a book that is not there, KeyError",
    "Failed: Timeout": f"limit of {_ONE_TEST_S} s",
    "Failed: DID NOT RAISE": "an error that does not come",
}


class Outcome(NamedTuple):
    code: int
    killer: str
    """What killed the copy, empty where nothing did."""
    told: str


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the books need, with the tests that are run on it: they pass."""
    folder = tmp_path_factory.mktemp("original")
    unneeded = shutil.ignore_patterns("__pycache__", "data", "live", "store")
    shutil.copytree(Path(mbo.__file__).parent, folder / "mbo", ignore=unneeded)
    for name in _NEEDED:
        (folder / "tests" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(_TESTS / name, folder / "tests" / name)
    (folder / "pytest.ini").write_text(_SETTINGS)
    (folder / "conftest.py").write_text(_OWN_PACKAGE)
    outcome = run(folder)
    assert outcome.code == 0, f"the tests fail without a fault:\n{outcome.told}"
    return folder


def run(folder: Path) -> Outcome:
    """Run the tests on a copy, as plain Python, up to the first failure."""
    settings = {
        "NUMBA_DISABLE_JIT": "1",
        "PYTHONPATH": str(folder),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "COLUMNS": "240",
    }
    options = [
        "-x",
        "-q",
        "--tb=line",
        "-rf",
        "-p",
        "pytest_timeout",
        f"--timeout={_ONE_TEST_S}",
        "-p",
        "no:cacheprovider",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "-k", "not Reference", *(f"tests/{name}" for name in _SUITE)],
        cwd=folder,
        env={**os.environ, "PYTEST_ADDOPTS": "", **settings},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return Outcome(done.returncode, killer_of(done.stdout), done.stdout + done.stderr)


def killer_of(told: str) -> str:
    """Say which test failed and by what; nothing where none did, or by something that is no verdict on the engine."""
    line = re.search(r"^FAILED tests/\w+/test_(\S+?)\.py::(\S+)(?: - (.*))?$", told, re.MULTILINE)
    if not line:
        return ""
    for sign, what in _KILLERS.items():
        if sign in (line[3] or ""):
            return f"{what}: {line[1]}, {line[2]}"
    return ""


def test_a_copy_that_does_not_run_is_not_a_kill(package: Path, tmp_path: Path):
    shutil.copytree(package, tmp_path / "broken")
    (tmp_path / "broken" / "mbo" / "book" / "_kernels.py").write_text("nonsense")
    outcome = run(tmp_path / "broken")
    assert outcome.code != 0
    assert not outcome.killer


def test_every_fault_is_noticed(package: Path, tmp_path: Path, tell: Callable[[str], None]):
    assert len({mutant.fault for mutant in MUTANTS}) == len(MUTANTS) >= 25

    def outcome_of(numbered: tuple[int, Mutant]) -> Outcome:
        folder = tmp_path / f"mutant-{numbered[0]}"
        shutil.copytree(package, folder)
        numbered[1].plant(folder / "mbo")
        return run(folder)

    with ThreadPoolExecutor(2) as two:
        outcomes = list(two.map(outcome_of, enumerate(MUTANTS)))
    killed = sum(bool(outcome.killer) for outcome in outcomes)
    tell(f"{killed} of {len(MUTANTS)} faults in copies of the engine, run as plain Python, are killed:")
    survivors = []
    for mutant, outcome in zip(MUTANTS, outcomes, strict=True):
        tell(f"  {mutant.file}: {mutant.fault} <- {outcome.killer or 'NOT NOTICED'}")
        if not outcome.killer:
            survivors.append(f"{mutant.fault} ({mutant.file}):\n{outcome.told[-600:]}")
    assert not survivors, "\n".join(survivors)
