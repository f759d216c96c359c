"""The API: books, stored records and replay control over HTTP, moving books over WebSocket, and a client of both."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mbo.api.app import create_app
    from mbo.api.client import Client
    from mbo.api.streaming import AsyncClient

__all__ = ["AsyncClient", "Client", "create_app"]

_HOME: Final = {"AsyncClient": "mbo.api.streaming", "Client": "mbo.api.client", "create_app": "mbo.api.app"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'mbo.api' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
