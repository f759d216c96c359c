"""Copies of the package with a fault in each, and the tests that are run on them as plain Python."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import mbo
from tests.proof.mutants import Mutant

_TESTS = Path(__file__).parents[1]
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
    "OverflowError": "an index below zero",
    "KeyError": "a book that is not there, KeyError",
    "Failed: Timeout": f"limit of {_ONE_TEST_S} s",
    "Failed: DID NOT RAISE": "an error that does not come",
}


class Outcome(NamedTuple):
    code: int
    killer: str
    """What killed the copy, empty where nothing did."""
    told: str


class Suite(NamedTuple):
    """Test files (below `tests`) and which of their tests."""

    files: tuple[str, ...]
    chosen: str


def copy(folder: Path, suites: Iterable[Suite], needed: Iterable[str]) -> Path:
    """Copy what kernels need, with the tests that are run on it and what those `needed`: without a fault they pass."""
    unneeded = shutil.ignore_patterns("__pycache__", "data", "live", "store")
    shutil.copytree(Path(mbo.__file__).parent, folder / "mbo", ignore=unneeded)
    for name in [*needed, *(file for suite in suites for file in suite.files)]:
        (folder / "tests" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(_TESTS / name, folder / "tests" / name)
    (folder / "pytest.ini").write_text(_SETTINGS)
    (folder / "conftest.py").write_text(_OWN_PACKAGE)
    with ThreadPoolExecutor(2) as two:
        for outcome in two.map(lambda suite: run(folder, suite), suites):
            assert outcome.code == 0, f"the tests fail without a fault:\n{outcome.told}"
    return folder


def run(folder: Path, suite: Suite) -> Outcome:
    """Run tests on a copy, as plain Python, up to the first failure."""
    settings = {
        "NUMBA_DISABLE_JIT": "1",
        "PYTHONPATH": str(folder),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "COLUMNS": "240",
    }
    options = ["-x", "-q", "--tb=line", "-rf", "-p", "no:cacheprovider"]
    limits = ["-p", "pytest_timeout", f"--timeout={_ONE_TEST_S}"]
    files = [f"tests/{name}" for name in suite.files]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *limits, "-k", suite.chosen, *files],
        cwd=folder,
        env={**os.environ, "PYTEST_ADDOPTS": "", **settings},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return Outcome(done.returncode, killer_of(done.stdout), done.stdout + done.stderr)


def killer_of(told: str) -> str:
    """Say which test failed and by what; nothing where none did, or by something that is no verdict on the kernels."""
    line = re.search(r"^FAILED tests/(?:\w+/)?test_(\S+?)\.py::(\S+)(?: - (.*))?$", told, re.MULTILINE)
    if not line:
        return ""
    for sign, what in _KILLERS.items():
        if sign in (line[3] or ""):
            return f"{what}: {line[1]}, {line[2]}"
    return ""


def survivors(
    package: Path,
    mutants: Sequence[Mutant],
    suite_of: Callable[[Mutant], Suite],
    folder: Path,
    tell: Callable[[str], None],
) -> list[str]:
    """Plant every fault in a copy of its own and run its tests; tells what killed each, and gives those that nothing did."""

    def outcome_of(numbered: tuple[int, Mutant]) -> Outcome:
        number, mutant = numbered
        own = folder / f"mutant-{number}"
        shutil.copytree(package, own)
        mutant.plant(own / "mbo")
        return run(own, suite_of(mutant))

    with ThreadPoolExecutor(2) as two:
        outcomes = list(two.map(outcome_of, enumerate(mutants)))
    killed = sum(bool(outcome.killer) for outcome in outcomes)
    tell(f"{killed} of {len(mutants)} faults in copies of the kernels, run as plain Python, are killed:")
    living = []
    for mutant, outcome in zip(mutants, outcomes, strict=True):
        tell(f"  {mutant.file}: {mutant.fault} <- {outcome.killer or 'NOT NOTICED'}")
        if not outcome.killer:
            living.append(f"{mutant.fault} ({mutant.file}):\n{outcome.told[-600:]}")
    return living
