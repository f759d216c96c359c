"""Every package of the lock is under a licence that licences.toml allows, by all that it says of itself."""

import json
import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.utils import canonicalize_name

from tests.audit.tools import PYTHON, ROOT, locks, run, tool

RULES = tomllib.loads((ROOT / "tests/audit/licences.toml").read_text())
FIELDS = ("License-Expression", "License-Metadata", "License-Classifier")
NAME_LENGTH = 60  # characters; a longer text in the field `License` is the licence itself, and the classifier names it

pytestmark = pytest.mark.audit


def installed(python: Path) -> dict[str, dict[str, str]]:
    """What pip-licenses reads in the metadata of every package of an environment, by name."""
    command = (tool("pip-licenses"), "--python", python, "--from", "all", "--format", "json", "--with-system")
    return {canonicalize_name(each["Name"]): each for each in json.loads(run(*command).stdout)}


def said(package: dict[str, str]) -> set[str]:
    """The licences that a package names of itself, as it names them. Those in an expression count one by one, `OR` as `AND`."""
    expression, metadata, classifiers = (
        "" if package[field] == "UNKNOWN" else package[field].strip() for field in FIELDS
    )
    if len(metadata) > NAME_LENGTH or "\n" in metadata:
        metadata = ""
    names = [*re.split(r"\bAND\b|\bOR\b|[()]", f"{expression} AND {metadata}"), *classifiers.split(";")]
    return {name.strip() for name in names if name.strip()}


def faults(
    packages: dict[str, dict[str, str]], wanted: Iterable[str], rules: dict[str, Any], elsewhere: Iterable[str] = ()
) -> Iterator[str]:
    """What is not allowed, not said or not needed, over all that is installed and all that is wanted, `elsewhere` or here."""
    answers = dict(rules["packages"])
    for name in sorted({*packages, *wanted}):
        answer = answers.pop(name, None)
        names = said(packages[name]) if name in packages else set()
        foreign = sorted({rules["names"].get(each, each) for each in names} - set(rules["allowed"]))
        if not foreign and names:
            if answer and name not in elsewhere:
                yield f"{name}: the answer is not needed"
        elif answer is None:
            yield f"{name}: {' and '.join(foreign) or 'no licence is named'}"
        elif answer["licence"] not in rules["allowed"] or not answer["reason"].strip():
            yield f"{name}: the answer is not one"
    yield from (f"{name}: the answer is about nothing" for name in answers)


def test_licences_are_allowed() -> None:
    pins = locks()["requirements.lock"]
    packages, wanted = installed(PYTHON), {pin.name for pin in pins}
    assert len(wanted & packages.keys()) > 150
    found = list(faults(packages, wanted, RULES, {pin.name for pin in pins if pin.marker}))
    assert not found, "\n".join(found)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with nothing in it."""
    folder = tmp_path_factory.mktemp("environment")
    run(PYTHON, "-m", "venv", "--without-pip", folder)
    return folder


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        ("License-Expression: GPL-3.0-only", "made-up: GPL-3.0-only"),
        (
            "License-Expression: MIT AND (GPL-2.0-or-later OR AGPL-3.0-only)",
            "made-up: AGPL-3.0-only and GPL-2.0-or-later",
        ),
        ("License: GPL-3.0", "made-up: GPL-3.0"),
        (
            "License: MIT\nClassifier: License :: OSI Approved :: GNU General Public License v3 (GPLv3)",
            "made-up: GNU General Public License v3 (GPLv3)",
        ),
        ("Summary: says nothing", "made-up: no licence is named"),
        (f"License: {'Copyright, and so on. ' * 9}", "made-up: no licence is named"),
    ],
)
def test_package_under_another_licence_is_seen(lines: str, fault: str, environment: Path) -> None:
    (packages,) = environment.glob("lib/python*/site-packages")
    folder = packages / "made_up-1.0.dist-info"
    folder.mkdir(exist_ok=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.4\nName: made-up\nVersion: 1.0\n{lines}\n")
    found = installed(environment / "bin" / "python")
    assert list(faults(found, ["made-up"], RULES | {"packages": {}})) == [fault]


def test_answers_are_needed_and_allowed() -> None:
    package = {"License-Expression": "UNKNOWN", "License-Metadata": "UNKNOWN", "License-Classifier": "UNKNOWN"}
    mit = package | {"License-Expression": "MIT"}
    answer = {"licence": "MIT", "reason": "Its LICENSE file."}

    def with_answer(found: dict[str, dict[str, str]], **changed: str) -> list[str]:
        return list(faults(found, ["a"], RULES | {"packages": {"a": answer | changed}}))

    assert with_answer({"a": package}) == with_answer({}) == []
    assert with_answer({"a": mit}) == ["a: the answer is not needed"]
    assert with_answer({"a": package}, licence="GPL-3.0-only") == ["a: the answer is not one"]
    assert with_answer({"a": package}, reason=" ") == ["a: the answer is not one"]
    assert list(faults({"a": mit}, ["a"], RULES | {"packages": {"a": answer}}, ["a"])) == []
    assert list(faults({"b": mit}, [], RULES | {"packages": {"a": answer}})) == ["a: the answer is about nothing"]
    assert list(faults({}, ["a"], RULES | {"packages": {}})) == ["a: no licence is named"]
