"""What the image is made of is a part of the lock, and the part that is needed. Runs in `make test`: it takes no engine."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_SPEC = importlib.util.spec_from_file_location("subset", ROOT / "docker/subset.py")
assert _SPEC is not None
assert _SPEC.loader is not None
subset = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(subset)


def strangers(text: str, lock: str) -> list[str]:
    """Name what a file has that the lock has not, to the last hash."""
    known = subset.entries(lock)
    found = subset.entries(text)
    rest = re.sub(r"^#.*\n", "", text, flags=re.M)
    for entry in found.values():
        rest = rest.replace(f"{entry}\n", "", 1)
    return [name for name, entry in found.items() if known.get(name) != entry] + rest.split()


@pytest.mark.parametrize("name", [subset.RUNTIME, subset.BUILD])
def test_every_line_is_the_locks(name):
    text, lock = (ROOT / name).read_text(), (ROOT / "requirements.lock").read_text()
    assert strangers(text, lock) == []
    first = next(iter(subset.entries(text)))
    digest = re.search("sha256:([0-9a-f]{64})", text)
    assert digest is not None
    assert strangers(text.replace(digest[1], digest[1][::-1]), lock) == [first]
    assert strangers(text.replace("==", "==9", 1), lock) == [first]
    assert strangers(text + "chdb>=1\n", lock) == ["chdb>=1"]


def test_the_parts_are_those_that_are_needed():
    made = subset.files()
    for name, text in made.items():
        assert (ROOT / name).read_text() == text, f"python docker/subset.py writes {name} anew"
    runtime = subset.entries(made[subset.RUNTIME])
    assert {"numba", "llvmlite", "fastapi", "panel", "clickhouse-connect"} <= set(runtime)
    assert not {"chdb", "chdb-core", "pytest", "jupyterlab", "databento"} & set(runtime)
    assert set(subset.entries(made[subset.BUILD])) == {"flit-core"}


def test_what_is_needed_in_turn_is_there():
    needed = subset.closure([subset.Requirement("clickhouse-connect")])
    assert needed > {"clickhouse-connect", "urllib3"}
    assert subset.closure([subset.Requirement("chdb")]) == set()
