"""What the supply-chain tests share, and what a run of them says at its end: of which day the advisories are."""

from pathlib import Path
from typing import Any

import pytest

from tests.audit.tools import PYTHON, ROOT, committed, run


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files as they are now, in a repository of their own with one commit."""
    return committed(tmp_path_factory.mktemp("repository"))


@pytest.fixture(scope="session")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of that commit."""
    out = tmp_path_factory.mktemp("wheel")
    run(PYTHON, ROOT / "docker" / "release" / "wheel.py", out, cwd=repository)
    (built,) = out.iterdir()
    return built


def pytest_terminal_summary(terminalreporter: Any) -> None:
    passed = terminalreporter.stats.get("passed", [])
    if any("tests/audit/test_advisories.py" in report.nodeid for report in passed):
        terminalreporter.write_line(
            "make audit: the advisories are those of 10 October 2024; what is known today, a run with a network asks "
            "(docs/supply-chain.md)"
        )
