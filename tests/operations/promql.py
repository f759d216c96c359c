"""What the files of operations hold: dashboards, rules and alerts, and the names that a query asks for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

ROOT: Final = Path(__file__).parents[2]
PROMETHEUS: Final = ROOT / "docker" / "prometheus"
GRAFANA: Final = ROOT / "docker" / "grafana"
RULE_FILES: Final = ("alerts.yml", "slo.yml")
KEY: Final = "/run/secrets/metrics_key"

_QUOTED: Final = re.compile(r'"[^"]*"')
_MATCHERS: Final = re.compile(r"\{[^{}]*\}|\[[^\]]*\]")
_GROUPING: Final = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
_WORDS: Final = frozenset(
    {"and", "or", "unless", "bool", "offset", "by", "on", "group_left", "group_right", "inf", "nan"}
)


class Asked(NamedTuple):
    """A query of a panel, as it stands in a file."""

    page: str
    panel: str
    expr: str

    @property
    def runnable(self) -> str:
        """The query as Grafana would send it."""
        return self.expr.replace("$instance", ".+").replace("$__rate_interval", "1m")


def pages() -> dict[str, dict[str, Any]]:
    """Read the committed dashboards."""
    return {path.stem: json.loads(path.read_text()) for path in sorted((GRAFANA / "dashboards").glob("*.json"))}


def asked() -> list[Asked]:
    """List every query of every panel."""
    return [
        Asked(name, panel["title"], target["expr"])
        for name, page in pages().items()
        for panel in page["panels"]
        for target in panel.get("targets", [])
    ]


def rules(*names: str) -> list[dict[str, Any]]:
    """List the rules of files, of all unless some are named."""
    return [
        rule
        for name in names or RULE_FILES
        for group in yaml.safe_load((PROMETHEUS / name).read_text())["groups"]
        for rule in group["rules"]
    ]


def metrics(expr: str) -> set[str]:
    """Find the names of the series that a query reads: what is no function, no word of the language, no label and no value.

    >>> sorted(
    ...     metrics(
    ...         'sum by (le, a) (rate(mbo_x_bucket{le="0.1", b=~"{up}"}[5m])) / on (slo) group_left mbo:y > 1e3 or up'
    ...     )
    ... )
    ['mbo:y', 'mbo_x_bucket', 'up']
    """
    bare = _GROUPING.sub(" ", _MATCHERS.sub(" ", _QUOTED.sub(" ", expr)))
    return {word for word in re.findall(r"(?<![\w.])[A-Za-z_:][\w:]*(?!\s*\(|[\w:])", bare) if word not in _WORDS}


def exposed(text: str) -> Iterator[str]:
    """Give the names of the series that a page of /metrics has or will have: a family without series yet is announced."""
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE):
        yield name
        if kind in ("histogram", "summary"):
            yield from (f"{name}_{part}" for part in ("bucket", "sum", "count"))
