"""The part of requirements.lock that the image needs: `python docker/subset.py` writes docker/requirements-*.txt anew.

What is needed is what the package and its extras `serve` and `dashboard` ask for, and what that asks for in turn, by what is
installed beside this interpreter. chDB is left out, with all that only it needs: the stack has a ClickHouse server. Every line is
the lock's own.
"""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = ("serve", "dashboard")
LEFT_OUT = frozenset({"chdb"})
RUNTIME = "docker/requirements-runtime.txt"
BUILD = "docker/requirements-build.txt"
HEADS = {
    RUNTIME: "# What the image runs on: a part of requirements.lock. Made by docker/subset.py; do not edit.\n",
    BUILD: "# What builds the package: a part of requirements.lock. Made by docker/subset.py; do not edit.\n",
}


def entries(lock: str) -> dict[str, str]:
    """Give the text of each package in a lock, by its name: the pin with its hashes."""
    return {canonicalize_name(found[1]): found[0] for found in re.finditer(r"^([\w.-]+)==.*(?:\n .*)*", lock, re.M)}


def closure(wanted: Iterable[Requirement]) -> set[str]:
    """Name everything that these requirements need here, each with what it needs itself."""
    waiting, seen = list(wanted), set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in LEFT_OUT or (name, frozenset(requirement.extras)) in seen:
            continue
        seen.add((name, frozenset(requirement.extras)))
        waiting += _needs(name, requirement.extras or {""})
    return {name for name, _ in seen}


def _needs(name: str, extras: Iterable[str]) -> Iterator[Requirement]:
    for text in importlib.metadata.requires(name) or ():
        needed = Requirement(text)
        if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
            yield needed


def files(root: Path = ROOT) -> dict[str, str]:
    """Write both files, as texts by their names."""
    lock = entries((root / "requirements.lock").read_text())
    document = tomllib.loads((root / "pyproject.toml").read_text())
    project = document["project"]
    asked = [*project["dependencies"], *(line for extra in EXTRAS for line in project["optional-dependencies"][extra])]
    needed = {RUNTIME: asked, BUILD: document["build-system"]["requires"]}
    return {
        name: HEADS[name] + "".join(f"{lock[one]}\n" for one in sorted(closure(map(Requirement, lines))))
        for name, lines in needed.items()
    }


def main() -> None:
    """Write them into the tree."""
    for name, text in files().items():
        (ROOT / name).write_text(text)
        print(f"{name}: {len(entries(text))} packages")


if __name__ == "__main__":
    main()
