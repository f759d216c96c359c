"""bandit finds nothing of medium severity or more in what runs, but what accepted.toml has a reason for."""

import json
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.audit.tools import ROOT, run, tool, tree

ACCEPTED = tomllib.loads((ROOT / "tests/audit/accepted.toml").read_text()).get("bandit", [])
LOOKED_AT = ("mbo/", "dashboard/", "docker/", "tests/tools/")
SERIOUS = {"MEDIUM", "HIGH"}

pytestmark = pytest.mark.audit


def scan(folder: Path, files: list[str]) -> Counter[tuple[str, str]]:
    """How many findings of medium severity or more there are, by file and test, whatever the tool's confidence."""
    # `# nosec` in a file would pass over what nobody has given a reason for here.
    command = (tool("bandit"), "--quiet", "--ignore-nosec", "--exit-zero", "--format", "json", *files)
    answer = json.loads(run(*command, cwd=folder).stdout)
    assert answer["errors"] == []
    read = {name.removeprefix("./") for name in answer["metrics"] if name != "_totals"}
    assert read == set(files)
    serious = [one for one in answer["results"] if one["issue_severity"] in SERIOUS]
    return Counter((one["filename"].removeprefix("./"), one["test_id"]) for one in serious)


def faults(found: Counter[tuple[str, str]], accepted: list[dict[str, Any]]) -> Iterator[str]:
    """Where there is more or less than somebody has answered for."""
    answers = {(each["file"], each["test"]): each["count"] for each in accepted}
    for key in sorted(found.keys() | answers.keys()):
        if found[key] != answers.get(key, 0):
            yield f"{' '.join(key)}: {found[key]} found, {answers.get(key, 0)} answered for"
    yield from (f"{each['file']}: no reason" for each in accepted if not each.get("reason", "").strip())


def test_code_has_no_finding_without_an_answer() -> None:
    files = [name for name in tree() if name.startswith(LOOKED_AT) and name.endswith(".py")]
    assert len(files) > 150
    found = list(faults(scan(ROOT, files), ACCEPTED))
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("line", "test"),
    [
        ("import subprocess; subprocess.run('ls ' + x, shell=True)", "B602"),
        ("import pickle; pickle.loads(x)", "B301"),
        ("import hashlib; hashlib.md5(x)", "B324"),
        ("import yaml; yaml.load(x)", "B506"),
        ("exec(x)", "B102"),
        ("sql = 'SELECT * FROM a WHERE b = ' + x", "B608"),
        ("exec(x)  # nosec", "B102"),
    ],
)
def test_planted_fault_is_seen(line: str, test: str, tmp_path: Path) -> None:
    (tmp_path / "planted.py").write_text(f"def planted(x):\n    {line}\n")
    found = scan(tmp_path, ["planted.py"])
    assert found[("planted.py", test)] == 1
    assert f"planted.py {test}: 1 found, 0 answered for" in faults(found, [])


def test_answer_counts_for_its_number_alone() -> None:
    answer = {"file": "a.py", "test": "B608", "count": 2, "reason": "Names are constants."}
    key = ("a.py", "B608")
    assert list(faults(Counter({key: 2}), [answer])) == []
    assert list(faults(Counter({key: 3}), [answer])) == ["a.py B608: 3 found, 2 answered for"]
    assert list(faults(Counter(), [answer])) == ["a.py B608: 0 found, 2 answered for"]
    assert list(faults(Counter({key: 2}), [answer | {"reason": ""}])) == ["a.py: no reason"]
