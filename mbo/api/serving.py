"""`mbo serve`: a replay if there is a file, the API with its feed, and a recorder, as processes that are watched over.

One that ends by itself is started again, after a pause that grows, on the same ports: the others find it there and go on. When the
end is asked for, they end against the flow: the API answers what it was asked, the recorder stores what has come, the replay
finishes its event. Children of a supervisor that is killed end by themselves, for their standard input ends with it.
"""

from __future__ import annotations

import json
import logging
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mbo.api.replaying import CANNOT
from mbo.auth import keys_for
from mbo.config import Settings, load
from mbo.errors import RequestError
from mbo.telemetry import configure_logs
from mbo.units import format_time

log: Final = logging.getLogger("mbo.serve")

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 10.0
_STEADY_S: Final = 30.0  # after which an end counts as the first again
_MORE_S: Final = 10.0  # beside the drain, to close files and databases
_START_S: Final = 600.0  # a compressed day has to be laid out first


@dataclass
class Child:
    """A process that is kept running."""

    name: str
    command: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    restarts: int = 0
    due: float = 0.0
    """When it is started next (monotonic)."""
    _pause: float = field(default=_FIRST_PAUSE_S)

    def start(self) -> None:
        """Start it, with an input that ends when this process does, and away from the terminal's Ctrl-C."""
        self.process = subprocess.Popen(  # noqa: S603 - our own interpreter
            [sys.executable, "-m", *self.command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        self.started = time.monotonic()
        log.info("%s runs as process %d", self.name, self.process.pid)

    def ended(self) -> int | None:
        """Say how it ended; None while it runs."""
        return None if self.process is None else self.process.poll()

    def plan(self, code: int) -> None:
        """Plan to start it again."""
        self.close()
        if time.monotonic() - self.started > _STEADY_S:
            self._pause = _FIRST_PAUSE_S
        self.restarts += 1
        self.due = time.monotonic() + self._pause
        log.error("%s ended (%s), and is started again in %.1f s", self.name, _how(code), self._pause)
        self._pause = min(2 * self._pause, _LONGEST_PAUSE_S)

    def stop(self, limit_s: float) -> bool:
        """Ask it to end, and make it after `limit_s`; gives whether it did so by itself."""
        process = self.process
        if process is None or process.poll() is not None:
            self.close()
            return True
        process.terminate()
        try:
            process.wait(max(0.1, limit_s))
        except subprocess.TimeoutExpired:
            log.error("%s did not end within %.0f s, and is killed", self.name, limit_s)
            process.kill()
            process.wait()
            return False
        finally:
            self.close()
        return True

    def close(self) -> None:
        """Let go of its pipes."""
        process, self.process = self.process, None
        for pipe in (process.stdin, process.stdout) if process is not None else ():
            if pipe is not None:
                pipe.close()


def _how(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def serve(given: Mapping[str, Any], *, speed: float | None = None, loop: bool = False) -> int:
    """Serve until SIGINT or SIGTERM; gives the exit code. `given` are settings by dotted name (see `mbo.config`), None is unsaid.

    `speed` (times the recorded one) and `loop` are for a file. Raises `RequestError` where something of it makes no sense.
    """
    settings = load(given)
    if (settings.feed is None) == (settings.file is None):
        raise RequestError("say what to serve: a gateway with --feed, or a file with --file")
    api = settings.api
    keys_for(
        api.host, None if api.keys is None else api.keys.get_secret_value(), api.keys_file
    )  # what is wrong with them is said now
    folder = Path(tempfile.mkdtemp(prefix="mbo-serve-"))
    try:
        with configure_logs(settings):
            return _keep(_children(settings, dict(given), folder, speed, loop), settings)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _children(settings: Settings, given: dict[str, Any], folder: Path, speed: float | None, loop: bool) -> list[Child]:
    """Say which processes there are, in the order in which they are started."""
    options = {name: str(value) if isinstance(value, Path) else value for name, value in given.items()}
    options["api.port"] = _free_port(settings.api.host, settings.api.port)
    children = []
    if settings.file is not None:
        rate = settings.gateway.rate
        port = _free_port("127.0.0.1")
        replay = {"paths": [str(settings.file)], "port": port, "control": str(folder / "control"), "hold": False}
        replay |= {"rate": rate, "speed": speed if rate is not None or speed is not None else 1.0, "loop": loop}
        children.append(Child("replay", ["mbo.api.replaying", json.dumps(replay)]))
        options |= {"file": None, "feed": f"tcp://127.0.0.1:{port}", "control": replay["control"]}
        if settings.recorder.session is None:  # one for each run: what is replayed again is not what goes on
            options["recorder.session"] = f"{settings.file.name}@{format_time(time.time_ns())[:19]}"
    if settings.store is not None and not settings.store.startswith("chdb:"):
        options["recorder"] = str(folder / "recorder")
        children.append(Child("recorder", ["mbo.api.working", "recorder", json.dumps(options)]))
    children.append(Child("api", ["mbo.api.working", "api", json.dumps(options)]))
    return children


def _free_port(host: str, port: int = 0) -> int:
    """Give a port that can be listened on: this one, or any if it is 0; `RequestError` where it cannot."""
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as found:
            return int(found.getsockname()[1])
    except OSError as error:
        raise RequestError(f"{host}:{port} cannot be listened on: {os.strerror(error.errno or 0)}") from error


def _keep(children: list[Child], settings: Settings) -> int:
    """Start the children, start again what ends, and end all of them when that is asked for."""
    asked = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: asked.set())
    failed = False
    try:
        for child in children:
            child.start()
            if child.name == "replay" and not _says(child, asked):
                failed = not asked.is_set()
                break
        while not failed and not asked.wait(0.05):
            failed = _look(children)
    finally:
        limit = time.monotonic() + settings.api.drain_s + _MORE_S
        stopped = [child.stop(limit - time.monotonic()) for child in reversed(children)]
        whole = all(stopped)
        log.info("ended" if whole else "ended, not all of it by itself")
    return 1 if failed or not whole else 0


def _says(child: Child, asked: threading.Event) -> bool:
    """Wait until a replay can be connected to; what it cannot do it says."""
    assert child.process is not None
    assert child.process.stdout is not None
    deadline = time.monotonic() + _START_S
    while not asked.is_set() and time.monotonic() < deadline:
        ready, _, _ = select.select([child.process.stdout], [], [], 0.1)
        if ready:
            line = child.process.stdout.readline()
            found = json.loads(line) if line else {"error": "the replay did not start"}
            if "error" in found:
                print(f"mbo: {found['error']}", file=sys.stderr)
            return "error" not in found
    return False


def _look(children: list[Child]) -> bool:
    """Start again what has ended; gives whether something cannot be started at all."""
    now = time.monotonic()
    for child in children:
        code = child.ended()
        if code == CANNOT and not child.restarts:
            return True
        if code is not None:
            child.plan(code)
        elif child.process is None and child.due <= now:
            child.start()
    return False
