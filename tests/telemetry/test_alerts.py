"""The alerts fire and clear by promtool's own evaluation, speak of figures that there are, and say what is to be done."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml

import mbo
from mbo.config import places
from tests.telemetry.watched import all_watched, promtool

FOLDER = Path(__file__).resolve().parents[2] / "docker" / "prometheus"
RULES = [rule for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"] for rule in group["rules"]]
TESTS = [
    case for test in yaml.safe_load((FOLDER / "alerts_test.yml").read_text())["tests"] for case in test["alert_rule_test"]
]  # fmt: skip


def test_every_alert_fires_and_clears():
    found = promtool("test", "rules", "alerts_test.yml", folder=FOLDER)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_alert_is_tested_before_while_and_after(rule):
    fires = [bool(case["exp_alerts"]) for case in TESTS if case["alertname"] == rule["alert"]]
    assert (fires[0], sorted(fires[1:-1])[-1], fires[-1]) == (False, True, False)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_that_cannot_fire_would_be_found(rule, tmp_path):
    for name in ("alerts.yml", "alerts_test.yml"):
        shutil.copy(FOLDER / name, tmp_path)
    document = yaml.safe_load((tmp_path / "alerts.yml").read_text())
    for planted in document["groups"][0]["rules"]:
        if planted["alert"] == rule["alert"]:
            planted["expr"] = f"({planted['expr']}) > 1e99"
    (tmp_path / "alerts.yml").write_text(yaml.safe_dump(document))
    found = promtool("test", "rules", "alerts_test.yml", folder=tmp_path)
    assert found.returncode != 0
    assert f"alertname: {rule['alert']}," in found.stdout + found.stderr


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_speaks_of_figures_that_there_are(rule):
    body, _ = all_watched().exposition()
    there = set(re.findall(r"^(\w+)(?:\{| )", body.decode(), re.MULTILINE)) | {"up"}
    named = set(re.findall(r"\b(?:mbo_\w+|up)\b", rule["expr"] + rule["annotations"]["runbook"]))
    assert named
    assert named <= there


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_is_to_be_done_in_one_line(rule):
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert set(rule["annotations"]) == {"summary", "runbook", "runbook_url"}
    assert "{{ $labels.instance }}" in rule["annotations"]["summary"] or rule["expr"].startswith("absent(")
    runbook = rule["annotations"]["runbook"]
    assert "\n" not in runbook
    assert 40 < len(runbook) < 200
    assert set(re.findall(r"MBO_\w+", runbook)) <= {place.variable for place in places()}
    sources = "".join(path.read_text() for path in Path(mbo.__file__).parent.rglob("*.py"))
    for quoted in re.findall("`([^`]+)`", runbook):
        assert quoted in sources or quoted.startswith("mbo ")
