"""Compile every kernel that the services use, by doing their work on the bundled session; the image is built with it.

What it leaves out would be compiled in every container anew: tests/docker looks for that in a running stack.
"""

import subprocess
import sys
import tempfile
import time

import mbo
from mbo.api import Client
from mbo.view import Broadcast, Live, Recorded

LIMIT_S = 240.0


def follow(url: str) -> None:
    """Follow a gateway as the recorder and the dashboard do: from a snapshot, with a picture of it."""
    with mbo.connect(url, snapshot=True, ts_out=True) as feed:
        while feed.status.applied < 1_000:
            time.sleep(0.05)
        for book in feed.books().values():
            book.snapshot()
    with Live(url) as live:
        program = Broadcast(live)
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            live.turn()
            time.sleep(0.05)
        program.close()


def ask(url: str) -> None:
    """Ask an API for books, and follow them."""
    with Client(url, timeout_s=60) as api:
        deadline = time.monotonic() + LIMIT_S
        while not ready(api):
            if time.monotonic() > deadline:
                sys.exit("the API is not ready")
            time.sleep(0.2)
        for instrument in api.instruments():
            api.book(instrument["symbol"], orders=True, digest=True)
        for book in api.stream(["SIM1"], depth=5, hz=20):
            if book.updates > 10:
                break


def ready(api: Client) -> bool:
    """Say whether it is up and has everything."""
    try:
        return api.ready()
    except OSError:
        return False
    except Exception as error:
        if type(error).__module__.startswith(("httpx", "httpcore")):
            return False
        raise


def main() -> None:
    """Do all of it once."""
    day = mbo.read_dbn(mbo.SIMULATED)
    with tempfile.TemporaryDirectory() as out:
        subprocess.run(["mbo", "run", "--no-store", "--out", out], check=True, timeout=LIMIT_S)
    with mbo.serve_gateway(day, speed=20, loop=True) as gateway:
        follow(gateway.url)
    Recorded.of(day, simulated=True).close()
    serve = ["mbo", "serve", "--file", str(mbo.SIMULATED), "--speed", "20", "--loop", "--port", "8000"]
    with subprocess.Popen(serve) as process:
        ask("http://127.0.0.1:8000")
        process.terminate()


if __name__ == "__main__":
    main()
