"""A server over an embedded store and a replay, as a process of its own: chDB has one directory to a process.

Arguments: a folder for the store, and the files to store. It prints its address, and ends when its input does.
"""

from __future__ import annotations

import sys
import time

import mbo
from mbo.api.app import create_app
from mbo.api.replaying import ReplayProcess
from mbo.api.server import Server
from mbo.api.source import LiveSource
from mbo.config import Settings
from mbo.telemetry import Telemetry


def main() -> None:
    folder, *files = sys.argv[1:]
    settings = Settings(api={"port": 0, "rate_per_s": 1e6, "max_rows": 5_000, "deadline_s": 20.0})
    with (
        mbo.Store(f"chdb://{folder}") as store,
        ReplayProcess([mbo.SIMULATED]) as replay,
        Telemetry(settings) as telemetry,
    ):
        store.ingest(files, overlap="allow")
        with LiveSource(replay.url, snapshot=True) as source:
            app = create_app(
                source, settings=settings, keys=None, telemetry=telemetry, store=store, replay=replay.stage
            )
            while not (source.status and source.status.ended):
                time.sleep(0.01)
            with Server(app) as server:
                print(server.url, flush=True)
                sys.stdin.read()


if __name__ == "__main__":
    main()
