"""A genuine ClickHouse HTTP interface for tests: a server named by an environment variable, or one out of libchdb.so.

ClickHouse's own package for Node holds `libchdb.so`; its entry point of `clickhouse local` opens the HTTP interface by
`SYSTEM START LISTEN HTTP`. `fetch_libchdb.py` puts it into the cache once, where it is found; MBO_TEST_LIBCHDB names another
folder.

Run as a program it is that server, on loopback without a password, until its standard input closes:
`python clickhouse_http.py LIBCHDB_SO DATA_DIR HTTP_PORT`.
"""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

URL = "MBO_TEST_CLICKHOUSE_URL"
FOLDER = "MBO_TEST_LIBCHDB"
_START_LIMIT_S = 30.0


class HttpServer:
    """A server process on a data directory; `kill` and `start` again to see what survives.

    `within` is a command that runs the server's own, such as one that gives it a small disk.
    """

    def __init__(self, library: Path, folder: Path, within: Sequence[str] = ()) -> None:
        self._library, self._folder, self._within = library, folder, within
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/mbo"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        command = [*self._within, sys.executable, __file__, str(self._library), str(self._folder), str(self.port)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        deadline = time.monotonic() + _START_LIMIT_S
        while not self._answers():
            assert self._process.poll() is None, "the ClickHouse server ended at its start"
            assert time.monotonic() < deadline, f"no ClickHouse server within {_START_LIMIT_S:g} s"
            time.sleep(0.05)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            if self._process.stdin is not None:
                with suppress(OSError):
                    self._process.stdin.close()
            self._process = None

    @property
    def pid(self) -> int:
        assert self._process is not None, "the ClickHouse server is not running"
        return self._process.pid

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ping", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def library() -> Path:
    """Find libchdb.so in the folder named by MBO_TEST_LIBCHDB or in the cache; else skip the test, or fail it if it is required."""
    from tests.tools.fetch_libchdb import NAME, cached

    folder = os.environ.get(FOLDER)
    path = Path(folder, NAME) if folder else cached()
    if path.exists():
        return path
    missing = (
        f"no ClickHouse server to test with: {path.parent} has no {NAME}, which tests/tools/fetch_libchdb.py fetches"
    )
    if "clickhouse" in os.environ.get("MBO_REQUIRE", "").split(","):
        pytest.fail(f"{missing}, and MBO_REQUIRE says that there has to be one")
    pytest.skip(missing)


def free_port() -> int:
    """Find a port that is free, and the next one too: the server's native protocol has it."""
    for _ in range(100):
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port: int = one.getsockname()[1]
            with suppress(OSError, OverflowError):
                other.bind(("127.0.0.1", port + 1))
                return port
    raise AssertionError("no two free ports beside each other")


def serve(library_path: str, folder: str, port: str) -> int:
    """Be the server."""
    listen = "SYSTEM START LISTEN HTTP; SYSTEM START LISTEN TCP; "
    wait = "SELECT count() FROM file('/dev/stdin', LineAsString, 'line String') FORMAT Null"
    words = [
        "clickhouse-local", "--path", folder, "--listen_host", "127.0.0.1", "--http_port", port,
        "--tcp_port", str(int(port) + 1), "--query", listen + wait,
    ]  # fmt: skip
    # Symbols of its own first: it brings libraries that Python's modules have in other versions.
    engine = ctypes.CDLL(library_path, mode=os.RTLD_NOW | getattr(os, "RTLD_DEEPBIND", 0))
    main = engine.query_stable_v2
    main.restype, main.argtypes = ctypes.c_void_p, [ctypes.c_int, ctypes.POINTER(ctypes.c_char_p)]
    arguments = (ctypes.c_char_p * (len(words) + 1))(*[word.encode() for word in words], None)
    return 0 if main(len(words), arguments) else 1


if __name__ == "__main__":
    sys.exit(serve(*sys.argv[1:]))
