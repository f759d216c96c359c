"""dev, staging and prod differ in what is listed here, and in nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.infra.programs import ENVIRONMENTS, TERRAFORM, replace

pytestmark = pytest.mark.infra

SMALL = {"gateway": (512, 1024), "api": (1024, 4096), "dashboard": (1024, 2048)}
LARGE = {"gateway": (1024, 2048), "api": (2048, 8192), "dashboard": (2048, 4096)}
ALLOWED: dict[str, dict[str, Any]] = {
    "environment": {"dev": "dev", "staging": "staging", "prod": "prod"},
    "cidr": {"dev": "10.40.0.0/20", "staging": "10.41.0.0/20", "prod": "10.42.0.0/20"},
    "deletion_protection": {"dev": False, "staging": False, "prod": True},
    "dashboards": {"dev": 1, "staging": 2, "prod": 2},
    "sizes": {"dev": SMALL, "staging": LARGE, "prod": LARGE},
}
"""Staging is as large as prod, for what is tried there has to fit."""
SETTINGS = "settings.tf"


def settings(text: str) -> dict[str, Any]:
    """Read the values of a settings.tf; a line that is not understood is an error."""
    found: dict[str, Any] = {}
    body = re.search(r"^locals \{\n(.*)^\}\n\Z", text, re.DOTALL | re.MULTILINE)
    assert body is not None
    for line in body[1].splitlines():
        size = re.fullmatch(r" {4}(\w+) += \{ cpu = (\d+), memory = (\d+) \}", line)
        value = re.fullmatch(r' {2}(\w+) += (?:"(.*)"|(true|false)|(\d+))', line)
        if size is not None:
            found.setdefault("sizes", {})[size[1]] = (int(size[2]), int(size[3]))
        elif value is not None:
            name, text_, logical, number = value.groups()
            found[name] = text_ if text_ is not None else logical == "true" if logical else int(number)
        else:
            assert line in ("", "  sizes = {", "  }"), line
    return found


def unintended(tree: Path) -> list[str]:
    """Name every difference between the roots that nobody intends."""
    names = {
        one: {path.name for path in (tree / one).iterdir() if not path.name.startswith(".")} for one in ENVIRONMENTS
    }
    every = set.union(*names.values())
    found = [f"{one} has no {name}" for one in ENVIRONMENTS for name in sorted(every - names[one])]
    for name in sorted(set.intersection(*names.values()) - {SETTINGS}):
        if len({(tree / one / name).read_bytes() for one in ENVIRONMENTS}) > 1:
            found.append(f"{name} is not the same")
    values = {one: settings((tree / one / SETTINGS).read_text()) for one in ENVIRONMENTS}
    for name in sorted(set.union(*(set(value) for value in values.values()))):
        given = {one: values[one].get(name) for one in ENVIRONMENTS}
        if name in ALLOWED and given != ALLOWED[name]:
            found.append(f"{name} is {given}")
        elif name not in ALLOWED and len({repr(value) for value in given.values()}) > 1:
            found.append(f"{name} differs: {given}")
    return found


def test_roots_differ_where_they_may():
    assert unintended(TERRAFORM) == []
    read = settings((TERRAFORM / "prod" / SETTINGS).read_text())
    assert read.keys() == {*ALLOWED, "log_days"}


@pytest.mark.parametrize(
    ("file", "old", "new", "found"),
    [
        ("staging/settings.tf", "log_days            = 365", "log_days            = 7", "log_days differs"),
        ("prod/settings.tf", "deletion_protection = true", "deletion_protection = false", "deletion_protection is"),
        ("prod/main.tf", "var.store_cidrs", '["10.0.0.0/8"]', "main.tf is not the same"),
    ],
    ids=["logs", "protection", "main"],
)
def test_other_difference_is_found(tree: Path, file: str, old: str, new: str, found: str):
    replace(tree / file, old, new)
    (difference,) = unintended(tree)
    assert found in difference


def test_file_that_one_root_lacks_is_found(tree: Path):
    (tree / "dev" / "more.tf").write_text("")
    assert unintended(tree) == ["staging has no more.tf", "prod has no more.tf"]
