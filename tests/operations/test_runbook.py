"""The runbook has a section for every alert and no other, and speaks of what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import mbo
from mbo.config import places
from tests.operations.promql import ROOT, exposed, pages, rules
from tests.telemetry.watched import all_watched

RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
OBJECTIVES = (ROOT / "docs" / "slo.md").read_text()
ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}
PARTS = ["Means", "See", "Do", "Over"]
SOURCES = "".join(path.read_text() for path in Path(mbo.__file__).parent.rglob("*.py"))
OF_COMPOSE = {f"MBO_{name}" for name in re.findall(r"\$\{MBO_(\w+)", (ROOT / "docker" / "compose.yaml").read_text())}


def sections(text: str) -> dict[str, str]:
    """Split a text at its headings of the second order."""
    _, *parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def faults(text: str) -> list[str]:
    """List what is wrong with a runbook: alerts without a section, sections without an alert, parts that are missing."""
    found = sections(text)
    wrong = [f"{name} has no section" for name in ALERTS.keys() - found.keys()]
    wrong += [f"there is no alert {name}" for name in found.keys() - ALERTS.keys()]
    for name in ALERTS.keys() & found.keys():
        own = re.findall(r"^\*\*(\w+)\.\*\* \S", found[name], re.MULTILINE)
        wrong += [] if own == PARTS else [f"{name} has the parts {own}"]
        severity = ALERTS[name]["labels"]["severity"]
        wrong += [] if found[name].strip().startswith(f"{severity}: ") else [f"{name} is {severity}"]
    return wrong


def test_every_alert_has_its_section_and_every_section_its_alert():
    assert faults(RUNBOOK) == []


@pytest.mark.parametrize(
    ("right", "wrong", "expected"),
    [
        ("## MboDown", "## MboUp", ["MboDown has no section", "there is no alert MboUp"]),
        ("**Over.** `up` is 1", "`up` is 1", ["MboDown has the parts ['Means', 'See', 'Do']"]),
        ("warning: records are missing", "critical: records are missing", ["MboFeedGap is warning"]),
    ],
)
def test_a_runbook_that_is_not_whole_would_be_found(right, wrong, expected):
    assert right in RUNBOOK
    assert sorted(faults(RUNBOOK.replace(right, wrong))) == expected


def test_every_alert_names_its_section():
    for name, rule in ALERTS.items():
        path, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert (ROOT / path).read_text() == RUNBOOK
        assert anchor == name.lower()


def unknown(text: str) -> set[str]:
    """Find what a text of operations names and nobody has: figures, variables, panels of dashboards, words of the log, files."""
    known = {place.variable for place in places()} | OF_COMPOSE
    body, _ = all_watched().exposition()
    lacking = set(re.findall(r"\b(?:MBO|DATABENTO)_[A-Z_]+[A-Z]\b", text)) - known
    lacking |= set(re.findall(r"\b(?:mbo|process)_\w+", text)) - set(exposed(body.decode()))
    lacking |= {words for words in re.findall(r"[Tt]he log's\s+`([^`]+)`", text) if words not in SOURCES}
    lacking |= {path for path in re.findall(r"\b(?:docker|docs|tests)/[\w./-]*\w", text) if not (ROOT / path).exists()}
    titles = {panel["title"] for page in pages().values() for panel in page["panels"]}
    lacking |= {
        named for named in re.findall(r"[Tt]he panel ([A-Z][a-z]+(?: [a-z]+)*)", text)
        if not any(title.startswith(named) or named.startswith(title) for title in titles)
    }  # fmt: skip
    lacking |= set(re.findall(r"\bMbo[A-Z]\w+", text)) - ALERTS.keys()
    return lacking


@pytest.mark.parametrize("text", [RUNBOOK, OBJECTIVES], ids=["runbook", "slo"])
def test_it_speaks_of_what_there_is(text):
    assert unknown(text) == set()


def test_what_there_is_not_would_be_found():
    text = "mbo_feed_stael, MBO_API_PROT; the log's `is begun again in`; the panel Answerz; docs/slo.txt; MboDwon; mbo_feed_stale"
    assert unknown(text) == {
        "mbo_feed_stael", "MBO_API_PROT", "is begun again in", "Answerz", "docs/slo.txt", "MboDwon"
    }  # fmt: skip


# ------------------------------------------------------------ the objectives


def test_the_objectives_are_those_of_the_rules():
    budgets = {
        rule["labels"]["slo"]: rule["expr"] for rule in rules("slo.yml") if rule.get("record") == "mbo:slo_budget"
    }
    rows = re.findall(r"^\| (\S+) % .*?\| (\S+) %[^|]*\| `(\w+)` \|$", OBJECTIVES, re.MULTILINE)
    assert {name: f"vector({float(budget) / 100:g})" for _, budget, name in rows} == budgets
    assert all(round(float(kept) + float(budget), 9) == 100 for kept, budget, _ in rows)
    slow = {"late": ('le="0.01"', "10 ms"), "slow": ('le="0.05"', "50 ms")}
    for name, (edge, words) in slow.items():
        (bad,) = [
            rule
            for rule in rules("slo.yml")
            if rule.get("record") == "mbo:slo_bad:rate5m" and rule["labels"]["slo"] == name
        ]
        assert edge in bad["expr"]
        (row,) = [line for line in OBJECTIVES.splitlines() if line.startswith("| 99") and f"`{name}`" in line]
        assert words in row


def test_what_the_objectives_rest_on_is_what_the_results_say():
    """The table of results is in the README, or where it says that it is; ours is a copy of some of its rows."""
    texts = [path.read_text() for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")) if path.name != "slo.md"]
    for row, ours in (
        ("one client, 500,000 a second", "one client, 500,000 messages a second"),
        ("one client, 5,000,000 a second", "one client, 5,000,000 a second"),
    ):
        (stated,) = [line.split("|")[2:5] for line in OBJECTIVES.splitlines() if line.startswith(f"| {ours} |")]
        theirs = [line.split("|")[3:6] for text in texts for line in text.splitlines() if line.startswith(f"| {row} |")]
        assert theirs == [stated] * len(theirs) != []
