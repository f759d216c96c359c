"""The control lines of Databento's live protocol, both sides of them: bytes in, values out, no sockets.

A gateway says who it is and sends a challenge; the client answers with a hash of challenge and key, so that the key itself never
travels; after `success=1` it subscribes, and with `start_session` the gateway's side turns binary. Lines are `key=value` joined
by `|`. What is written here is no more than the strictest client takes (the official Python client gives up at an unknown key or
at a `|` at the end); what is read may stand in any order, with keys that nobody knows.

(https://databento.com/docs/api-reference-live?live=raw)
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, Self

from mbo.errors import ProtocolError, RequestError, TimeError
from mbo.live.lines import MAX_LINE_BYTES, excerpt
from mbo.units import UNDEF_TIMESTAMP, parse_time

PORT: Final = 13000
VERSION: Final = "0.9.0"
SYMBOLS_PER_LINE: Final = 500
MAX_SYMBOLS: Final = 2_000
"""Of one subscription; the lines that it takes have its id in common."""
ALL_SYMBOLS: Final = "ALL_SYMBOLS"
ANY_DATASET: Final = "*"  # what our own client asks our own gateway for, which knows what it replays
DATASET_CHARS: Final = 15
"""At most: that is what a DBN header has room for."""

SCHEMAS: Final = (
    "mbo", "mbp-1", "mbp-10", "tbbo", "trades", "ohlcv-1s", "ohlcv-1m", "ohlcv-1h", "ohlcv-1d", "ohlcv-eod", "definition",
    "statistics", "status", "imbalance", "cmbp-1", "cbbo-1s", "cbbo-1m", "tcbbo", "bbo-1s", "bbo-1m",
)  # fmt: skip
STYPES: Final = (
    "instrument_id", "raw_symbol", "smart", "continuous", "parent", "nasdaq_symbol", "cms_symbol", "isin", "us_code",
    "bbg_comp_id", "bbg_comp_ticker", "figi", "figi_ticker", "listing_id", "issuer_id", "security_id",
)  # fmt: skip
"""Ways to name an instrument; the place in this list is DBN's number for it."""

# -------------------------------------------------------------------- values


def _encoded(**values: str | int | None) -> bytes:
    """Write the values that there are as a line; one that would break it is refused unseen, for it may be half a key."""
    tokens = []
    for key, value in values.items():
        if value is None or value == "":
            continue
        text = str(int(value)) if isinstance(value, bool) else str(value)
        if "|" in text or text != text.strip() or not text.isprintable():
            raise RequestError(
                f"{key} cannot be sent: it holds a |, an unprintable character, or a space at one of its ends"
            )
        tokens.append(f"{key}={text}")
    line = "|".join(tokens).encode() + b"\n"
    if len(line) > MAX_LINE_BYTES:
        raise RequestError(f"a control line of {len(line)} bytes cannot be sent: {MAX_LINE_BYTES} are the most")
    return line


def _flag(key: str, value: str) -> bool:
    if value not in ("0", "1"):
        raise RequestError(f"{key} is {excerpt(value)}, not 0 or 1")
    return value == "1"


def _number(key: str, value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= 20):
        raise RequestError(f"{key} is {excerpt(value)}, not a whole number")
    return int(value)


def _time(key: str, value: str) -> int:
    """Read nanoseconds, as the clients send them, or ISO 8601, as people type it into those that pass it on."""
    if value.isascii() and value.isdigit():
        return _number(key, value)
    try:
        return parse_time(value)
    except TimeError:
        raise RequestError(f"{key} is {excerpt(value)}, which is no time") from None


_READERS: Final[dict[str, Callable[[str, str], Any]]] = {
    "success": _flag, "ts_out": _flag, "snapshot": _flag, "is_last": _flag, "start_session": _flag,
    "heartbeat_interval_s": _number, "id": _number, "start": _time,
    "symbols": lambda _, value: tuple(symbol.strip() for symbol in value.split(",")),
}  # fmt: skip
"""What is not text."""
_REQUIRED: Final = ("cram", "success", "auth", "dataset", "schema", "symbols")


def _values(line: str, known: Iterable[str]) -> dict[str, Any]:
    """Read the known keys of a line; an empty value is none, and of other keys nothing is asked."""
    found: dict[str, str] = {}
    for token in line.split("|"):
        key, _, value = (part.strip() for part in token.partition("="))
        if key in found:
            raise RequestError(f"{key} stands twice in one line")
        if key in known:
            found[key] = value
    for key in _REQUIRED:
        if key in known and not found.get(key):
            raise RequestError(f"{key} is missing")
    return {key: _READERS[key](key, value) if key in _READERS else value for key, value in found.items() if value}


@contextmanager
def _fault_of_peer() -> Iterator[None]:
    """Blame the peer for what the same check blames on the caller where he makes the value himself."""
    try:
        yield
    except RequestError as error:
        raise ProtocolError(str(error)) from None


def _one_of(key: str, value: str, allowed: Iterable[str]) -> None:
    if value not in allowed:
        raise RequestError(f"{key} is {excerpt(value)}, not one of {', '.join(allowed)}")


def _within(key: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise RequestError(f"{key} is {value}, not in {low} to {high}")


@dataclass(frozen=True, slots=True)
class _Line:
    """A line whose keys are the names of its fields."""

    def encode(self) -> bytes:
        """Write the line; `RequestError` where a value cannot stand in one."""
        return _encoded(**{key.name: getattr(self, key.name) for key in fields(self)})

    @classmethod
    def parse(cls, line: str) -> Self:
        """Read the line; `ProtocolError` says which key is wrong."""
        with _fault_of_peer():
            return cls(**_values(line, [key.name for key in fields(cls)]))


# -------------------------------------------------------------------- what a gateway says


@dataclass(frozen=True, slots=True)
class Greeting:
    """The gateway's first line."""

    version: str = VERSION

    def encode(self) -> bytes:
        """Write the line."""
        return _encoded(lsg_version=self.version)

    @classmethod
    def parse(cls, line: str) -> Self:
        """Read the line, which may be any text."""
        with _fault_of_peer():
            return cls(_values(line, ["lsg_version"]).get("lsg_version", line.strip()))


@dataclass(frozen=True, slots=True)
class Challenge(_Line):
    """A text that was never used before, for the client to prove that it knows a key."""

    cram: str

    @classmethod
    def new(cls) -> Self:
        """Draw 32 letters and digits."""
        return cls("".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(32)))


@dataclass(frozen=True, slots=True)
class AuthResponse(_Line):
    """Whether the client may go on, and its session's id; else the reason why not."""

    success: bool
    session_id: str | None = None
    error: str | None = None

    def encode(self) -> bytes:
        """Write the line; the session id has to be digits, for the C++ client reads a number."""
        if self.session_id is not None:
            _number("session_id", self.session_id)
        return _Line.encode(self)


# -------------------------------------------------------------------- what a client says


@dataclass(frozen=True, slots=True)
class AuthRequest(_Line):
    """The answer to the challenge, the data set, and how its records shall come."""

    auth: str = field(repr=False)  # ends with the end of the key
    dataset: str
    encoding: str = "dbn"
    ts_out: bool = False  # behind every record the time of its sending
    compression: str = "none"
    heartbeat_interval_s: int | None = None
    slow_reader_behavior: str | None = None
    client: str = ""

    def __post_init__(self) -> None:
        if not self.auth.strip():
            raise RequestError("auth is missing")
        if not (0 < len(self.dataset) <= DATASET_CHARS and self.dataset.isascii() and self.dataset.isprintable()):
            raise RequestError(f"dataset is {excerpt(self.dataset)}, not 1 to {DATASET_CHARS} ASCII characters")
        _one_of("encoding", self.encoding, ("dbn", "csv", "json"))
        _one_of("compression", self.compression, ("none", "zstd"))
        if self.heartbeat_interval_s is not None:
            _within("heartbeat_interval_s", self.heartbeat_interval_s, 5, 1_800)
        if self.slow_reader_behavior is not None:
            _one_of("slow_reader_behavior", self.slow_reader_behavior, ("skip", "warn"))


@dataclass(frozen=True, slots=True)
class Subscription(_Line):
    """Instruments of a schema: from now on, from `start` (ns UTC, 0 is the beginning), or with the book as it stands first."""

    symbols: tuple[str, ...]
    schema: str = "mbo"
    stype_in: str = "raw_symbol"
    start: int | None = None
    snapshot: bool = False
    id: int = 0
    is_last: bool = True  # of the lines with this id

    def __post_init__(self) -> None:
        _one_of("schema", self.schema, SCHEMAS)
        _one_of("stype_in", self.stype_in, STYPES)
        _within("id", self.id, 0, 2**32 - 1)
        if self.start is not None:
            _within("start", self.start, 0, UNDEF_TIMESTAMP - 1)
        if not 0 < len(self.symbols) <= MAX_SYMBOLS:
            raise RequestError(f"symbols are {len(self.symbols)}, not 1 to {MAX_SYMBOLS}")
        for symbol in self.symbols:
            if not symbol or symbol != symbol.strip() or "," in symbol:
                raise RequestError(f"symbols holds {excerpt(symbol)}, which is no symbol")
        if ALL_SYMBOLS in self.symbols and len(self.symbols) > 1:
            raise RequestError(f"symbols holds {ALL_SYMBOLS} and others")
        if self.snapshot and (self.start is not None or self.schema != "mbo"):
            raise RequestError("snapshot is for the schema mbo, without start")

    def encode(self) -> bytes:
        """Write the line; for more than 500 symbols there is `encode_subscription`."""
        if len(self.symbols) > SYMBOLS_PER_LINE:
            raise RequestError(f"symbols are {len(self.symbols)}, more than the {SYMBOLS_PER_LINE} of one line")
        return _encoded(
            schema=self.schema, stype_in=self.stype_in, symbols=",".join(self.symbols), start=self.start,
            snapshot=self.snapshot, id=self.id, is_last=self.is_last,
        )  # fmt: skip


def encode_subscription(subscription: Subscription) -> bytes:
    """Write a subscription in lines of at most 500 symbols, the last of which says that it is."""
    symbols = subscription.symbols
    return b"".join(
        replace(
            subscription, symbols=symbols[at : at + SYMBOLS_PER_LINE], is_last=at + SYMBOLS_PER_LINE >= len(symbols)
        ).encode()
        for at in range(0, len(symbols), SYMBOLS_PER_LINE)
    )


@dataclass(frozen=True, slots=True)
class StartSession:
    """From here on the gateway sends records."""

    def encode(self) -> bytes:
        """Write the line, with the value that the official Python client gives it."""
        return _encoded(start_session=0)

    @classmethod
    def parse(cls, line: str) -> Self:
        """Read the line; the Rust and C++ clients send the word alone."""
        with _fault_of_peer():
            _values(line, ["start_session"])
        if "start_session" not in keys_of(line):
            raise ProtocolError("start_session is missing")
        return cls()


def keys_of(line: str) -> set[str]:
    """Name the keys of a line."""
    return {token.partition("=")[0].strip() for token in line.split("|")}


def parse_request(line: str) -> AuthRequest | Subscription | StartSession:
    """Read what a client says, by the keys that only one of its lines has."""
    keys = keys_of(line)
    if "auth" in keys:
        return AuthRequest.parse(line)
    if "start_session" in keys:
        return StartSession.parse(line)
    if keys & {"schema", "symbols"}:
        return Subscription.parse(line)
    raise ProtocolError(f"this is no request of the live protocol: {excerpt(line)}")
