"""Everything `mbo` raises on purpose.

The first split says whose fault it is::

    MboError
    ├── DataError              the file or stream is wrong
    │   ├── FormatError        not DBN, or a version or compression we do not know
    │   ├── TruncatedError     it ends in the middle of a header, a record or a zstd frame
    │   ├── RecordError        a record that cannot be one: bad length byte, unknown rtype
    │   └── RuleError          strict mode: a record that the book's rules do not allow
    ├── RequestError           the caller asked for something that is not there
    │   ├── SymbolError        no such instrument, or more than one where one is needed
    │   ├── TimeError          not a time, or a time outside the data
    │   └── OrderError         no such order in the book
    ├── PeerError              the other side of a connection
    │   ├── ProtocolError      it does not speak the protocol, or breaks it
    │   ├── RefusedError       it refuses: the key, a subscription, one client too many
    │   └── LostError          it is gone, or silent for too long, and does not come back
    └── InternalError          our fault: a book that breaks its own invariants

An operating-system failure (no such file, no room on the disk) stays the `OSError` that it is.
"""

from __future__ import annotations


class MboError(Exception):
    """The base of every error that `mbo` raises on purpose; its text is one sentence for a person."""


class DataError(MboError):
    """The data is wrong.

    What is known of the place is kept as attributes, `None` where it is not: `path`, `index` (number of the record in its
    stream, from 0), `offset_bytes` (in the uncompressed stream), `order_id`, `ts_event` (ns UTC) and `sequence`.
    """

    def __init__(
        self,
        message: str,
        *,
        path: str | None = None,
        index: int | None = None,
        offset_bytes: int | None = None,
        order_id: int | None = None,
        ts_event: int | None = None,
        sequence: int | None = None,
    ) -> None:
        super().__init__(message)
        self.path = path
        self.index = index
        self.offset_bytes = offset_bytes
        self.order_id = order_id
        self.ts_event = ts_event
        self.sequence = sequence


class FormatError(DataError):
    """The bytes are not DBN, or are of a version that does not exist."""


class TruncatedError(DataError):
    """The bytes end before what they promise."""


class RecordError(DataError):
    """The bytes at `offset_bytes` cannot be a record."""


class RuleError(DataError):
    """A record that the book's rules do not allow, in strict mode; `rule` is a key of `mbo.book.ANOMALIES`."""

    def __init__(self, rule: str, *, index: int, order_id: int, ts_event: int, sequence: int) -> None:
        super().__init__(
            f"record {index} breaks the rule {rule!r}: order {order_id}, ts_event {ts_event}, sequence {sequence}",
            index=index, order_id=order_id, ts_event=ts_event, sequence=sequence,
        )  # fmt: skip
        self.rule = rule


class RequestError(MboError):
    """The caller asked for something that is not there."""


class SymbolError(RequestError):
    """No such instrument, or more than one where one is needed."""


class TimeError(RequestError):
    """Not a time, or a time outside the data."""


class OrderError(RequestError):
    """No such order rests in the book."""


class PeerError(MboError):
    """The other side of a connection failed us."""


class ProtocolError(PeerError):
    """The other side does not speak the protocol, or breaks it."""


class RefusedError(PeerError):
    """The other side refuses what was asked of it, in its own words; `code` is Databento's error code if it sent one."""

    def __init__(self, message: str, *, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class LostError(PeerError):
    """The other side is gone, or silent for too long, and does not come back."""


class InternalError(MboError):
    """A book breaks one of its own invariants: a bug in `mbo`, please report it."""
