"""A root applied to an account of moto's on loopback: made, the same when planned again, changed by hand, destroyed.

What moto does not keep is left out of the comparison, in moto_override.tf. moto answers as AWS's interfaces do; that tasks start,
that packets pass and that names resolve is nothing it could show.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.infra import values
from tests.infra.conftest import Terraform, copy
from tests.infra.programs import OFFLINE, ROOT, run, said, tool

pytestmark = [pytest.mark.infra, pytest.mark.timeout(300)]

HERE = Path(__file__).parent
SERVICES = ("ec2", "ecs", "elb", "iam", "kms", "cloudwatchlogs", "servicediscovery", "route53", "sts")
BACKEND = """\
bucket = "mbo-state"
key = "dev.tfstate"
region = "eu-west-1"
use_lockfile = true
use_path_style = true
access_key = "mock"
secret_key = "mock"
skip_credentials_validation = true
skip_metadata_api_check = true
skip_requesting_account_id = true
endpoints = {{ s3 = "{endpoint}" }}
"""


class Applied(NamedTuple):
    """A root that was applied, and the account that it was applied to."""

    terraform: Terraform
    root: Path
    endpoint: str

    def plan(self) -> subprocess.CompletedProcess[str]:
        """Plan: exit code 0 if nothing is to be done, 2 if something is."""
        return self.terraform("plan", "-input=false", "-detailed-exitcode", cwd=self.root)

    def account(self, what: str) -> str:
        """Do something in the account, or look what is there."""
        done = run(tool("bin/python"), HERE / "account.py", self.endpoint, what)
        assert done.returncode == 0, said(done)
        return done.stdout

    def containers(self) -> dict[str, dict[str, Any]]:
        """Give the definition of each service's container, as the state has it."""
        shown = self.terraform("show", "-json", cwd=self.root)
        assert shown.returncode == 0, said(shown)
        (module,) = json.loads(shown.stdout)["values"]["root_module"]["child_modules"]
        tasks = [one for one in module["resources"] if one["type"] == "aws_ecs_task_definition"]
        return {task["index"]: json.loads(task["values"]["container_definitions"])[0] for task in tasks}


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """moto's server."""
    program = tool("bin/moto_server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("moto") / "log"
    with log.open("wb") as out:
        server = subprocess.Popen([program, "-H", "127.0.0.1", "-p", str(port)], stdout=out, stderr=out, env=OFFLINE)
    try:
        until = time.monotonic() + 60
        while True:
            with socket.socket() as link:
                if link.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(10)


@pytest.fixture(scope="module")
def applied(terraform: Terraform, endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Applied:
    tree = copy(tmp_path_factory.mktemp("applied") / "terraform")
    one = Applied(terraform, tree / "dev", endpoint)
    values.write(one.root, certificate_arn=one.account("prepare").strip())
    (tree / "module" / "moto_override.tf").write_text((HERE / "moto_override.tf").read_text())
    ends = "\n".join(f'    {service} = "{endpoint}"' for service in SERVICES)
    (one.root / "moto_override.tf").write_text(
        'provider "aws" {\n  access_key = "mock"\n  secret_key = "mock"\n  skip_credentials_validation = true\n'
        f"  skip_metadata_api_check = true\n\n  endpoints {{\n{ends}\n  }}\n}}\n"
    )
    (one.root / "backend.hcl").write_text(BACKEND.format(endpoint=endpoint))
    for command in (["init", "-backend-config=backend.hcl"], ["apply", "-auto-approve"]):
        done = terraform(*command, "-input=false", cwd=one.root, limit_s=240)
        assert done.returncode == 0, said(done)
    return one


def test_second_plan_is_empty(applied: Applied):
    done = applied.plan()
    assert done.returncode == 0, said(done)
    assert "No changes." in done.stdout


def test_account_has_what_was_planned(applied: Applied):
    there = applied.account("look").splitlines()
    kinds = {
        kind: [line.partition(" ")[2] for line in there if line.startswith(f"{kind} ")]
        for kind in ("service", "role", "state")
    }
    assert sorted(kinds["service"]) == ["api", "dashboard", "gateway"]
    assert sorted(kinds["role"]) == ["mbo-dev-api", "mbo-dev-dashboard", "mbo-dev-flow", "mbo-dev-gateway"]
    assert kinds["state"] == ["dev.tfstate"]  # the lock is gone, and no state lies beside the files:
    assert not (applied.root / "terraform.tfstate").exists()
    assert "private-routes - 10.40.0.0/20" in there  # to S3 by its prefix list, within the VPC, and nowhere else


def test_api_finds_all_settings_that_it_needs(applied: Applied):
    """What the API's container is given is enough to start in prod; without any one secret it says which is missing."""
    api = applied.containers()["api"]
    given = {one["name"]: one["value"] for one in api["environment"]}
    assert given["MBO_ENV"] == "dev"
    secrets = [one["name"] for one in api["secrets"]]
    full = given | {"MBO_ENV": "prod"} | dict.fromkeys(secrets, "x")
    mbo = ROOT / ".venv" / "bin" / "mbo"
    done = run(mbo, "config", **full)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(secrets) == 3
    for secret in secrets:
        lacking = run(mbo, "config", **{name: value for name, value in full.items() if name != secret})
        assert lacking.returncode == 1
        assert secret in lacking.stderr


def test_commands_have_options_that_there_are(applied: Applied):
    for name, container in applied.containers().items():
        program, verb, *arguments = container["command"]
        options = {word.partition("=")[0] for word in arguments if word.startswith("--")}
        known = run(ROOT / ".venv" / "bin" / program, verb, "--help", COLUMNS="200", TERM="dumb")
        assert known.returncode == 0, said(known)
        assert {"--port"} < options, name
        assert {option for option in options if not re.search(rf"(?<!\S){option}\b", known.stdout)} == set(), name


def test_drift_is_detected(applied: Applied):
    applied.account("drift")
    done = applied.plan()
    assert done.returncode == 2, said(done)
    assert "module.mbo.aws_security_group.balancer will be updated" in done.stdout
    assert '- "0.0.0.0/0"' in done.stdout
    assert "0 to add, 1 to change, 0 to destroy" in done.stdout


def test_destroy_leaves_nothing(applied: Applied):
    before = applied.account("look")
    assert "balancer mbo-dev" in before
    done = applied.terraform("destroy", "-auto-approve", "-input=false", cwd=applied.root, limit_s=240)
    assert done.returncode == 0, said(done)
    assert applied.account("look") == "state dev.tfstate\n"
