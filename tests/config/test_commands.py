"""`mbo config` and `mbo key` as a shell runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from mbo.auth import Keys
from mbo.config import places

CANARY = "hunter2-do-not-show"


def mbo(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mbo", *arguments], env={**os.environ, **variables}, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip


def test_config_shows_every_value_and_its_source():
    done = mbo("config", MBO_API_PORT="9000", MBO_GATEWAY_KEY=CANARY)
    assert (done.returncode, done.stderr) == (0, "")
    shown = {line.split()[0]: line for line in done.stdout.splitlines() if line.strip()}
    assert {place.path for place in places()} <= shown.keys()
    assert shown["api.port"].split()[:3] == ["api.port", "9000", "MBO_API_PORT"]
    assert shown["api.host"].split()[:3] == ["api.host", "127.0.0.1", "dev.toml"]
    assert shown["gateway.key"].split()[:3] == ["gateway.key", "**********", "MBO_GATEWAY_KEY"]
    assert CANARY not in done.stdout


@pytest.mark.parametrize("option", [[], ["--json"]])
def test_config_says_what_is_missing_behind_what_is_there(option):
    done = mbo("config", "--env", "prod", *option, MBO_STORE="http://h:8123/mbo")
    assert done.returncode == 1
    assert done.stderr == "mbo: prod needs MBO_API_KEYS or MBO_API_KEYS_FILE, MBO_CLICKHOUSE_PASSWORD\n"
    assert "prod.toml" in done.stdout
    if option:
        assert json.loads(done.stdout)["missing"] == ["MBO_API_KEYS or MBO_API_KEYS_FILE", "MBO_CLICKHOUSE_PASSWORD"]


def test_config_refuses_in_one_sentence():
    done = mbo("config", "--env", "live")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "mbo: env='live': an environment is dev, staging, prod\n"


def test_key_makes_a_key_that_its_line_knows():
    done = mbo("key", "alice", "--role", "control")
    assert (done.returncode, done.stderr) == (0, "")
    _, token, _, line = done.stdout.splitlines()
    found = Keys.parse(line).identify(token)
    assert found is not None
    assert (found.name, str(found.role)) == ("alice", "control")


@pytest.mark.parametrize("arguments", [("a b",), ("alice", "--role", "admin")])
def test_key_refuses_what_is_no_name_and_no_role(arguments):
    done = mbo("key", *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("mbo: '")
