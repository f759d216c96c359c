"""Live: a gateway that replays files by Databento's protocol, and a client with the books behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mbo.live.feed import Feed
    from mbo.live.gateway import Gateway
    from mbo.replay import Records


def serve_gateway(day: Records, **options: Any) -> Gateway:
    """Replay records to any number of clients, Databento's own among them, until the `with` block ends.

    The options are those of `mbo.live.gateway.Gateway`: `host`, `port`, `rate`, `speed`, `loop`, `keys` and more.

    >>> import mbo
    >>> with (
    ...     mbo.serve_gateway(mbo.read_dbn(mbo.SIMULATED)) as gateway,
    ...     mbo.connect(gateway.url, symbols=["SIM1"]) as feed,
    ... ):
    ...     feed.wait(60).book().symbol
    'SIM1'
    """
    from mbo.live.gateway import Gateway

    return Gateway(day, **options).start()


def connect(url: str, symbols: str | int | Iterable[str | int] = "ALL_SYMBOLS", **options: Any) -> Feed:
    """Follow a gateway, ours or Databento's, and keep the books of `symbols` until the `with` block ends.

    `url` is tcp://host:port. The key comes from MBO_GATEWAY_KEY, or from DATABENTO_API_KEY for Databento's own host. The options
    are those of `mbo.live.feed.Feed`: `start`, `snapshot`, `ts_out`, `compression` and more.
    """
    from mbo.live.feed import Feed

    return Feed(url, symbols, **options).start()
