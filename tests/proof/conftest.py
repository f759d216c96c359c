"""What a proof has covered is printed at the end of the run."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Add a line to the summary; as a property of the test it comes from a worker's process, too."""
    return lambda line: record_property("proof", line)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for found in terminalreporter.stats.values() for report in found]
    lines = [
        value
        for report in reports
        if isinstance(report, pytest.TestReport) and report.when == "call"
        for name, value in report.user_properties
        if name == "proof"
    ]
    if lines:
        terminalreporter.section("proof: what was covered")
        for line in lines:
            terminalreporter.write_line(line)
