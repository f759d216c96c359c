"""Dashboards, rules and alerts ask only for what /metrics has, and each is what its generator or its documentation says."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml

from tests.operations.promql import GRAFANA, ROOT, asked, exposed, metrics, pages, rules
from tests.telemetry.watched import all_watched

OF_PROMETHEUS = {"up", "ALERTS"}
RECORDED = {rule["record"] for rule in rules() if "record" in rule}
PYTHON = ROOT / ".tools" / "operations" / "bin" / "python"


def there() -> set[str]:
    body, _ = all_watched().exposition()
    return {*exposed(body.decode()), *OF_PROMETHEUS, *RECORDED}


def unknown(exprs: Iterable[str]) -> dict[str, set[str]]:
    """Give each query that asks for what nothing shows, and what that is."""
    return {expr: lacking for expr in exprs if (lacking := metrics(expr) - there())}


def test_panels_and_rules_ask_for_what_there_is():
    panels, evaluated = [one.expr for one in asked()], [rule["expr"] for rule in rules()]
    assert len(panels) > 50
    assert len(evaluated) > 30
    assert all(metrics(expr) or expr.startswith("vector(0.0") for expr in [*panels, *evaluated])
    assert unknown([*panels, *evaluated]) == {}


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("mbo_messages_total", "mbo_mesages_total"), ("mbo_messages_total", "messages_total"), ("mbo_messages", "mbo_events_"),
     ("_bucket", "_buckets"), ("mbo:slo_burn:1h", "mbo:slo_burn:2h"), ("process_cpu", "proces_cpu"), ("up", "upp")],
)  # fmt: skip
def test_a_misspelt_name_would_be_found(right, wrong):
    exprs = [one.expr for one in asked()] + [rule["expr"] for rule in rules()]
    changed = [expr.replace(right, wrong) for expr in exprs if right in expr]
    assert set(unknown(changed)) == set(changed) != set()


def test_every_figure_of_ours_is_looked_at():
    body, _ = all_watched().exposition()
    used = set().union(*(metrics(one.expr) for one in asked()), *(metrics(rule["expr"]) for rule in rules()))
    unused = {
        name for name in exposed(body.decode())
        if name.startswith("mbo_") and not name.endswith(("_created", "_sum", "_count")) and name not in used
        and not any(f"{name}_{part}" in used for part in ("bucket", "count"))
    }  # fmt: skip
    assert unused == {"mbo_feed_ended", "mbo_feed_last_record_timestamp_seconds"} - used


# ------------------------------------------------------------ the pages themselves


def overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    return all(
        one[at] < other[at] + other[size] and other[at] < one[at] + one[size] for at, size in (("x", "w"), ("y", "h"))
    )


@pytest.mark.parametrize("name", pages())
def test_a_page_is_whole(name):
    page = pages()[name]
    panels = page["panels"]
    assert page["uid"] == f"mbo-{name}"
    assert len({panel["id"] for panel in panels}) == len(panels) > 10
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        if panel["type"] != "row":
            assert panel["title"]
            assert panel["description"].endswith(".")
            assert panel["targets"]
            assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    assert not [
        (one, other) for one, other in itertools.combinations(panels, 2) if overlap(one["gridPos"], other["gridPos"])
    ]


def test_pages_that_overlap_would_be_found():
    page = pages()["overview"]["panels"]
    first, second = page[1]["gridPos"], page[2]["gridPos"]
    assert not overlap(first, second)
    assert overlap(first, second | {"x": first["x"] + first["w"] - 1})


def sources(found: object) -> list[object]:
    """Find every reference to a source of data, however deep it stands."""
    if isinstance(found, dict):
        own = [found["datasource"]] if isinstance(found.get("datasource"), dict) else []
        return own + [one for value in found.values() for one in sources(value)]
    return [one for value in found for one in sources(value)] if isinstance(found, list) else []


def test_every_query_goes_to_the_source_that_is_provisioned():
    (path,) = (GRAFANA / "provisioning" / "datasources").glob("*.y*ml")
    (source,) = yaml.safe_load(path.read_text())["datasources"]
    for page in pages().values():
        found = sources(page)
        queries = sum(len(panel.get("targets", ())) for panel in page["panels"])
        assert len(found) > queries
        assert [one for one in found if one != {"type": source["type"], "uid": source["uid"]}] == []
        (variable,) = page["templating"]["list"]
        assert variable["datasource"]["uid"] == source["uid"]


def test_the_provider_shows_the_folder_where_the_pages_are_mounted():
    (provider,) = yaml.safe_load((GRAFANA / "provisioning" / "dashboards" / "mbo.yaml").read_text())["providers"]
    path = provider["options"]["path"]
    assert f"/dashboards:{path}" in (ROOT / "docker" / "compose.yaml").read_text()
    assert not provider["allowUiUpdates"]


# ------------------------------------------------------------ the generator


def generated(generator: Path, folder: Path) -> dict[str, bytes]:
    if not PYTHON.exists():
        missing = "there is no .tools/operations, in which docker/grafana/generate.py runs: `make infra-test` makes it"
        if "operations" in os.environ.get("MBO_REQUIRE", "").split(","):
            pytest.fail(missing)
        pytest.skip(missing)
    folder.mkdir()
    subprocess.run([PYTHON, str(generator), str(folder)], check=True, capture_output=True, timeout=60)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.infra
def test_the_committed_pages_are_what_the_generator_writes(tmp_path):
    committed = {path.name: path.read_bytes() for path in (GRAFANA / "dashboards").iterdir()}
    assert generated(GRAFANA / "generate.py", tmp_path / "ours") == committed
    changed = tmp_path / "generate.py"
    shutil.copy(GRAFANA / "generate.py", changed)
    changed.write_text(changed.read_text().replace('"mbo_feed_gaps_total"', '"mbo_feed_reconnects_total"', 1))
    other = generated(changed, tmp_path / "changed")
    assert [name for name in committed if committed[name] != other[name]] == ["overview.json"]
