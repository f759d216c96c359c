"""The objectives by promtool: every value by hand, every alert before, while and after; planted faults are found."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from tests.operations.promql import KEY, PROMETHEUS, RULE_FILES, rules
from tests.telemetry.watched import promtool

ALERTS = [rule for rule in rules("slo.yml") if "alert" in rule]


@pytest.fixture
def copied(tmp_path) -> Path:
    """A copy of the folder, with a key where the configuration says that there is one."""
    for name in ("prometheus.yml", *RULE_FILES, "slo_test.yml"):
        shutil.copy(PROMETHEUS / name, tmp_path)
    config = tmp_path / "prometheus.yml"
    assert KEY in config.read_text()
    (tmp_path / "key").write_text("of nobody\n")
    config.write_text(config.read_text().replace(KEY, "key"))
    return tmp_path


def test_promtool_finds_the_configuration_right(copied):
    found = promtool("check", "config", "prometheus.yml", folder=copied)
    assert found.returncode == 0, found.stderr
    for name in RULE_FILES:
        assert f"SUCCESS: {len(rules(name))} rules found" in found.stdout
    (copied / "slo.yml").unlink()
    assert promtool("check", "config", "prometheus.yml", folder=copied).returncode != 0


def test_every_value_and_every_alert_is_as_worked_out(copied):
    found = promtool("test", "rules", "slo_test.yml", folder=copied)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.infra
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ('le="0.01"', 'le="0.005"'),
        ("> 14.4 and", "> 32 and"),
        ("> 6 and", "> 9 and"),
        ("3d > 1 and", "3d > 6 and"),
        ("and mbo:slo_burn:5m > 14.4", ""),
        ("and mbo:slo_burn:30m > 6", ""),
        ("and mbo:slo_burn:6h > 1\n", "\n"),
        ('status=~"5..", route!~"/healthz|/readyz|/metrics"', 'status=~"5.."'),
        ("or on (job, instance) 0 * up", "and on (job, instance) 0 * up"),
        ("slo: late}, expr: vector(0.01)", "slo: late}, expr: vector(0.1)"),
        ('le="0.05"', 'le="0.5"'),
        ("rate5m[30m]", "rate5m[1h]"),
        ("rate5m[1h]", "rate5m[2h]"),
        ("rate5m[6h]", "rate5m[12h]"),
        ("rate5m[3d]", "rate5m[6h]"),
    ],
)
def test_a_planted_fault_is_found(right, wrong, copied):
    path = copied / "slo.yml"
    text = path.read_text()
    assert right in text
    path.write_text(text.replace(right, wrong))
    assert promtool("check", "rules", "slo.yml", folder=copied).returncode == 0
    assert promtool("test", "rules", "slo_test.yml", folder=copied).returncode != 0


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_every_alert_is_tested_before_while_and_after(rule):
    for case in yaml.safe_load((PROMETHEUS / "slo_test.yml").read_text())["tests"]:
        fires = [
            bool(one["exp_alerts"]) for one in case.get("alert_rule_test", ()) if one["alertname"] == rule["alert"]
        ]
        if True in fires:
            assert not fires[0]
            assert not fires[-1]
            break
    else:
        pytest.fail(f"{rule['alert']} is never seen to fire")
