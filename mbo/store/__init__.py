"""Books and messages in ClickHouse: embedded in this process, or on a server."""

from __future__ import annotations

from mbo.store.store import Store

__all__ = ["Store"]
