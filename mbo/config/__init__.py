"""Configuration: argument > `MBO_*` variable > TOML file > default, and where each value came from."""

from __future__ import annotations

from importlib.util import find_spec

from mbo.errors import RequestError

if find_spec("pydantic_settings") is None:
    raise RequestError("the configuration needs the extra `serve`: pip install 'mbo-books[serve]'")

from mbo.config.loading import ENVIRONMENTS, OTHERS, load, missing, read
from mbo.config.report import document, rows
from mbo.config.settings import Place, Setting, Settings, places

__all__ = [
    "ENVIRONMENTS", "OTHERS", "Place", "Setting", "Settings", "document", "load", "missing", "places", "read", "rows",
]  # fmt: skip
