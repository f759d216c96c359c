"""Nothing is installed but the files that a lock names: every pin has hashes, every recipe demands them, pip refuses others."""

import hashlib
import importlib.metadata
import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.utils import canonicalize_name

from tests.audit.tools import PYTHON, ROOT, Pin, locks, pins, run, tree

NOT_LOCKED = {"pip", "setuptools", "mbo-books"}  # what `python -m venv` brings (of 3.11), and the package itself
RECIPES = ["Makefile", ".ci/*", ".github/*", "docker/*Dockerfile*", "docker/*.sh", "tests/*.sh", "tests/*Dockerfile*"]

pytestmark = pytest.mark.audit


# ---------------------------------------------------------------- the locks


def lock_faults(text: str) -> Iterator[str]:
    """What keeps a requirements file from being a lock."""
    seen = set()
    for pin in pins(text):
        if isinstance(pin, str):
            yield f"no pin: {pin}"
        else:
            if not pin.hashes:
                yield f"{pin.name} has no hash"
            if (pin.name, pin.marker) in seen:
                yield f"{pin.name} is there twice"
            seen.add((pin.name, pin.marker))
    if not seen:
        yield "nothing is pinned"
    yield from (f"an address: {found}" for found in re.findall(r"^[^#\n]*://\S*|^[^#\n]*\s@\s.*", text, re.M))


def test_locks_have_a_hash_for_everything_and_no_address() -> None:
    found = locks()
    assert {"requirements.lock", "requirements-pip.txt", "tests/audit/requirements.txt"} <= found.keys()
    assert len(found["requirements.lock"]) > 150
    assert {name: bad for name in found if (bad := list(lock_faults((ROOT / name).read_text())))} == {}


@pytest.mark.parametrize(
    ("pattern", "planted", "fault"),
    [
        (r"(numpy==\S+) \\\n(    --hash=\S+( \\)?\n)+", r"\1\n", "numpy has no hash"),
        (r"--hash=sha256:.", "--hash=sha256:", "no pin: "),
        (r"--hash=sha256:", "--hash=md5:", "no pin: "),
        (r"numpy==\S+", "numpy>=2", "no pin: numpy>=2"),
        (r"\n\n", "\n\n--extra-index-url https://packages.example/simple\n", "an address: --extra-index-url"),
        (r"numpy==\S+", "numpy @ https://files.example/numpy.whl", "an address: numpy @"),
        (r"(?s)\Z", f"numpy==1.0 --hash=sha256:{'0' * 64}\n", "numpy is there twice"),
        (r"(?s).+", "# empty\n", "nothing is pinned"),
    ],
)
def test_lock_with_a_planted_fault_is_seen(pattern: str, planted: str, fault: str) -> None:
    text, count = re.subn(pattern, planted, (ROOT / "requirements.lock").read_text(), count=1)
    assert count == 1
    assert any(found.startswith(fault) for found in lock_faults(text))


# ---------------------------------------------------------------- the recipes

INSTALL = re.compile(
    r"\bpip3?\s+(?:\S+\s+)*?(?:install|wheel|download)\b|\buv\s+(?:\S+\s+)*?(?:install|sync)\b|\$\(PIP\)\s+-"
    r"|\bpipx\s+(?:install|run)\b|\buvx\b"
)
LOCAL = re.compile(r"--no-deps\b.*\s(?:-e\s+)?(?:\.|\S*\.whl|\S*/)(?=\s|$|;|&|\\)")
"""The package itself, or a wheel that lies there, and nothing that it needs."""


def installs(text: str) -> Iterator[str]:
    """The commands of a recipe that install Python packages."""
    for line in re.sub(r"\s*\\\n\s*", " ", text).splitlines():
        if not line.lstrip().startswith("#") and not re.match(r"\w+ *:?= ", line):
            yield from (part.strip() for part in re.split(r"&&|\|\||;", line) if INSTALL.search(part))


def unchecked(text: str) -> list[str]:
    """The commands of a recipe that may install what no hash vouches for."""
    return [command for command in installs(text) if "--require-hashes" not in command and not LOCAL.search(command)]


def recipes() -> list[str]:
    return [name for name in tree() if any(fnmatch(name, pattern) for pattern in RECIPES)]


def test_recipes_demand_hashes() -> None:
    found = {name: (ROOT / name).read_text() for name in recipes()}
    assert {"Makefile", ".ci/run"} <= found.keys()
    assert len(list(installs(found["Makefile"]))) >= 3
    assert {name: bad for name, text in found.items() if (bad := unchecked(text))} == {}


@pytest.mark.parametrize(
    "line",
    [
        "RUN pip install numpy",
        "RUN python -m pip install --no-cache-dir \\\n    -r requirements.lock",
        "\t$(PIP) -r requirements.lock",
        "      - run: uv pip install build",
        "apt-get update && pip install --upgrade pip",
        "pip install --no-deps numpy",
        "RUN pip/bin/python -m pip --python /opt/mbo/bin/python install --quiet numpy",
        "pip wheel --wheel-dir wheels .",
        "uvx ruff check",
    ],
)
def test_recipe_that_trusts_is_seen(line: str) -> None:
    assert len(unchecked(f"true\n{line}\n")) == 1


@pytest.mark.parametrize(
    "line",
    [
        "\t$(PIP) --require-hashes -r requirements.lock && \\\n\ttouch $@",
        "RUN pip install --no-deps --no-build-isolation -e .",
        "RUN pip install --no-deps /tmp/mbo_books-0.1.0-py3-none-any.whl",
        "RUN python -m pip --python /opt/mbo/bin/python install --no-deps wheels/*.whl",
        "RUN python -m pip wheel --no-deps --no-build-isolation --wheel-dir wheels .",
        "# pip install numpy",
    ],
)
def test_recipe_that_checks_is_let_pass(line: str) -> None:
    assert unchecked(line) == []


# ---------------------------------------------------------------- pip, and what it made


def install(wheel: Path, folder: Path, options: str, *, ok: bool) -> str:
    """Have pip install the wheel as a requirements file says; gives what it printed."""
    asked = folder / "asked.txt"
    asked.write_text(f"mbo-books=={wheel.name.split('-')[1]} {options}\n")
    command = (
        PYTHON,
        "-m",
        "pip",
        "install",
        "--require-hashes",
        "--no-deps",
        "--no-index",
        "--find-links",
        wheel.parent,
    )
    done = run(*command, "--target", folder / "target", "-r", asked, ok=ok)
    assert (folder / "target" / "mbo").is_dir() is ok
    return done.stdout + done.stderr


def test_install_takes_the_very_file(wheel: Path, tmp_path: Path) -> None:
    install(wheel, tmp_path, f"--hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}", ok=True)


def test_install_refuses_another_hash(wheel: Path, tmp_path: Path) -> None:
    right = hashlib.sha256(wheel.read_bytes()).hexdigest()
    altered = right[:-1] + ("0" if right[-1] != "0" else "1")
    assert "DO NOT MATCH THE HASHES" in install(wheel, tmp_path, f"--hash=sha256:{altered}", ok=False)


def test_install_refuses_no_hash(wheel: Path, tmp_path: Path) -> None:
    assert "Hashes are required" in install(wheel, tmp_path, "", ok=False)


def differences(locked: Iterable[Pin], installed: dict[str, str]) -> list[str]:
    """What an environment has that its lock has not, or the other way round."""
    wanted = {pin.name: pin.version for pin in locked if not pin.marker or Marker(pin.marker).evaluate()}
    found = {name: version for name, version in installed.items() if name not in NOT_LOCKED or name in wanted}
    return [f"{name} {version}" for name, version in sorted(wanted.items() ^ found.items())]


def test_environment_is_its_lock() -> None:
    installed = {canonicalize_name(each.name): each.version for each in importlib.metadata.distributions()}
    assert differences(locks()["requirements.lock"], installed) == []


def test_environment_with_more_or_other_is_seen() -> None:
    locked = [Pin("a", "1", "", frozenset()), Pin("b", "2", "sys_platform == 'nowhere'", frozenset())]
    assert differences(locked, {"a": "1", "pip": "23", "mbo-books": "0.1.0"}) == []
    assert differences(locked, {"a": "2", "c": "1"}) == ["a 1", "a 2", "c 1"]
    assert differences(locked, {}) == ["a 1"]
