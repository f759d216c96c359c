"""The workflow of the tests, really run: by act, on this machine, with stand-ins for its actions, for .ci/run and make."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.infra.programs import WORKFLOWS, replace, run, said, tool

pytestmark = pytest.mark.infra

CHECKOUT = """\
inputs:
  fetch-depth: {default: "1"}
  persist-credentials: {default: "true"}
runs:
  using: composite
  steps:
    - run: cp -R "$CHECKED_OUT/." . && echo "kept the token - ${{ inputs.persist-credentials }}"
      shell: bash
"""
PYTHON = """\
inputs:
  python-version: {required: true}
runs:
  using: composite
  steps:
    - run: echo "Python ${{ inputs.python-version }}"
      shell: bash
"""
CI = '#!/bin/sh\necho "checks run, CI is $CI"\nexit {code}\n'


def acted(folder: Path, code: int = 0, old: str = "", new: str = "") -> subprocess.CompletedProcess[str]:
    """Run ci.yml, after putting `new` in the place of `old`, in a repository whose .ci/run ends with a code."""
    repository, empty = folder / "repository", folder / "empty"
    flow = repository / ".github" / "workflows" / "ci.yml"
    for path, text in {
        folder / "checkout" / "action.yml": CHECKOUT,
        folder / "setup-python" / "action.yml": PYTHON,
        repository / ".ci" / "run": CI.format(code=code),
        repository / "Makefile": "audit-live:\n\t@echo advisories are looked up\n",
        flow: (WORKFLOWS / "ci.yml").read_text(),
        empty / "README.md": "",
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (repository / ".ci" / "run").chmod(0o755)
    if old:
        replace(flow, old, new)
    git = ("git", "-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false")
    for command in (["init", "--quiet", "--initial-branch=main"], ["add", "--all"], ["commit", "--quiet", "-m", "all"]):
        assert run(*git, *command, cwd=repository).returncode == 0
    stubs = [
        f"--local-repository={name}={folder / name.partition('@')[0].partition('/')[2]}"
        for name in re.findall(r"uses: (\S+@[0-9a-f]{40})", flow.read_text())
    ]
    assert len(stubs) >= 1
    return run(
        tool("bin/act"), "push", "--workflows", flow, "--platform", "ubuntu-24.04=-self-hosted", "--no-skip-checkout",
        "--action-offline-mode", "--no-cache-server", "--env", f"CHECKED_OUT={repository}", *stubs, cwd=repository,
        HOME=str(folder), XDG_CACHE_HOME=str(folder / "cache"), XDG_CONFIG_HOME=str(folder / "config"),
    )  # fmt: skip


def test_ci_runs_every_check(tmp_path: Path):
    done = acted(tmp_path)
    assert done.returncode == 0, said(done)
    for words in (
        "kept the token - false",
        "Python 3.11",
        "checks run, CI is true",
        "advisories are looked up",
        "Job succeeded",
    ):
        assert words in done.stdout, said(done)


def test_ci_fails_when_a_check_does(tmp_path: Path):
    done = acted(tmp_path, code=3)
    assert done.returncode == 1, said(done)
    assert "checks run" in done.stdout
    assert "Job failed" in done.stdout


def test_ci_without_a_checkout_fails(tmp_path: Path):
    step = re.search(r"      - uses: actions/checkout.*?(?=      - )", (WORKFLOWS / "ci.yml").read_text(), re.DOTALL)
    assert step is not None
    done = acted(tmp_path, old=step[0], new="")
    assert done.returncode == 1, said(done)
    assert "checks run" not in done.stdout
