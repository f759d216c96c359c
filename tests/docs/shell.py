"""One shell that is typed into, and the copy of the tree that it stands in."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from tests.docs.readme import Block, Command, prints

ROOT: Final = Path(__file__).parents[2]
INSIDE: Final = "MBO_TEST_README"
"""Set for every command: one of them may be the check itself."""
LIMIT_S: Final = 180.0
"""For one command, and for what a server says first."""
_END_S: Final = 60.0
_MOST: Final = 4_000  # characters of output that are shown


@dataclass(frozen=True)
class Outcome:
    """How a command went: `fault` says what is wrong, in words, and is empty where nothing is."""

    command: Command
    fault: str
    output: str
    seconds: float

    def __str__(self) -> str:
        shown = self.output[-_MOST:].rstrip()
        return f"line {self.command.line}: $ {self.command.text}\n{self.fault or 'as it should be'} ({self.seconds:.1f} s)\n{shown}"


class Shell:
    """A bash that is typed into; what is left behind by a command (a folder, a variable) the next one finds."""

    def __init__(self, folder: Path, notes: Path, variables: dict[str, str], limit_s: float = LIMIT_S) -> None:
        self._folder, self._variables = folder, variables
        self._notes, self._limit_s = notes, limit_s
        self._count = 0
        self._kept: list[tuple[Command, int]] = []
        notes.mkdir()
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"], cwd=folder, env=variables, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        self._type("set -o pipefail")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        with suppress(ProcessLookupError):
            os.killpg(self._bash.pid, signal.SIGKILL)  # whatever a command left running in the background
        assert self._bash.stdin is not None
        with suppress(BrokenPipeError):
            self._bash.stdin.close()
        self._bash.wait(_END_S)

    def run(self, command: Command) -> Outcome:
        """Run a command to its end."""
        begun = time.monotonic()
        if self._bash.poll() is not None:
            return Outcome(command, "a command before it has ended the shell", "", 0.0)
        text, out, code = self._paths(command)
        self._type(f'eval "$(cat {text})" >{out} 2>&1 </dev/null; echo $? >{code}.part; mv {code}.part {code}')
        while not code.exists():
            if self._bash.poll() is not None:
                return self._outcome(command, "it ended the shell", out, begun)
            if time.monotonic() - begun > self._limit_s:
                with suppress(ProcessLookupError):
                    os.killpg(self._bash.pid, signal.SIGKILL)
                return self._outcome(command, f"it did not end within {self._limit_s:g} s", out, begun)
            time.sleep(0.02)
        found = int(code.read_text())
        fault = f"exit code {found}" if found else ""
        if not fault and command.expected is not None and not prints(command.expected, _read(out)):
            fault = "it prints something else than the README says:\n" + "\n".join(command.expected) + "\nbut"
        return self._outcome(command, fault, out, begun)

    def keep(self, command: Command, until: str | None, ready: str | None = None) -> Outcome:
        """Start a server and wait for what it says, and for `ready`, a command, to succeed; it goes on until `end`."""
        begun = time.monotonic()
        words = " and ".join([f"say {until!r}"] * (until is not None) + [f"pass {ready!r}"] * (ready is not None))
        text, out, pid = self._paths(command)
        # A process group of its own, so that all of it can be ended.
        self._type(
            f'set -m; eval "$(cat {text})" >{out} 2>&1 </dev/null & echo $! >{pid}.part; set +m; mv {pid}.part {pid}'
        )
        while not (pid.exists() and (until is None or until in _read(out)) and (ready is None or self._passes(ready))):
            if self._bash.poll() is not None:
                return self._outcome(command, "it ended the shell", out, begun)
            if pid.exists() and not _alive(int(pid.read_text())) and (until is None or until not in _read(out)):
                return self._outcome(command, f"it ended, and did not {words}", out, begun)
            if time.monotonic() - begun > self._limit_s:
                self._kept.append((command, int(pid.read_text())))
                return self._outcome(command, f"it did not {words} within {self._limit_s:g} s", out, begun)
            time.sleep(0.05)
        self._kept.append((command, int(pid.read_text())))
        return self._outcome(command, "", out, begun)

    def end(self) -> list[Outcome]:
        """End the servers that go on, the last first; gives those that had ended by themselves or did not end when asked."""
        wrong = []
        for command, pid in reversed(self._kept):
            begun = time.monotonic()
            fault = "" if _alive(pid) else "it ended before its section did"
            for number, limit_s in ((signal.SIGTERM, _END_S), (signal.SIGKILL, 5.0)):
                with suppress(ProcessLookupError):
                    os.killpg(pid, number)
                deadline = time.monotonic() + limit_s
                while _alive(pid) and time.monotonic() < deadline:
                    time.sleep(0.05)
                if not _alive(pid):
                    break
                fault = fault or f"it did not end within {_END_S:g} s of being asked to"
            if fault:
                wrong.append(Outcome(command, fault, "", time.monotonic() - begun))
        self._kept.clear()
        return wrong

    def _passes(self, ready: str) -> bool:
        """Say whether a command succeeds now, in the folder and with the variables that the shell began with."""
        done = subprocess.run(
            ["bash", "-c", ready],
            cwd=self._folder,
            env=self._variables,
            capture_output=True,
            timeout=self._limit_s,
            check=False,
        )
        return done.returncode == 0

    def _paths(self, command: Command) -> tuple[Path, Path, Path]:
        self._count += 1
        text, out, code = (self._notes / f"{self._count}.{kind}" for kind in ("sh", "out", "code"))
        text.write_text(command.text + "\n")
        return text, out, code

    def _type(self, line: str) -> None:
        assert self._bash.stdin is not None
        with suppress(BrokenPipeError):  # it has ended, which is found out by whoever waits
            self._bash.stdin.write(f"{line}\n".encode())
            self._bash.stdin.flush()

    @staticmethod
    def _outcome(command: Command, fault: str, out: Path, begun: float) -> Outcome:
        return Outcome(command, fault, _read(out), time.monotonic() - begun)


def _read(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


def _alive(group: int) -> bool:
    """Say whether anything of a process group runs still."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, found = path.read_text().rpartition(")")[2].split()[:3]
            if int(found) == group and state != "Z":
                return True
    return False


def run(found: list[Block], shell: Shell) -> Iterator[Outcome]:
    """Run blocks in their order, as far as they are to be run; servers end with their sections."""
    section = 0
    for block in found:
        if block.section != section:
            yield from shell.end()
            section = block.section
        if block.not_run is not None:
            continue
        *commands, last = block.commands
        for command in commands:
            yield shell.run(command)
        goes_on = block.until is not None or block.ready is not None
        yield shell.keep(last, block.until, block.ready) if goes_on else shell.run(last)
    yield from shell.end()


def copy_tree(folder: Path) -> None:
    """Copy the tracked files of the tree, as they are now, and put an environment beside them that `make venv` finds made.

    The environment is that of the tree, linked, and so is the `mbo` in it: for a copy of the package every kernel would be compiled
    anew. That what is tracked is all that is needed is seen where this runs in a fresh clone.
    """
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, timeout=60)
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    (folder / ".venv").mkdir()
    for path in Path(sys.prefix).iterdir():
        if path.name not in ("locked", "installed"):
            (folder / ".venv" / path.name).symlink_to(path)
    for name in ("locked", "installed"):  # in this order: make goes by their times
        (folder / ".venv" / name).touch()
        time.sleep(0.01)


def variables(folder: Path, home: Path) -> dict[str, str]:
    """Make the environment of a newcomer's shell: nothing of ours but where compiled kernels are kept."""
    from mbo._jit import cache_dir

    home.mkdir(exist_ok=True)
    given = {
        name: os.environ[name] for name in ("LANG", "TZ", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE") if name in os.environ
    }
    return given | {
        "PATH": f"{folder / '.venv' / 'bin'}:{os.environ['PATH']}", "HOME": str(home),
        INSIDE: "1",
        "PYTHONSAFEPATH": "1",  # `python -m mbo` is the environment's, not the copy's, whose kernels are not compiled
        "PIP_DRY_RUN": "1",  # the environment is the tree's own: nothing is to be installed into it
        "MBO_CACHE_DIR": str(cache_dir().parent), "TERM": "dumb", "LC_ALL": "C.UTF-8", "CI": "true", "NO_COLOR": "1",
    }  # fmt: skip
