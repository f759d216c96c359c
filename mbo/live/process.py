"""A gateway in a process of its own, which shares no interpreter lock with its clients and dies with the process that started it.

Commands and answers are lines of JSON on its standard input and output.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from mbo import errors
from mbo.errors import InternalError, LostError, MboError

_START_S: Final = 600.0  # a compressed day has to be laid out first
_ANSWER_S: Final = 20.0


class GatewayProcess:
    """Serves files from another process, on loopback; see `Gateway` for `rate` and `speed`, whose clock waits for `begin`.

    Raises what the gateway raises: `DataError` where a file is wrong, `OSError` where it cannot be read.
    """

    def __init__(self, paths: Iterable[str | Path], *, rate: float | None = None, speed: float | None = None) -> None:
        self._options = {"paths": [str(path) for path in paths], "rate": rate, "speed": speed}
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""
        self.records = 0
        """How many there are."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from mbo.live.process import main; main()"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        try:
            found = self._ask(_START_S, **self._options)
        except BaseException:
            self.close()
            raise
        self.url, self.records = found["url"], found["records"]
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the process, by closing its input."""
        process, self._process = self._process, None
        if process is not None:
            end(process)

    @property
    def pid(self) -> int:
        """The process, for whoever measures it."""
        if self._process is None:
            raise InternalError("the gateway's process is not running")
        return self._process.pid

    def begin(self, at_ns: int) -> None:
        """Start the clock at an instant of the monotonic clock, which all processes of a machine share."""
        self._ask(begin=at_ns)

    @property
    def sent(self) -> int:
        """How many records it has sent, to all clients together."""
        return int(self._ask(sent=True)["sent"])

    def _ask(self, limit_s: float = _ANSWER_S, **command: Any) -> dict[str, Any]:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise InternalError("the gateway's process is not running")
        try:
            process.stdin.write(json.dumps(command).encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            raise LostError("the gateway's process has ended") from None
        answer = b""
        deadline = time.monotonic() + limit_s
        while not answer.endswith(b"\n"):
            ready, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            piece = process.stdout.read1(1 << 16) if ready else b""  # type: ignore[attr-defined]
            if not piece:
                raise LostError(
                    "the gateway's process " + ("has ended" if ready else f"did not answer in {limit_s:g} s")
                )
            answer += piece
        found: dict[str, Any] = json.loads(answer)
        if "error" in found:
            raise _error(found)
        return found


def end(process: subprocess.Popen[bytes], limit_s: float = _ANSWER_S) -> int:
    """End a child that serves until its input ends; one that is there still after `limit_s` is killed. Gives its exit code."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    try:
        return process.wait(limit_s)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
    finally:
        process.stdout.close()


def _error(found: dict[str, Any]) -> Exception:
    """Make the error that the other process met."""
    if found["kind"] == "OSError":
        return OSError(found["errno"], found["error"], found["filename"])
    kind = getattr(errors, found["kind"], MboError)
    made: Exception = kind(found["error"])
    vars(made).update(found["place"])
    return made


def main() -> None:
    """Be that process: serve until the input ends."""
    import mbo
    from mbo.live.gateway import Gateway

    options = json.loads(sys.stdin.readline())
    try:
        gateway = Gateway(mbo.read_dbn(options["paths"]), rate=options["rate"], speed=options["speed"], hold=True)
        gateway.start()
    except MboError as error:
        _say({"error": str(error), "kind": type(error).__name__, "place": vars(error)})
        return
    except OSError as error:
        _say(
            {"error": error.strerror or str(error), "kind": "OSError", "errno": error.errno, "filename": error.filename}
        )
        return
    with gateway:
        _say({"url": gateway.url, "records": gateway.records})
        for line in sys.stdin:
            command = json.loads(line)
            if "begin" in command:
                gateway.begin(command["begin"])
            _say({"sent": gateway.sent})


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
