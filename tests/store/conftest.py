"""One embedded database and one server for all tests of the store: chDB has one directory to a process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import mbo
from mbo.records import RecordArray
from mbo.store import Store
from tests.builders import metadata
from tests.tools.clickhouse_http import URL, HttpServer, library

ROOT = Path(__file__).parents[2]
DAY_NS = 86_400_000_000_000


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store(f"chdb://{tmp_path_factory.mktemp('chdb')}") as store:
        yield store


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpServer]:
    running = HttpServer(library(), tmp_path_factory.mktemp("clickhouse"))
    yield running
    running.kill()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[HttpServer]:
    """A server with nothing in it, for a test that kills it, or needs files to be new."""
    running = HttpServer(library(), tmp_path / "clickhouse")
    yield running
    running.kill()


@pytest.fixture(scope="session")
def http_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The server that a user names, or one of our own. What a user's server has stored is left alone."""
    if not (url := os.environ.get(URL)):
        yield request.getfixturevalue("server").url
        return
    with Store(url) as store:
        assert not store.files(), (
            f"{URL} names a server with files in it: the tests need one whose database mbo is empty"
        )
    yield url
    with Store(url) as store:
        store._backend.command(f"DROP DATABASE mbo{store._backend.layout.on_cluster} SYNC")


@pytest.fixture(params=["chdb", "http"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """The same tests for both transports."""
    if request.param == "chdb":
        yield request.getfixturevalue("embedded")
        return
    with Store(request.getfixturevalue("http_url")) as store:
        yield store


def unique_dataset() -> str:
    """A data set of its own for a test's files, so that they overlap with no other test's."""
    unique_dataset.count += 1  # type: ignore[attr-defined]
    return f"T{os.getpid() % 10**7}.{unique_dataset.count}"  # type: ignore[attr-defined]


unique_dataset.count = 0  # type: ignore[attr-defined]


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """Write a DBN file of a data set that no other test has."""

    def write(
        records: RecordArray, name: str = "one.dbn", *, dataset: str = "", symbols: dict[str, int] | None = None
    ) -> Path:
        ids = np.unique(records["instrument_id"]).tolist()
        times = records["ts_event"]
        header = metadata(
            dataset=dataset or unique_dataset(),
            symbols=symbols,
            intervals={f"S{number}": [("2000-01-01", "2100-01-01", str(number))] for number in ids},
            start=int(times.min()) if len(times) else 0,
            end=int(times.max()) + 1 if len(times) else 1,
        )
        path = tmp_path / name
        path.write_bytes(header.encode() + records.tobytes())
        return path

    return write


@pytest.fixture
def small_disk(tmp_path: Path) -> Callable[[str], tuple[Path, list[str]]]:
    """Name a folder, and the command that runs another which alone sees a small disk there."""

    def mounted(size: str) -> tuple[Path, list[str]]:
        folder = tmp_path / "small"
        folder.mkdir()
        within = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
        mount = f"mount -t tmpfs -o size={size} none {folder}"
        try:
            subprocess.run([*within, mount], capture_output=True, timeout=10, check=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("a small disk cannot be mounted here: it takes user namespaces")
        return folder, [*within, f'{mount} && exec "$@"', "sh"]

    return mounted


def several_days(count: int, days: int, *, seed: int, instruments: int = 1) -> RecordArray:
    """A simulated session, its times stretched over days: every day of every table is a block of its own."""
    records = mbo.simulate(count, seed=seed, instruments=instruments).records.copy()
    day = np.arange(count) * days // count * DAY_NS
    for clock in ("ts_recv", "ts_event"):
        records[clock] += day.astype(np.uint64)
    return records


def run_python(script: str, *arguments: object, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, cwd=ROOT)
