"""Log lines of the whole process, structlog's and the standard library's, as JSON or as text, without secrets and repeats."""

from __future__ import annotations

import json
import logging
import secrets
import sys
import time
from collections.abc import Iterable, Mapping, MutableMapping
from contextlib import AbstractContextManager, suppress
from types import TracebackType
from typing import Any, Final, Self, TextIO

import structlog
from pydantic import SecretStr

from mbo.config import Settings, places
from mbo.telemetry.redaction import Redaction
from mbo.telemetry.repeats import Repeats

_SERVERS: Final = ("uvicorn", "uvicorn.error", "uvicorn.access", "websockets", "fastapi")
"""Loggers that bring handlers of their own."""
_CONTROL: Final = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160), 0x2028, 0x2029)}
_FIRST: Final = ("timestamp", "level", "logger", "event")


def correlated(**values: str | int) -> AbstractContextManager[None]:
    """Put values, such as a `request_id`, into every line that is written within the block, by this task or thread.

    Tasks that are begun within it and `asyncio.to_thread` take them along; a thread of one's own does not.
    """
    return structlog.contextvars.bound_contextvars(**values)


def new_id() -> str:
    """Make a correlation id: 16 hexadecimal digits."""
    return secrets.token_hex(8)


def secrets_of(settings: Settings) -> list[str]:
    """Give the secrets that are set, each word of them."""
    found = [
        value.get_secret_value() for place in places() if isinstance(value := settings.value(place.path), SecretStr)
    ]
    return [*found, *(word for text in found for word in text.split())]


class _Handler(logging.StreamHandler[TextIO]):
    """Writes lines; of one that cannot be made it says where it is from, where the standard library shows what was in it."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the standard library's name
        values = {"event": "a log line could not be written", "at": f"{record.filename}:{record.lineno}"}
        with suppress(OSError, ValueError):  # standard error is gone or closed: there is nobody to tell
            self.stream.write(json.dumps(values) + self.terminator)

    def write(self, record: logging.LogRecord) -> None:
        """Write a line that was held back."""
        self.acquire()
        try:
            self.emit(record)
        finally:
            self.release()


class Logs:
    """The handler of the root logger, from when it is made until `close`; see `configure_logs`."""

    def __init__(self, settings: Settings, stream: TextIO | None = None, known: Iterable[str] = ()) -> None:
        self._redaction = Redaction([*secrets_of(settings), *known])
        self._handler = _Handler(stream if stream is not None else sys.stderr)
        self._handler.setFormatter(self._formatter(settings.log.format))
        self._repeats = Repeats(self._handler.write, most=settings.log.repeats, interval_s=settings.log.repeats_s)
        self._handler.addFilter(_context)
        self._handler.addFilter(self._repeats)
        self._before: dict[str, tuple[list[logging.Handler], int, bool]] = {}
        self._take_over(settings.log.level)

    def _formatter(self, form: str) -> logging.Formatter:
        last: tuple[Any, ...] = (structlog.processors.JSONRenderer(),)
        if form == "text":  # a traceback with the values of variables would show secrets
            console = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
            last = _in_one_line, console
        return structlog.stdlib.ProcessorFormatter(
            processors=[
                _of_record,
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                self._redact,
                *last,
            ],
        )

    def _redact(self, logger: object, name: str, line: MutableMapping[str, Any]) -> Mapping[str, Any]:
        first = {key: line.pop(key) for key in _FIRST if key in line}
        return self._redaction({**first, **line})

    def _take_over(self, level: str) -> None:
        for name in ("", "mbo", *_SERVERS):
            logger = logging.getLogger(name)
            self._before[name] = logger.handlers[:], logger.level, logger.propagate
            logger.handlers.clear()
            logger.propagate = True
        root = logging.getLogger()
        root.addHandler(self._handler)
        root.setLevel(max(logging.INFO, logging.getLevelName(level)))
        logging.getLogger("mbo").setLevel(level)
        logging.getLogger("uvicorn.access").setLevel(logging.WARNING)  # requests are logged with their ids
        structlog.configure(
            processors=[
                structlog.stdlib.filter_by_level,
                structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
            ],
            logger_factory=structlog.stdlib.LoggerFactory(),
            wrapper_class=structlog.stdlib.BoundLogger,
        )

    def close(self) -> None:
        """Write what is left to be said, and leave the loggers as they were."""
        self._repeats.close()
        for name, (handlers, level, propagate) in self._before.items():
            logger = logging.getLogger(name)
            logger.handlers[:] = handlers
            logger.setLevel(level)
            logger.propagate = propagate
        self._before.clear()
        structlog.reset_defaults()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def configure_logs(settings: Settings, stream: TextIO | None = None, known: Iterable[str] = ()) -> Logs:
    """Write what this process logs to standard error, or `stream`, as `settings.log` says, until it is closed.

    Every line has `timestamp` (UTC), `level`, `logger` and `event`, what `correlated` put there and, within a span, its ids. The
    secrets of the settings and the `known` ones are masked, and so is what looks like one. It is for a program of its own: it takes
    over the root logger.
    """
    return Logs(settings, stream, known)


def _context(record: logging.LogRecord) -> bool:
    """Keep with a line what belongs to it: it may be written later, by another thread."""
    record.context = {**structlog.contextvars.get_contextvars(), **_span()}
    return True


def _span() -> dict[str, str]:
    """Give the ids of the span around this, where there are spans at all."""
    trace = sys.modules.get("opentelemetry.trace")
    context = None if trace is None else trace.get_current_span().get_span_context()
    if context is None or not context.is_valid:
        return {}
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}


def _of_record(logger: object, name: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Add what a record of the standard library knows."""
    record: logging.LogRecord = line["_record"]
    line["timestamp"] = _utc(record.created)
    line["level"] = record.levelname.lower()
    line["logger"] = record.name
    for key, value in getattr(record, "context", {}).items():
        line.setdefault(key, value)
    if suppressed := getattr(record, "suppressed", 0):
        line["suppressed"] = suppressed
    if not line.get("_from_structlog") and record.exc_info:
        line["exc_info"] = record.exc_info
    return line


def _in_one_line(logger: object, name: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Leave a peer no way to write a line of its own into text; a traceback has its lines."""
    for key, value in line.items():
        if isinstance(value, str) and key != "exception":
            line[key] = value.translate(_CONTROL)
    return line


def _utc(seconds: float) -> str:
    """Write a time of day to the millisecond.

    >>> _utc(0.0015)
    '1970-01-01T00:00:00.001Z'
    """
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{int(seconds * 1000) % 1000:03d}Z"
