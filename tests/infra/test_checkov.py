"""checkov finds nothing in docker/terraform but what is skipped with a reason, and does find what is planted."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.infra.programs import TERRAFORM, replace, run, said, tool

pytestmark = pytest.mark.infra

SKIP = re.compile(r"#checkov:skip=(\w+):?(.*)")
OPEN = """\
  ingress {
    description = "everybody"
    protocol    = "tcp"
    from_port   = 22
    to_port     = 22
    cidr_blocks = ["0.0.0.0/0"]
  }

  egress {
    description = "to the API"
"""


def checked(tree: Path) -> dict[str, Any]:
    done = run(
        tool("bin/python"), tool("bin/checkov"), "--directory", tree, "--framework", "terraform", "--skip-download",
        "--output", "json",
    )  # fmt: skip
    assert done.returncode in (0, 1), said(done)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def ids(results: list[dict[str, Any]]) -> set[str]:
    return {one["check_id"] for one in results}


def skips(tree: Path) -> dict[str, str]:
    """Give every skip in the files, with its reason."""
    found = [SKIP.search(line) for path in tree.rglob("*.tf") for line in path.read_text().splitlines()]
    return {one[1]: one[2].strip() for one in found if one is not None}


def test_checkov_finds_nothing():
    found = checked(TERRAFORM)
    failed = [(one["check_id"], one["check_name"], one["resource"]) for one in found["results"]["failed_checks"]]
    assert failed == []
    assert found["summary"]["passed"] > 100
    assert found["summary"]["parsing_errors"] == 0
    declared = skips(TERRAFORM)
    assert ids(found["results"]["skipped_checks"]) == declared.keys()
    assert all(len(reason.split()) >= 5 for reason in declared.values()), declared
    assert not [path.name for path in TERRAFORM.rglob(".checkov*")]  # nothing is left out elsewhere


def test_checkov_finds_what_is_planted(tree: Path):
    replace(tree / "module" / "access.tf", '  egress {\n    description = "to the API"\n', OPEN)
    replace(tree / "module" / "services.tf", 'value = "enabled"', 'value = "disabled"')
    replace(tree / "module" / "logs.tf", "enable_key_rotation = true", "enable_key_rotation = false")
    assert {"CKV_AWS_24", "CKV_AWS_65", "CKV_AWS_7"} <= ids(checked(tree / "module")["results"]["failed_checks"])
