"""The replay behind the API: a gateway in a process of its own, told what to do over a socket that only this user can open.

As a program (`python -m mbo.api.replaying`) it serves until its standard input ends, or a signal asks it to.
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
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from mbo import errors
from mbo.errors import LostError, MboError
from mbo.files import replacing
from mbo.live.process import end

if TYPE_CHECKING:
    from mbo.live.gateway import Gateway

log: Final = logging.getLogger("mbo.api")

CANNOT: Final = 78  # exit code: what was asked for cannot be, and will not be by trying again
_START_S: Final = 600.0  # a compressed day has to be laid out first
_ANSWER_S: Final = 8.0
_MOST: Final = 1 << 16  # bytes of a command


class Replay(Protocol):
    """What the API can do to a replay; every answer is how it then stands, as plain values."""

    def status(self) -> dict[str, Any]:
        """Say how it stands."""

    def obey(
        self, action: str, *, to: int | None = None, rate: float | None = None, speed: float | None = None
    ) -> dict[str, Any]:
        """Do one of start, pause, seek, speed and stop."""


class Stage:
    """Controls a gateway in this process; see `Replay`. How it stands is written to `kept` whenever it was told something."""

    def __init__(
        self, gateway: Gateway, *, running: bool = True, rate: float | None = None, speed: float | None = None,
        kept: Path | None = None,
    ) -> None:  # fmt: skip
        self._gateway = gateway
        self._begun = self._running = running
        self._pace = (rate, speed)
        self._kept = kept
        self._turn = threading.Lock()

    def status(self) -> dict[str, Any]:
        """Say how it stands."""
        rate, speed = self._pace
        return {
            "position": self._gateway.position, "records": self._gateway.records, "running": self._running,
            "rate": rate, "speed": speed,
        }  # fmt: skip

    def obey(
        self, action: str, *, to: int | None = None, rate: float | None = None, speed: float | None = None
    ) -> dict[str, Any]:
        """Do it, one at a time."""
        with self._turn:
            if action == "start":
                self._go()
            elif action in ("pause", "stop"):
                self._gateway.pause()
                self._running = False
            if action in ("seek", "stop"):
                self._gateway.seek(0 if to is None else to)
            if action == "speed":
                self._gateway.set_pace(rate=rate, speed=speed)
                self._pace = (rate, speed)
            found = self.status()
            if self._kept is not None:
                with replacing(self._kept) as file:
                    file.write(json.dumps(found).encode())
            return found

    def _go(self) -> None:
        if self._begun:
            self._gateway.resume()
        else:
            self._gateway.begin()
        self._begun = self._running = True


class RemoteStage:
    """Controls the gateway behind a socket; see `Replay`. `LostError` where it does not answer."""

    def __init__(self, path: str | Path) -> None:
        self._path = str(path)

    def status(self) -> dict[str, Any]:
        """Say how it stands."""
        return self._ask({"action": "status"})

    def obey(
        self, action: str, *, to: int | None = None, rate: float | None = None, speed: float | None = None
    ) -> dict[str, Any]:
        """Have it done."""
        return self._ask({"action": action, "to": to, "rate": rate, "speed": speed})

    def _ask(self, command: Mapping[str, Any]) -> dict[str, Any]:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
                link.settimeout(_ANSWER_S)
                link.connect(self._path)
                link.sendall(json.dumps(command).encode() + b"\n")
                found: dict[str, Any] = json.loads(_line(link))
        except (OSError, ValueError) as error:
            raise LostError(f"the replay does not answer: {error}") from None
        if "error" in found:
            kind = getattr(errors, found["kind"], MboError)
            raise kind(found["error"])
        return found


def _line(link: socket.socket) -> bytes:
    data = b""
    while not data.endswith(b"\n"):
        piece = link.recv(_MOST)
        if not piece or len(data) > _MOST:
            raise ValueError("it broke off")
        data += piece
    return data


def answer(listener: socket.socket, stage: Replay) -> None:
    """Answer one command after the other, until the listener is closed."""
    while True:
        try:
            link, _ = listener.accept()
        except OSError:
            return
        with link, suppress(OSError, ValueError):
            link.settimeout(_ANSWER_S)
            command = json.loads(_line(link))
            action = command.pop("action")
            try:
                found = stage.status() if action == "status" else stage.obey(action, **command)
            except MboError as error:
                found = {"error": str(error), "kind": type(error).__name__}
            except (TypeError, TimeoutError) as error:
                found = {"error": f"the replay failed: {error}", "kind": "LostError"}
            link.sendall(json.dumps(found).encode() + b"\n")


class ReplayProcess:
    """A gateway of files in another process, on loopback; `url` is where a source finds it, `stage` controls it.

    `rate`, `speed` and `loop` are those of `mbo.live.gateway.Gateway`; with `hold` the clock waits for a start.
    """

    def __init__(
        self,
        paths: Iterable[str | Path],
        *,
        rate: float | None = None,
        speed: float | None = None,
        loop: bool = False,
        hold: bool = False,
        port: int = 0,
    ) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="mbo-replay-"))  # mode 700: nobody else reaches the socket in it
        self._options: dict[str, Any] = {
            "paths": [str(path) for path in paths],
            "rate": rate,
            "speed": speed,
            "loop": loop,
            "hold": hold,
        }
        self._options |= {"port": port, "control": str(self._folder / "control")}
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""
        self.stage = RemoteStage(self._folder / "control")

    def start(self) -> Self:
        """Start it, and wait until it can be connected to; raises what the gateway raises."""
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter
            [sys.executable, "-m", "mbo.api.replaying", json.dumps(self._options)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], _START_S)
        line = self._process.stdout.readline() if ready else b""
        found = json.loads(line) if line else {"error": "the replay's process did not start", "kind": "LostError"}
        if "error" in found:
            self.close()
            raise getattr(errors, found["kind"], MboError)(found["error"])
        self.url = found["url"]
        return self

    @property
    def pid(self) -> int | None:
        """Its number."""
        return None if self._process is None else self._process.pid

    def close(self) -> None:
        """End it: every client is sent the rest of its event."""
        process, self._process = self._process, None
        if process is not None:
            end(process)
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self if self._process is not None else self.start()

    def __exit__(self, *_: object) -> None:
        self.close()


def ends_with_parent() -> threading.Event:
    """Give an event that is set when standard input ends or a signal asks for the end."""
    asked = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: asked.set())

    def read() -> None:
        with suppress(OSError, ValueError):
            while os.read(0, 4096):
                pass
        asked.set()

    threading.Thread(target=read, name="mbo-parent", daemon=True).start()
    return asked


def told_before(path: Path) -> dict[str, Any] | None:
    """Read how a replay stood that was killed; None where it was told nothing."""
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return found


def main() -> None:
    """Be that process."""
    import mbo
    from mbo.live.gateway import Gateway

    options = json.loads(sys.argv[1])
    path = Path(options["control"])
    kept = path.with_name("stage")
    told = told_before(kept)
    rate, speed, hold = options["rate"], options["speed"], options["hold"]
    if told is not None:
        rate, speed, hold = told["rate"], told["speed"], not told["running"]
    try:
        day = mbo.read_dbn(options["paths"])
        gateway = Gateway(day, rate=rate, speed=speed, loop=options["loop"], hold=hold, port=options["port"])
        if told is not None and hold:  # it stands where it stood; one that runs goes on where its clients are
            gateway.seek(told["position"])
        gateway.start()
    except (MboError, OSError) as error:
        kind = type(error).__name__ if isinstance(error, MboError) else "RequestError"
        print(json.dumps({"error": str(error), "kind": kind}), flush=True)
        sys.exit(CANNOT if not isinstance(error, OSError) or isinstance(error, FileNotFoundError) else 1)
    path.unlink(missing_ok=True)  # of one that was killed
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener, gateway:
        listener.bind(str(path))
        listener.listen()
        stage = Stage(gateway, running=not hold, rate=rate, speed=speed, kept=kept)
        threading.Thread(target=answer, args=(listener, stage), name="mbo-stage", daemon=True).start()
        print(json.dumps({"url": gateway.url, "records": gateway.records}), flush=True)
        asked = ends_with_parent()
        while not asked.wait(1):
            pass


if __name__ == "__main__":
    main()
