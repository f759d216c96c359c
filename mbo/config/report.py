"""What `mbo config` says: every value in force and where it comes from, as a table's rows or as plain values."""

from __future__ import annotations

import json
from typing import Any

from mbo.config.loading import missing
from mbo.config.settings import Settings


def document(settings: Settings) -> dict[str, Any]:
    """Describe the settings as plain values, secrets masked; `missing` is what `load` would refuse them for."""
    return {
        "env": settings.env,
        "missing": missing(settings),
        "settings": {
            row.name: {"value": row.value, "source": row.source, "variable": row.variable} for row in settings.explain()
        },
    }


def rows(settings: Settings) -> list[tuple[str, str, str, str]]:
    """Give a row for each value: its name, itself in words, where it comes from, and what it means."""
    return [(row.name, _in_words(row.value), row.source, row.meaning) for row in settings.explain()]


def _in_words(value: Any) -> str:
    """Write a value as a file would have it; what is not set is a dash.

    >>> _in_words(None), _in_words(["a", "b"]), _in_words(True), _in_words("json"), _in_words(1000)
    ('-', 'a, b', 'true', 'json', '1000')
    """
    if value is None or value == []:
        return "-"
    if isinstance(value, list):
        return ", ".join(value)
    return value if isinstance(value, str) else json.dumps(value)
