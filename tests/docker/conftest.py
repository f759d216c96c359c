"""An engine, the image built on it, and the stack: made once for all tests of this folder; and what a run says at its end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.docker.stack import IMAGE, STANDINS, Stack, build
from tests.tools.clickhouse_http import library
from tests.tools.engine import Engine, EngineError, home


def lacking(sentence: str) -> None:
    """Skip a test for want of something, or fail it if MBO_REQUIRE has "docker"."""
    if "docker" in os.environ.get("MBO_REQUIRE", "").split(","):
        pytest.fail(f"{sentence}, and MBO_REQUIRE says that it has to be there")
    pytest.skip(sentence)


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """A daemon without a way out, which has the image, built a moment ago by one that has the machine's network."""
    if os.getuid() != 0:
        lacking("a Docker Engine for tests takes root")
    try:
        folder = home().with_name("engine-data")
        with Engine(folder, "machine") as builder:
            build(builder)
            if archive := os.environ.get("MBO_TEST_IMAGE_TAR"):  # for `make audit`, which looks into it
                builder.docker("save", "--output", archive, IMAGE)
        with Engine(folder) as found:
            yield found
            found.docker("image", "prune", "--force")
    except EngineError as error:
        lacking(str(error))


@pytest.fixture(scope="session")
def image(engine: Engine) -> str:
    return IMAGE


@pytest.fixture(scope="session")
def store_library() -> Path:
    return library()


@pytest.fixture(scope="session")
def stack(engine: Engine, store_library: Path) -> Iterator[Stack]:
    """The stack as `docker compose -f docker/compose.yaml up --wait` leaves it, stand-ins apart."""
    found = Stack(engine, store_library)
    found.down(volumes=True)  # of a run that was broken off
    with found:
        yield found


def pytest_terminal_summary(terminalreporter: Any) -> None:
    reports = [report for group in terminalreporter.stats.values() for report in group]
    if any("tests/docker/test_stack.py" in getattr(report, "nodeid", "") for report in reports):
        terminalreporter.write_line(f"make docker-test: {STANDINS}")
