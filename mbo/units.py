"""Prices and times: the one place where either becomes text, or text either.

A price is an int64 in units of 1e-9, a time an integer count of nanoseconds since 1970 UTC. Neither ever passes through a
float (near 1.7e18 doubles step by 256 ns) or a `datetime` (microseconds).
"""

from __future__ import annotations

import datetime as dt
import operator
import re
from typing import Any, Final

from mbo.errors import RequestError, TimeError

PRICE_SCALE: Final = 1_000_000_000
"""Units in one currency unit."""
UNDEF_PRICE: Final = 2**63 - 1
UNDEF_SIZE: Final = 2**32 - 1
UNDEF_TIMESTAMP: Final = 2**64 - 1
"""DBN's marks for a missing price, order size and time. Prices may be negative or zero: only these marks mean missing."""

NS_PER_S: Final = 1_000_000_000
Time = int | str | dt.datetime | dt.date
"""What a public function takes as an instant: ns since 1970 UTC, ISO 8601 text (without an offset it is UTC), or a `datetime`
(naive is UTC). `numpy.datetime64` and `pandas.Timestamp` are taken too."""

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?)?"
    r"\s*(Z|UTC|[+-](?:[01]\d|2[0-3]):?[0-5]\d)?",
    re.ASCII,
)
_INTERVAL_UNITS = {
    "us": 1_000,
    "ms": 1_000_000,
    "s": NS_PER_S,
    "m": 60 * NS_PER_S,
    "h": 3_600 * NS_PER_S,
    "d": 86_400 * NS_PER_S,
}


def parse_time(value: object) -> int:
    """Read an instant as nanoseconds since 1970 UTC; see `Time` for what is taken.

    >>> parse_time("2025-09-24T20:00"), parse_time("2025-09-24 22:00:00.000000001+02:00")
    (1758744000000000000, 1758744000000000001)
    """
    if isinstance(value, bool):
        raise TimeError(f"{value!r} is not a time")
    if isinstance(value, str):
        return _parse_iso(value)
    if isinstance(value, dt.datetime) and hasattr(value, "to_datetime64"):
        return _in_range(
            _numpy_ns(value.to_datetime64()), value
        )  # pandas.Timestamp: a datetime that keeps its nanoseconds
    if isinstance(value, dt.datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=dt.UTC)
        return _in_range(_whole_ns(aware), value)
    if isinstance(value, dt.date):
        return _in_range(_whole_ns(dt.datetime(value.year, value.month, value.day, tzinfo=dt.UTC)), value)
    if type(value).__module__ == "numpy" and type(value).__name__ == "datetime64":
        return _in_range(_numpy_ns(value), value)
    try:
        return _in_range(operator.index(value), value)  # type: ignore[arg-type]
    except TypeError:
        raise TimeError(f"{value!r} is not a time: give ISO 8601 text, nanoseconds since 1970 or a datetime") from None


def parse_interval(interval: object) -> int:
    """Read an interval such as "500us", "250ms", "1s", "5m", "1h" or "1d" as nanoseconds.

    >>> parse_interval("250ms")
    250000000
    """
    found = re.fullmatch(r"([1-9]\d{0,8})(us|ms|s|m|h|d)", str(interval), re.ASCII)
    if not found:
        raise RequestError(f"{interval!r} is not an interval: write '250ms', '1s', '5m', '1h' or '1d'")
    return int(found[1]) * _INTERVAL_UNITS[found[2]]


def _numpy_ns(moment: Any) -> int:
    """Count the nanoseconds of a `numpy.datetime64` of any unit; converted at once, a far one would silently wrap around."""
    seconds = moment.astype("datetime64[s]")
    return int(seconds.astype("int64")) * NS_PER_S + int((moment - seconds).astype("timedelta64[ns]").astype("int64"))


def _parse_iso(text: str) -> int:
    match = _ISO.fullmatch(text.strip())
    if not match:
        raise TimeError(f"{text!r} is not a time: write it as 2025-09-24T20:00:00.000000001 (UTC)")
    *parts, fraction, offset = match.groups()
    year, month, day, hour, minute, second = (int(part or 0) for part in parts)
    try:
        whole = _whole_ns(dt.datetime(year, month, day, hour, minute, second, tzinfo=dt.UTC))
    except ValueError as error:
        raise TimeError(f"{text!r} is not a time: {error}") from None
    ns = whole + int((fraction or "").ljust(9, "0"))
    if offset and offset[0] in "+-":
        digits = offset[1:].replace(":", "")
        shift = (int(digits[:2]) * 3600 + int(digits[2:]) * 60) * NS_PER_S
        ns += shift if offset[0] == "-" else -shift
    return _in_range(ns, text)


def _whole_ns(moment: dt.datetime) -> int:
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * NS_PER_S + since.microseconds * 1_000


def _in_range(ns: int, value: object) -> int:
    if not 0 <= ns < UNDEF_TIMESTAMP:
        raise TimeError(f"{value!r} is not a time that DBN can hold (1970 to 2554)")
    return ns


def format_time(ns: int) -> str:
    """Write nanoseconds since 1970 UTC as Databento does, nine digits and a Z; a missing time is an empty text.

    >>> format_time(1758744000000000001)
    '2025-09-24T20:00:00.000000001Z'
    """
    if ns == UNDEF_TIMESTAMP:
        return ""
    seconds, fraction = divmod(ns, NS_PER_S)
    return f"{(_EPOCH + dt.timedelta(seconds=seconds)).strftime('%Y-%m-%dT%H:%M:%S')}.{fraction:09d}Z"


def format_price(price: int, decimals: int = 9) -> str:
    """Write a price in units of 1e-9 as an exact decimal with at least `decimals` places; a missing price is an empty text.

    >>> format_price(64830000000, 2), format_price(-250000000, 0), format_price(64830000000)
    ('64.83', '-0.25', '64.830000000')
    """
    if price == UNDEF_PRICE:
        return ""
    # Of numpy's own integers, the lowest has no opposite.
    whole, fraction = divmod(abs(int(price)), PRICE_SCALE)
    places = f"{fraction:09d}".rstrip("0").ljust(decimals, "0")
    return f"{'-' if price < 0 else ''}{whole}{'.' if places else ''}{places}"


def decimals_of(prices: object) -> int:
    """Count the decimal places that show every one of these prices (an iterable of int, 1e-9) exactly: 0 to 9.

    >>> decimals_of([64830000000, 64900000000])
    2
    """
    defined = (int(price) for price in prices if price != UNDEF_PRICE)  # type: ignore[attr-defined]
    return max((len(f"{abs(price) % PRICE_SCALE:09d}".rstrip("0")) for price in defined), default=0)
