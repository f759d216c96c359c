"""`mbo ingest` in a process of its own that says when an insert begins and when it is acknowledged, so that it can be hit between.

As a program it is that process: it reads its arguments from standard input, once everything is imported.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.store.conftest import ROOT, run_python

LIMIT_S = 60.0
TABLES = ("messages", "mbp10", "book_snapshots", "ingest_ledger")
_BEGUN, _ACKNOWLEDGED = "begun ", "acknowledged "


CHECK = """
import sys
from pathlib import Path
from mbo.store import Store
from tests.store.exact import exact
url, path = sys.argv[1], Path(sys.argv[2])
with Store(url) as store:
    store.ingest(path)
    exact(store, path)
    assert not store.ingest(path).files[0].new
    exact(store, path)
    print("exact")
"""


class Ingest:
    """The process: waiting for `go`, then ingesting, until it is hit or done."""

    def __init__(self) -> None:
        self._reports, child_end = os.pipe()
        command = [sys.executable, "-m", "tests.store.killing", str(child_end)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=[child_end], text=True,
            cwd=ROOT,
        )  # fmt: skip
        os.close(child_end)
        self._said = b""
        self._ended: tuple[int, str, str] | None = None

    def go(self, url: str, path: Path) -> None:
        """Let it begin."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(["ingest", str(path), "--store", url]) + "\n")
        self.process.stdin.flush()

    def reaches(self, table: str = "", *, inserts: int = 1) -> bool:
        """Wait until it has begun so many inserts (into a table); False where it ends before."""
        deadline = time.monotonic() + LIMIT_S
        while sum(line.startswith(f"{_BEGUN}{table}") for line in self._lines()) < inserts:
            assert time.monotonic() < deadline, f"no insert into {table or 'any table'} within {LIMIT_S:g} s"
            if not self._listen(0.1):
                return False
        return True

    def hit(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send it a signal, unless it is gone."""
        self.process.send_signal(number)

    def end(self) -> tuple[int, str, str]:
        """Wait until it is gone; give its exit code and what it printed."""
        if self._ended is None:
            out, err = self.process.communicate(timeout=LIMIT_S)
            self._ended = self.process.returncode, out, err
            while self._listen(1.0):
                pass
        return self._ended

    @property
    def in_flight(self) -> bool:
        """Whether an insert had begun that was not acknowledged; to be asked when it is gone."""
        begun = sum(line.startswith(_BEGUN) for line in self._lines())
        return begun > sum(line.startswith(_ACKNOWLEDGED) for line in self._lines())

    def _lines(self) -> list[str]:
        return self._said.decode().splitlines()

    def _listen(self, seconds: float) -> bool:
        """Take in what it reports; False where nothing comes any more."""
        if self._reports < 0:
            return False
        if not select.select([self._reports], [], [], seconds)[0]:
            return True
        some = os.read(self._reports, 1 << 16)
        self._said += some
        if not some:
            os.close(self._reports)
            self._reports = -1
        return bool(some)


@contextmanager
def ingests() -> Iterator[Iterator[Ingest]]:
    """Give processes, of which the next starts up while one works."""
    coming = [Ingest()]

    def each() -> Iterator[Ingest]:
        while True:
            coming.append(Ingest())
            yield coming[-2]

    try:
        yield each()
    finally:
        for one in coming:
            one.process.kill()
            one.end()


def made_whole(url: str, path: Path) -> None:
    """Ingest once more, and hold what is stored against the file."""
    done = run_python(CHECK, url, path)
    assert done.stdout == "exact\n", done.stderr


def _report_inserts(backend: Any, reports: int) -> None:
    insert = backend.insert

    def reporting(self: Any, table: str, rows: Any, token: str) -> None:
        os.write(reports, f"{_BEGUN}{table}\n".encode())
        insert(self, table, rows, token)
        os.write(reports, f"{_ACKNOWLEDGED}{table}\n".encode())

    backend.insert = reporting


def main(reports: int) -> None:
    """Be the process."""
    import chdb  # noqa: F401 - takes its time, which is spent before the start

    import mbo.store.ingest  # noqa: F401
    from mbo.cli import main as command
    from mbo.store.embedded import Embedded
    from mbo.store.server import Server

    signal.signal(signal.SIGINT, signal.default_int_handler)  # who runs the tests may have it ignored
    for backend in (Embedded, Server):
        _report_inserts(backend, reports)
    if line := sys.stdin.readline():
        sys.argv[1:] = json.loads(line)
        command()


if __name__ == "__main__":
    main(int(sys.argv[1]))
