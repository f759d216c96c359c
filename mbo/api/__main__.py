"""`python -m mbo.api` is `mbo serve`."""

from __future__ import annotations

import argparse
import sys

from mbo.errors import MboError


def main() -> None:
    """Read the arguments, and serve."""
    from mbo.api.serving import serve

    parser = argparse.ArgumentParser(prog="python -m mbo.api")
    for name in ("feed", "file", "store", "env"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--speed", type=float)
    parser.add_argument("--loop", action="store_true")
    found = parser.parse_args()
    given = {
        "feed": found.feed, "file": found.file, "store": found.store, "env": found.env, "api.host": found.host,
        "api.port": found.port, "gateway.rate": found.rate,
    }  # fmt: skip
    try:
        sys.exit(serve(given, speed=found.speed, loop=found.loop))
    except MboError as error:
        sys.exit(f"mbo: {error}")


if __name__ == "__main__":
    main()
