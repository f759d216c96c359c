"""The environments as a shell starts them: what is missing is named before anything is bound, and nothing shows a secret."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest

from mbo.config import places
from tests.config.test_commands import CANARY, mbo

SENTENCES = {
    "keys": ((), {}, "MBO_API_KEYS or MBO_API_KEYS_FILE"),
    "everything": (
        ("--feed", "tcp://gateway:13000", "--store", "http://mbo@clickhouse:8123/mbo"), {"MBO_LOG_FORMAT": "text"},
        "MBO_API_KEYS or MBO_API_KEYS_FILE, MBO_GATEWAY_KEY, MBO_CLICKHOUSE_PASSWORD, MBO_LOG_FORMAT=json",
    ),
    "databento": (("--feed", "glbx-mdp3.lsg.databento.com"), {"MBO_API_KEYS_FILE": "/run/keys"}, "DATABENTO_API_KEY"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("env", "chosen", "case"),
    [("prod", "argument", "keys"), ("prod", "variable", "everything"), ("staging", "variable", "keys"),
     ("staging", "argument", "databento")],
)  # fmt: skip
def test_serve_does_not_start_without_its_secrets(env, chosen, case):
    arguments, variables, lacking = SENTENCES[case]
    if not {"--feed", "--file"} & set(arguments):
        arguments = ("--feed", "127.0.0.1:1", *arguments)
    if chosen == "argument":
        done = mbo("serve", "--env", env, "--host", "0.0.0.0", *arguments, **variables)
    else:
        done = mbo("serve", "--host", "0.0.0.0", *arguments, MBO_ENV=env, **variables)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"mbo: {env} needs {lacking}\n"


def test_serve_in_dev_names_the_keys_where_others_could_reach_it():
    done = mbo("serve", "--feed", "127.0.0.1:1", "--host", "0.0.0.0")
    assert (done.returncode, done.stdout) == (1, "")
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith("mbo: bound to 0.0.0.0, which is not loopback, the API needs keys: set MBO_API_KEYS or")


def test_serve_with_its_secrets_starts_and_shows_none(tmp_path):
    """The control: what refused for want of keys alone begins with them, in prod, and logs neither key nor hash."""
    made = mbo("key", "alice", "--role", "read")
    _, token, _, line = made.stdout.splitlines()
    (tmp_path / "keys").write_text(f"{line}\n")
    (tmp_path / "keys").chmod(0o600)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with subprocess.Popen(
        [sys.executable, "-m", "mbo", "serve", "--feed", "127.0.0.1:1", "--host", "127.0.0.1", "--port", str(port)],
        env=os.environ | {"MBO_ENV": "prod", "MBO_API_KEYS_FILE": str(tmp_path / "keys"), "MBO_GATEWAY_KEY": CANARY},
        stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stderr is not None
            lines = []
            for text in process.stderr:
                lines.append(text)
                if "serves the books of" in text:
                    break
            else:
                pytest.fail("".join(lines))
        finally:
            process.terminate()
            _, rest = process.communicate(timeout=60)
    assert process.returncode == 0
    written = "".join(lines) + rest
    assert all(json.loads(text)["level"] for text in written.splitlines())
    assert not [secret for secret in (CANARY, token, line.rpartition(":")[2]) if secret in written]


@pytest.mark.parametrize(("env", "option"), [("staging", []), ("prod", ["--json"])])
def test_config_of_an_environment_masks_every_secret(env, option):
    secrets = {place.variable: f"{CANARY}-{number}" for number, place in enumerate(places()) if place.secret}
    done = mbo("config", "--env", env, *option, **secrets)
    assert (done.returncode, done.stderr) == (0, "")
    assert CANARY not in done.stdout
    if option:
        shown = json.loads(done.stdout)["settings"]
        masked = {row["variable"] for row in shown.values() if row["value"] == "**********"}
        assert masked == set(secrets)
        assert shown["env"]["value"] == env
    else:
        assert done.stdout.count("**********") == len(secrets)
