"""Runs the commands of a README, in their order, as a newcomer would; `python -m tests.docs.readme` shows how each goes.

Commands stand in fences of sh, bash or console; in a console block they follow `$ `, and what stands between them has to be what
they print (a line `...` is any number of lines). They run in one shell, so that `cd` and `export` hold, in a copy of the tracked
files. One line right before a fence may say

    <!-- not run: REASON -->      none of the block is run
    <!-- until: TEXT -->          its last command goes on: TEXT is waited for in what it prints, and it is ended with its section
    <!-- ready: COMMAND -->       as before, and until this command succeeds, beside it; both markers may stand there, on two lines

A section is what stands under a heading of the first or second order.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

LANGUAGES: Final = frozenset({"sh", "bash", "console"})
_ALIKE: Final = frozenset({"shell", "zsh", "shell-session", "terminal", "bat", "powershell"})
_FENCE: Final = re.compile(r"^( {0,3})(`{3,}|~{3,})\s*([\w+-]*)[^`]*$")
_HEADING: Final = re.compile(r"^#{1,2} ")
_COMMENT: Final = re.compile(r"^<!--(.*)-->$")


class ReadmeError(Exception):
    """What is wrong with a README before anything of it is run: the line, and why."""


@dataclass(frozen=True)
class Command:
    """What is typed at once, where it stands, and what it is said to print; None where that is left open."""

    text: str
    line: int
    expected: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Block:
    """A fence of commands; `until` is what its last command prints once it serves, `ready` a command that succeeds only then.

    `not_run` is why none of it is run.
    """

    section: int
    line: int
    commands: tuple[Command, ...]
    until: str | None = None
    ready: str | None = None
    not_run: str | None = None


@dataclass
class _Fence:
    section: int
    line: int
    language: str
    markers: dict[str, str]
    lines: list[str] = field(default_factory=list)


def blocks(text: str) -> list[Block]:
    """Read the commands of a README; `ReadmeError` where a marker is not understood or a block would silently not be run."""
    return [
        Block(
            found.section,
            found.line,
            tuple(_commands(found)),
            found.markers.get("until"),
            found.markers.get("ready"),
            found.markers.get("not run"),
        )
        for found in _fences(text)
        if found.language in LANGUAGES
    ]


def _fences(text: str) -> Iterator[_Fence]:
    section, markers = 0, dict[str, str]()
    fence: _Fence | None = None
    closing = ""
    for number, line in enumerate(text.splitlines(), 1):
        if fence is not None:
            if line.strip() == closing:
                _check(fence)
                yield fence
                fence, markers = None, {}
            else:
                fence.lines.append(line)
        elif opened := _FENCE.match(line):
            closing = opened[2]
            fence = _Fence(section, number, opened[3].lower(), markers)
        elif comment := _COMMENT.match(line.strip()):
            markers |= _marker(comment[1], number)
        elif line.strip() and markers:
            raise ReadmeError(f"line {number}: a marker stands right before a fence, and this is none: {line}")
        elif _HEADING.match(line):
            section += 1
    if fence is not None:
        raise ReadmeError(f"line {fence.line}: this fence is not closed")
    if markers:
        raise ReadmeError("the last line: a marker stands right before a fence")


def _marker(comment: str, number: int) -> dict[str, str]:
    """Read a comment; one that looks like a marker and is none is an error, for its block would be run or not run by mistake."""
    name, colon, value = (part.strip() for part in comment.partition(":"))
    if re.sub(r"[^a-z]", "", name.lower()) not in ("notrun", "norun", "skip", "until", "ready", "donotrun"):
        return {}
    if name not in ("not run", "until", "ready") or not colon:
        raise ReadmeError(
            f"line {number}: <!--{comment}--> is no marker: write not run: REASON, until: TEXT or ready: COMMAND"
        )
    if not value:
        raise ReadmeError(f"line {number}: the marker `{name}` says nothing behind its colon")
    return {name: value}


def _check(fence: _Fence) -> None:
    if fence.language in _ALIKE or (not fence.language and any(line.startswith("$ ") for line in fence.lines)):
        raise ReadmeError(
            f"line {fence.line}: commands stand in a fence of sh, bash or console, and this is {fence.language or 'none'}"
        )
    if fence.language not in LANGUAGES and fence.markers:
        raise ReadmeError(
            f"line {fence.line}: a fence of {fence.language or 'no language'} is never run, and has a marker"
        )
    if "not run" in fence.markers and len(fence.markers) > 1:
        raise ReadmeError(f"line {fence.line}: either it is not run, or it is waited for")


def _commands(fence: _Fence) -> Iterator[Command]:
    split = _of_console if fence.language == "console" else _of_script
    found = list(split(fence.lines, fence.line + 1))
    if not found:
        raise ReadmeError(f"line {fence.line}: there is no command in this fence of {fence.language}")
    yield from found


def _of_script(lines: list[str], first: int) -> Iterator[Command]:
    """Split a script into what can be run by itself: a line, or as many as a loop, a quoted text or a here-document take."""
    taken: list[str] = []
    for number, line in enumerate(lines, first):
        if not taken and (not line.strip() or line.lstrip().startswith("#")):
            continue
        taken.append(line)
        if _whole("\n".join(taken)):
            yield Command("\n".join(taken), number - len(taken) + 1)
            taken = []
    if taken:
        raise ReadmeError(f"line {first + len(lines) - len(taken)}: this command has no end: {taken[0]}")


def _of_console(lines: list[str], first: int) -> Iterator[Command]:
    """Split a console block: commands, each with the lines that it goes on for, and what they print."""
    taken: list[str] = []
    printed: list[str] = []
    begun = first
    for number, line in enumerate(lines, first):
        if line.startswith("$ "):
            if taken:
                yield _typed(taken, printed, begun)
            taken, printed, begun = [line[2:]], [], number
        elif taken and not printed and not _whole("\n".join(taken)):
            taken.append(line.removeprefix("> "))
        elif taken:
            printed.append(line)
        elif line.strip():
            raise ReadmeError(
                f"line {number}: a console block begins with `$ ` and a command, and this is none: {line}"
            )
    if taken:
        yield _typed(taken, printed, begun)


def _typed(taken: list[str], printed: list[str], line: int) -> Command:
    if not _whole("\n".join(taken)):
        raise ReadmeError(f"line {line}: this command has no end: {taken[0]}")
    while printed and not printed[-1].strip():
        printed.pop()
    return Command("\n".join(taken), line, tuple(printed) or None)


def _whole(text: str) -> bool:
    """Say whether bash would run this as it stands, without waiting for more lines."""
    if re.search(r"(?<!\\)(?:\\\\)*\\$", text):
        return False
    done = subprocess.run(["bash", "-n"], input=text + "\n", capture_output=True, text=True, timeout=20, check=False)
    waits = "unexpected end of file" in done.stderr or "unexpected EOF" in done.stderr or "here-document" in done.stderr
    return not waits


def prints(expected: tuple[str, ...], output: str) -> bool:
    """Say whether output is what is expected, line by line; a line `...` is any number of lines, blanks at ends do not count."""
    lines = [re.escape(line.rstrip()) + "\n" if line.strip() != "..." else "(?:.*\n)*" for line in expected]
    found = "".join(f"{line.rstrip()}\n" for line in output.strip("\n").splitlines())
    return re.fullmatch("".join(lines), found) is not None


def read(path: Path) -> list[Block]:
    """Read the commands of a file."""
    return blocks(path.read_text(encoding="utf-8"))


def main() -> int:
    """Run a README and show how each command goes; 1 where anything is wrong."""
    import sys
    import tempfile

    from tests.docs.shell import Shell, copy_tree, run, variables

    found = read(Path(sys.argv[1] if sys.argv[1:] else "README.md"))
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="mbo-readme-") as scratch:
        folder = Path(scratch, "mbo")
        folder.mkdir()
        copy_tree(folder)
        with Shell(folder, Path(scratch, "notes"), variables(folder, Path(scratch, "home"))) as shell:
            for outcome in run(found, shell):
                wrong += bool(outcome.fault)
                print(f"{outcome}\n", flush=True)
    for block in found:
        if block.not_run is not None:
            print(f"line {block.line}: not run: {block.not_run}")
    print(f"{wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
