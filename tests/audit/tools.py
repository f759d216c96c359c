"""The tools in .tools/audit, run so that they reach nothing outside, and what of the repository they look at."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).parents[2]
TOOLS: Final = ROOT / ".tools" / "audit" / "bin"
PYTHON: Final = ROOT / ".venv" / "bin" / "python"

# Nobody listens at port 9: a tool that calls out anyway fails at once.
NOWHERE: Final = "http://127.0.0.1:9"
OFFLINE: Final = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))} | {
    **dict.fromkeys(("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), NOWHERE),
    **dict.fromkeys(("no_proxy", "NO_PROXY"), "127.0.0.1,localhost"),
    "PIP_CONFIG_FILE": os.devnull,
    "PIP_NO_INDEX": "1",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}


def tool(name: str) -> str:
    """Find a tool that `make audit` installs; without it the test is skipped, or fails if MBO_REQUIRE has "audit"."""
    path = TOOLS / name
    if path.exists():
        return str(path)
    missing = f"there is no {path.relative_to(ROOT)}: `make audit` installs it from tests/audit/requirements.txt"
    if "audit" in os.environ.get("MBO_REQUIRE", "").split(","):
        pytest.fail(f"{missing}, and MBO_REQUIRE says that it has to be there")
    pytest.skip(missing)


def run(
    *command: str | Path, cwd: Path = ROOT, ok: bool | None = True, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a command offline. It has to end well; with `ok=False` it has to fail, with `ok=None` either will do."""
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=OFFLINE | variables, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, errors="replace", timeout=110, check=False,
    )  # fmt: skip
    said = f"{' '.join(map(str, command[:3]))} ended with {done.returncode}: {done.stdout}{done.stderr}"
    assert ok in (None, done.returncode == 0), said
    return done


def tree() -> list[str]:
    """Name every file of the repository: those in the index and new ones, not what is ignored or gone."""
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").stdout.split("\0")
    return sorted({name for name in listed if name and (ROOT / name).is_file()})


class Pin(NamedTuple):
    name: str
    version: str
    marker: str
    hashes: frozenset[str]


_PIN: Final = re.compile(r"([A-Za-z0-9][\w.-]*)==([\w.!+-]+)(?: *; *(.+?))?((?: +--hash=sha256:[0-9a-f]{64})*)")


def pins(text: str) -> Iterator[Pin | str]:
    """The pins of a requirements file, and as it stands every other line that is no comment."""
    for line in re.sub(r" *\\\n *", " ", text).splitlines():
        if found := _PIN.fullmatch(line.strip()):
            name, version, marker, hashes = found.groups()
            yield Pin(canonicalize_name(name), version, marker or "", frozenset(hashes.split()))
        elif line.strip() and not line.strip().startswith("#"):
            yield line


def locks() -> dict[str, list[Pin]]:
    """The pins of every lock in the repository, by the file's name."""
    names = [name for name in tree() if re.search(r"(^|/)[\w.-]*requirements[\w.-]*\.(txt|lock)$", name)]
    return {name: [pin for pin in pins((ROOT / name).read_text()) if isinstance(pin, Pin)] for name in names}


def committed(folder: Path) -> Path:
    """Copy the repository's files into a repository of their own, with one commit of a fixed time."""
    for name in tree():
        copy = folder / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, copy)
        copy.chmod((ROOT / name).stat().st_mode & 0o755)
    at = "2026-01-06T14:30:00+00:00"
    who = ("-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")
    run("git", "init", "--quiet", cwd=folder)
    run("git", "add", "--all", cwd=folder)
    run("git", *who, "commit", "--quiet", "--message=all", cwd=folder, GIT_AUTHOR_DATE=at, GIT_COMMITTER_DATE=at)
    return folder
