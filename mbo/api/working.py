"""The processes that `mbo serve` keeps running: the API with the feed that it serves, and a recorder beside it.

As a program (`python -m mbo.api.working api|recorder OPTIONS`) each reads the settings anew, secrets from its own environment.
A database of one process (chDB) belongs to the API, which then records as well.
"""

from __future__ import annotations

import functools
import json
import logging
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from mbo.api.asking import growing
from mbo.api.replaying import CANNOT, RemoteStage, ends_with_parent
from mbo.api.source import FOREVER_S, LiveSource
from mbo.auth import keys_for
from mbo.config import Settings, read
from mbo.errors import LostError, MboError, RequestError
from mbo.recorder import Recorder, RecorderStatus
from mbo.store import Store
from mbo.telemetry import BatchMeter, Telemetry, configure_logs

if TYPE_CHECKING:
    from mbo.telemetry import FeedFigures

log: Final = logging.getLogger("mbo.serve")

_SILENT_S: Final = 10.0
_SAY_S: Final = 0.5
SWITCH_S: Final = 0.0005
"""How long a thread may keep the interpreter while the feed's waits for it."""


class Recording:
    """Keeps a recording going, from a thread of its own: one that fails is followed by another, which goes on where it was.

    It begins at the first record of a replay of ours (`replayed`), and with a snapshot of whatever else is followed.
    """

    def __init__(self, store: Store, settings: Settings, *, replayed: bool) -> None:
        assert settings.feed is not None
        self._replayed = replayed
        self._store = store
        self._settings = settings
        self._recorder: Recorder | None = None
        self._trouble: str | None = "it has not begun"
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mbo-recording", daemon=True)

    def start(self) -> Self:
        """Record from now on."""
        self._thread.start()
        return self

    def close(self) -> None:
        """Store what has come, and end."""
        self._closing.set()
        if self._recorder is not None:
            try:
                self._recorder.close()
            except MboError as error:
                log.error("the end of the recording was not stored, and comes again when it goes on: %s", error)
        self._thread.join(30)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def status(self) -> RecorderStatus | None:
        """How it stands; None where it does not record."""
        recorder = self._recorder
        if recorder is None:
            return None
        return recorder.status if self._trouble is None else recorder.status._replace(trouble=self._trouble)

    def _run(self) -> None:
        tried = 0
        while not self._closing.is_set():
            tried += 1
            begun = time.monotonic()
            try:
                recorder = self._make()
                recorder.start()
                self._recorder, self._trouble = recorder, None
                recorder.wait()
                return  # the replay has ended, and all of it is stored
            except MboError as error:
                if self._closing.is_set():
                    return
                self._trouble = str(error)
                tried = 1 if time.monotonic() - begun > 60 else tried
                log.error("the recording is broken off, and goes on in a moment: %s", error)
                self._closing.wait(growing(tried))

    def _make(self) -> Recorder:
        own, url = self._settings.recorder, self._settings.feed
        begin: dict[str, Any] = {"start": 0} if self._replayed else {"snapshot": True}
        assert url is not None
        return Recorder(
            url, self._store, self._settings.symbols, session=own.session, flush_rows=own.flush_rows, flush_s=own.flush_s,
            buffer_rows=own.buffer_rows, patience_s=own.patience_s, reconnect_s=FOREVER_S, **begin,
        )  # fmt: skip


def write_status(path: Path, status: RecorderStatus | None) -> None:
    """Say how a recorder stands, for the API's process to read."""
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(status))
    beside.replace(path)


def read_status(path: Path) -> RecorderStatus | None:
    """Read how a recorder stood a moment ago; None where it has not begun, and trouble where it has said nothing for a while."""
    try:
        silent = time.time() - path.stat().st_mtime
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    status = None if found is None else RecorderStatus(*found)
    if status is not None and silent > _SILENT_S:
        return status._replace(trouble=f"the recorder has said nothing for {silent:.0f} s")
    return status


def serve_api(settings: Settings, control: str | None, recorder: Path | None) -> None:
    """Be the API's process until a signal, or the end of the process that started it."""
    from mbo.api.app import create_app
    from mbo.api.server import Server

    assert settings.feed is not None
    sys.setswitchinterval(SWITCH_S)
    api = settings.api
    keys = keys_for(api.host, None if api.keys is None else api.keys.get_secret_value(), api.keys_file)
    with ExitStack() as stack:
        stack.enter_context(configure_logs(settings))
        telemetry = stack.enter_context(Telemetry(settings, service="mbo-api"))
        meter = BatchMeter(telemetry.spans)
        store: Store | None = None
        recorded: Callable[[], RecorderStatus | None] | None = None
        if settings.store is not None:
            store = stack.enter_context(Store(settings.store))
            if recorder is not None:
                recorded = functools.partial(read_status, recorder)
            else:
                recording = stack.enter_context(Recording(store, settings, replayed=control is not None))
                recorded = lambda: recording.status  # noqa: E731
            telemetry.metrics.watch_recorder(recorded, buffer_rows=settings.recorder.buffer_rows)
        source = LiveSource(settings.feed, settings.symbols, tap=meter, snapshot=True, ts_out=True)
        stack.enter_context(source)
        telemetry.metrics.watch_feed(lambda: _figures(source, meter))
        app = create_app(
            source, settings=settings, keys=keys, telemetry=telemetry, store=store,
            replay=None if control is None else RemoteStage(control),
            recorded=recorded,
        )  # fmt: skip
        server = Server(app).bind()
        log.info("%s serves the books of %s", server.url, settings.feed)
        asked = ends_with_parent()

        def end() -> None:
            asked.wait()
            server.stop()

        threading.Thread(target=end, name="mbo-end", daemon=True).start()
        server.run()
        log.info("closing")


def _figures(source: LiveSource, meter: BatchMeter) -> FeedFigures | None:
    return None if source.feed is None else meter.figures(source.feed)


def serve_recorder(settings: Settings, control: str | None, status: Path) -> None:
    """Be the recorder's process, in the same way."""
    with configure_logs(settings), Store(settings.store) as store:
        recording = Recording(store, settings, replayed=control is not None)
        asked = ends_with_parent()
        with recording:
            while not asked.wait(_SAY_S):
                write_status(status, recording.status)


def main() -> None:
    """Be one of them."""
    what, options = sys.argv[1], json.loads(sys.argv[2])
    control, recorder = options.pop("control", None), options.pop("recorder", None)
    try:
        settings = read(options)  # whoever started it has asked what is missing
        if what == "api":
            serve_api(settings, control, None if recorder is None else Path(recorder))
        else:
            serve_recorder(settings, control, Path(recorder))
    except (RequestError, PermissionError, FileNotFoundError) as error:
        print(f"mbo: {error}", file=sys.stderr)
        sys.exit(CANNOT)
    except (LostError, OSError) as error:
        print(f"mbo: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
