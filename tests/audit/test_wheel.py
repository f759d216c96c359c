"""The wheel is the same wherever it is built, has every committed file of the package and no other, and works where it is put."""

import os
import shutil
import zipfile
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

import pytest

from tests.audit.tools import PYTHON, ROOT, run

pytestmark = pytest.mark.audit

KINDS = {".py", ".mjs", ".sql", ".toml", ".json", ".zst", ".typed"}
NEEDED = [
    "mbo/py.typed",
    "mbo/data/simulated.mbo.dbn.zst",
    "mbo/data/simulated.json",
    "mbo/config/dev.toml",
    "mbo/config/staging.toml",
    "mbo/config/prod.toml",
    "mbo/store/sql/*.sql",
    "mbo/view/esm/*.mjs",
    "mbo_books-*.dist-info/METADATA",
    "mbo_books-*.dist-info/licenses/LICENSE",
]
METADATA = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}


def faults(wheel: Path, repository: Path) -> Iterator[str]:
    """What a wheel has too little or too much of, against what is committed."""
    names = zipfile.ZipFile(wheel).namelist()
    committed = set(run("git", "ls-files", "mbo", cwd=repository).stdout.split())
    inside = {name for name in names if ".dist-info/" not in name}
    beside = {name.partition(".dist-info/")[2] for name in names if ".dist-info/" in name}
    yield from (f"{name} is committed, not in the wheel" for name in sorted(committed - inside))
    yield from (f"{name} is in the wheel, not committed" for name in sorted(inside - committed))
    yield from (
        f"{name} is not a kind of file that belongs in it" for name in inside if PurePosixPath(name).suffix not in KINDS
    )
    yield from (f"{pattern} is missing" for pattern in NEEDED if not any(fnmatch(name, pattern) for name in names))
    yield from (f"dist-info has {name}" for name in sorted(beside ^ METADATA))
    yield from (f"{name} is twice in it" for name in sorted({name for name in names if names.count(name) > 1}))


def rezipped(wheel: Path, copy: Path, *, leave_out: str = "", put_in: str = "") -> Path:
    """Copy a wheel without one file, or with one more."""
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(copy, "w") as new:
        for name in old.namelist():
            if not leave_out or not fnmatch(name, leave_out):
                new.writestr(name, old.read(name))
        if put_in:
            new.writestr(put_in, "x")
    return copy


def test_wheel_has_what_is_committed_and_nothing_else(wheel: Path, repository: Path) -> None:
    found = list(faults(wheel, repository))
    assert not found, "\n".join(found)


@pytest.mark.parametrize("pattern", NEEDED)
def test_wheel_without_a_needed_file_is_seen(pattern: str, wheel: Path, repository: Path, tmp_path: Path) -> None:
    assert f"{pattern} is missing" in faults(rezipped(wheel, tmp_path / wheel.name, leave_out=pattern), repository)


@pytest.mark.parametrize(
    "name", ["mbo/secret.key", "mbo/notes.py", "tests/test_units.py", "mbo_books-0.1.0.dist-info/more"]
)
def test_wheel_with_another_file_is_seen(name: str, wheel: Path, repository: Path, tmp_path: Path) -> None:
    found = [
        fault
        for fault in faults(rezipped(wheel, tmp_path / wheel.name, put_in=name), repository)
        if "missing" not in fault
    ]
    assert any(name.partition(".dist-info/")[2] in fault if "dist-info" in name else name in fault for fault in found)


def test_wheel_is_the_same_wherever_it_is_built(wheel: Path, repository: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "another" / "place"
    shutil.copytree(repository, elsewhere)
    for file in elsewhere.glob("mbo/**/*"):
        os.utime(file, (1, 1))
    (elsewhere / "mbo" / "left_over.py").write_text("x = 1\n")  # lies there, but is in no commit
    script = ROOT / "docker" / "release" / "wheel.py"
    umask = os.umask(0o077)
    try:
        run(
            PYTHON,
            script,
            tmp_path / "out",
            cwd=elsewhere,
            TZ="Asia/Tokyo",
            LC_ALL="C",
            PYTHONHASHSEED="7",
            SOURCE_DATE_EPOCH="1",
        )
    finally:
        os.umask(umask)
    assert (tmp_path / "out" / wheel.name).read_bytes() == wheel.read_bytes()


def test_wheel_of_another_time_differs(wheel: Path, repository: Path, tmp_path: Path) -> None:
    """Otherwise the comparison above would compare nothing that a time could change."""
    folder, at = shutil.copytree(repository, tmp_path / "copy"), "2026-01-07T00:00:00+00:00"
    who = ("-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")
    run("git", *who, "commit", "--quiet", "--amend", "--no-edit", cwd=folder, GIT_COMMITTER_DATE=at)
    run(PYTHON, ROOT / "docker" / "release" / "wheel.py", tmp_path / "out", cwd=folder)
    assert (tmp_path / "out" / wheel.name).read_bytes() != wheel.read_bytes()


def test_wheel_works_where_it_is_put(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    run(PYTHON, "-m", "pip", "install", "--quiet", "--no-deps", "--target", target, wheel)
    code = "import mbo, mbo.view.bundle as b; print(mbo.__file__, len(b.esm()) > 9999, *mbo.read_dbn(mbo.SIMULATED).symbols)"
    file, *rest = run(PYTHON, "-c", code, cwd=tmp_path, PYTHONPATH=str(target)).stdout.split()
    assert Path(file).is_relative_to(target)
    assert rest == ["True", "SIM1", "SIM2", "SIM3"]
