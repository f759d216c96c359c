"""Where a gateway is, what it replays and by which key: from what was given, the environment, or the host's own name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from mbo.errors import RequestError
from mbo.live import protocol

_PRODUCTION: Final = ".lsg.databento.com"


def address_of(url: str) -> tuple[str, int]:
    """Read tcp://host:port, in which a key has no place.

    >>> address_of("tcp://127.0.0.1:13001"), address_of("glbx-mdp3.lsg.databento.com")
    (('127.0.0.1', 13001), ('glbx-mdp3.lsg.databento.com', 13000))
    """
    parts = urlsplit(url if "://" in url else f"tcp://{url}")
    if parts.username is not None or parts.password is not None:
        raise RequestError("a key has no place in a url: set MBO_GATEWAY_KEY")
    if parts.scheme != "tcp" or not parts.hostname or parts.path not in ("", "/") or parts.query:
        raise RequestError("the url of a gateway is tcp://host:port")
    try:
        port = parts.port
    except ValueError:
        raise RequestError("the port in the url of a gateway is a number up to 65535") from None
    return parts.hostname, protocol.PORT if port is None else port


def key_for(host: str, key: str | None) -> str:
    """Take the key that was given, else the environment's; a gateway that asks for none is told anything."""
    if key is not None:
        return key
    if host.endswith(_PRODUCTION):
        found = os.environ.get("DATABENTO_API_KEY")
        if not found:
            raise RequestError("Databento's gateway needs a key: set DATABENTO_API_KEY")
        return found
    return os.environ.get("MBO_GATEWAY_KEY") or "none-is-needed"


def keys_from(path: Path | None) -> list[str] | None:
    """Read the keys that a gateway lets in: a file's, one a line, else that of MBO_GATEWAY_KEY, else None, which is any."""
    if path is None:
        own = os.environ.get("MBO_GATEWAY_KEY")
        return [own] if own else None
    keys = [line.strip() for line in path.read_text().splitlines() if line.strip()]
    if not keys:
        raise RequestError(f"{path} holds no key")
    return keys


def dataset_for(host: str, dataset: str | None) -> str:
    """Take the data set that was given, else the one that Databento's host is named after, else whatever is replayed there."""
    if dataset is not None:
        return dataset
    if host.endswith(_PRODUCTION):
        return host.removesuffix(_PRODUCTION).upper().replace("-", ".")
    return protocol.ANY_DATASET
