"""No version in a lock has a known advisory that nobody has answered for. Asked is a server on loopback; see advisories.md."""

import datetime
import io
import json
import tarfile
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.audit.tools import ROOT, locks, run, tool
from tests.tools.advisories import Advisories, AdvisoryServer

ACCEPTED = tomllib.loads((ROOT / "tests/audit/accepted.toml").read_text()).get("advisory", [])
NEEDED = {"package", "id", "reason", "until"}
DAYS = 180  # the longest that an answer counts

pytestmark = pytest.mark.audit


@pytest.fixture(scope="module")
def advisories() -> Advisories:
    return Advisories()


def audited(advisories: Advisories, pins: Iterable[tuple[str, str, str]], folder: Path) -> dict[str, list[str]]:
    """Have pip-audit look at packages (name, version, hashes), whatever machine they are for; gives package -> advisories.

    Nothing may be skipped, and every one has to have been asked for: pip-audit ends well when it could ask nobody.
    """
    pins = sorted(set(pins))
    asked = folder / "asked.txt"
    asked.write_text("".join(f"{name}=={version} {hashes}\n" for name, version, hashes in pins))
    with AdvisoryServer(advisories) as server:
        done = run_pip_audit(asked, server.url)
    assert done.stdout, done.stderr
    answer = json.loads(done.stdout)["dependencies"]
    assert [each for each in answer if "skip_reason" in each] == []
    wanted = {(name, version) for name, version, _ in pins}
    assert {(each["name"], each["version"]) for each in answer} == wanted == server.asked
    found = {each["name"]: sorted(one["id"] for one in each["vulns"]) for each in answer if each["vulns"]}
    assert done.returncode == (1 if found else 0), done.stderr
    return found


def run_pip_audit(asked: Path, url: str) -> Any:
    command = (tool("pip-audit"), "--requirement", asked, "--require-hashes", "--disable-pip", "--strict", "--format", "json",
               "--progress-spinner", "off", "--vulnerability-service", "osv", "--osv-url", url)  # fmt: skip
    return run(*command, ok=None)


def open_faults(found: dict[str, list[str]], accepted: list[dict[str, Any]], today: datetime.date) -> Iterator[str]:
    """The findings that nobody has answered for, and the answers that count no longer."""
    answers = {(each["package"], each["id"]): each for each in accepted}
    findings = {(package, one) for package, ids in found.items() for one in ids}
    yield from (f"{package}: {one}" for package, one in sorted(findings - answers.keys()))
    for key, answer in answers.items():
        if answer.keys() != NEEDED or not str(answer["reason"]).strip():
            yield f"{key}: an answer has {', '.join(sorted(NEEDED))}"
        elif key not in findings:
            yield f"{key}: answers nothing"
        elif not today < answer["until"] <= today + datetime.timedelta(days=DAYS):
            yield f"{key}: until {answer['until']} is over, or too far off"


def test_advisories_are_there(advisories: Advisories) -> None:
    assert (advisories.count, advisories.withdrawn, len(advisories.of)) == (2651, 10, 660)
    assert advisories.latest.startswith("2024-10-10T")


def test_locks_have_no_advisory_without_an_answer(advisories: Advisories, tmp_path: Path) -> None:
    pins = [pin for lock in locks().values() for pin in lock]
    found: dict[str, list[str]] = {}
    # One requirements file has one version of a package; what several locks have at several versions is asked for in turn.
    while pins:
        turn = {pin.name: (pin.name, pin.version, " ".join(sorted(pin.hashes))) for pin in reversed(pins)}
        pins = [pin for pin in pins if pin.version != turn[pin.name][1]]
        for name, ids in audited(advisories, turn.values(), tmp_path).items():
            found[name] = sorted({*found.get(name, []), *ids})
    faults = list(open_faults(found, ACCEPTED, datetime.datetime.now(datetime.UTC).date()))
    assert not faults, "\n".join(faults)


HASH = f"--hash=sha256:{'0' * 64}"


def test_known_bad_versions_are_found(advisories: Advisories, tmp_path: Path) -> None:
    bad = [("jinja2", "2.10", HASH), ("requests", "2.19.0", HASH), ("jinja2-time", "0.2.0", HASH)]
    assert audited(advisories, bad, tmp_path) == {
        "jinja2": ["PYSEC-2019-217", "PYSEC-2021-66"],
        "requests": ["PYSEC-2018-28", "PYSEC-2023-74"],
    }


def test_version_that_mends_it_is_let_pass(advisories: Advisories, tmp_path: Path) -> None:
    assert audited(advisories, [("jinja2", "2.11.3", HASH), ("requests", "2.31.0", HASH)], tmp_path) == {}


def test_pin_without_a_hash_is_refused(tmp_path: Path) -> None:
    asked = tmp_path / "asked.txt"
    asked.write_text("jinja2==3.1.6\n")
    done = run_pip_audit(asked, "http://127.0.0.1:9/v1/query")
    assert done.returncode != 0
    assert "does not contain a hash" in done.stderr


def test_server_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    asked = tmp_path / "asked.txt"
    asked.write_text(f"jinja2==3.1.6 {HASH}\n")
    done = run_pip_audit(asked, "http://127.0.0.1:9/v1/query")
    assert done.returncode != 0
    assert "Connection refused" in done.stderr


def archived(folder: Path, *advisories: dict[str, Any]) -> Advisories:
    """A set of made-up advisories, read from an archive like the real one."""
    path = folder / "made_up.tar.xz"
    with tarfile.open(path, "w:xz") as archive:
        for number, advisory in enumerate(advisories):
            content = json.dumps({"id": f"MADE-UP-{number}"} | advisory).encode()
            member = tarfile.TarInfo(f"vulns/a/MADE-UP-{number}.yaml")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return Advisories(path)


def about(*events: tuple[str, str], kind: str = "ECOSYSTEM", versions: tuple[str, ...] = ()) -> dict[str, Any]:
    """An advisory about the package `a.b`, for the versions in a list and in one range."""
    ranges = [{"type": kind, "events": [{name: version} for name, version in events]}]
    package = {"name": "A_b", "ecosystem": "PyPI"}
    return {"affected": [{"package": package, "ranges": ranges, "versions": list(versions)}]}


def test_empty_set_finds_nothing_in_anything(tmp_path: Path) -> None:
    """Which is why the known bad versions above are asked for: they show that ours is not empty."""
    assert audited(archived(tmp_path), [("jinja2", "2.10", HASH)], tmp_path) == {}


@pytest.mark.parametrize(
    ("advisory", "affected", "not_affected"),
    [
        (about(("introduced", "0")), ["0.1", "99"], []),  # never mended
        (about(("introduced", "0"), ("fixed", "2.10")), ["1", "2.9", "2.10rc1"], ["2.10", "2.11"]),
        (about(("introduced", "1.5"), ("last_affected", "2")), ["1.5", "2.0"], ["1.4", "2.0.1"]),
        (
            about(("introduced", "3"), ("fixed", "4"), ("introduced", "1"), ("fixed", "2")),
            ["1", "3.9"],
            ["0.9", "2", "4"],
        ),
        (about(versions=("1.0", "1.1")), ["1", "1.1"], ["1.2"]),
        (about(versions=("1.0", "no version")), ["1.0"], ["1.2"]),
        (about(("introduced", "0"), ("fixed", "1"), versions=("1.2",)), ["0.5", "1.2"], ["1"]),
        (
            about(("introduced", "0"), ("fixed", "no version")),
            ["1"],
            [],
        ),  # cannot be read: rather too much than too little
        (about(("introduced", "0"), kind="GIT"), [], ["1"]),  # of commits, not of versions
        (about(("introduced", "0")) | {"withdrawn": "2024-01-01T00:00:00Z"}, [], ["1"]),
    ],
)
def test_advisory_speaks_of_its_versions(
    advisory: dict, affected: list[str], not_affected: list[str], tmp_path: Path
) -> None:
    advisories = archived(tmp_path, advisory)
    assert [version for version in affected + not_affected if advisories.about("a.b", version)] == affected
    assert advisories.about("a", "1") == []


TODAY = datetime.date(2026, 11, 23)
ANSWER = {"package": "jinja2", "id": "PYSEC-1", "reason": "We load no templates.", "until": datetime.date(2027, 1, 1)}


@pytest.mark.parametrize(
    ("found", "answer", "fault"),
    [
        ({"jinja2": ["PYSEC-1"]}, {}, None),
        ({"jinja2": ["PYSEC-1", "PYSEC-2"]}, {}, "jinja2: PYSEC-2"),
        ({"jinja2": ["PYSEC-1"]}, {"until": TODAY}, "is over"),
        ({"jinja2": ["PYSEC-1"]}, {"until": datetime.date(2030, 1, 1)}, "too far off"),
        ({"jinja2": ["PYSEC-1"]}, {"reason": " "}, "an answer has"),
        ({}, {}, "answers nothing"),
    ],
)
def test_answer_counts_for_its_finding_and_its_time(
    found: dict[str, list[str]], answer: dict, fault: str | None
) -> None:
    faults = list(open_faults(found, [ANSWER | answer], TODAY))
    assert (fault is None and not faults) or (len(faults) == 1 and fault is not None and fault in faults[0])
