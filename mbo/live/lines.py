"""Lines out of the bytes of a peer that nobody knows yet, and how to quote them safely."""

from __future__ import annotations

import re
from typing import Final, NoReturn

from mbo.errors import ProtocolError

MAX_LINE_BYTES: Final = 65_536

_SECRET = re.compile(r"((?:auth|key)\s*=)[^|]*", re.IGNORECASE)
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def excerpt(text: str) -> str:
    """Quote the beginning of a peer's words, fit for any sentence, log and line; never what answers a challenge."""
    return ascii(_SECRET.sub(r"\1...", text)[:40]).replace("|", r"\x7c")


class LineReader:
    r"""Cuts what comes from a peer into lines, however it was split on its way.

    >>> reader = LineReader()
    >>> reader.feed(b"lsg_version=0.9.0\ncra"), reader.line(b"m=x\r\nDBN"), reader.rest
    (['lsg_version=0.9.0'], 'cram=x', b'DBN')

    A line longer than `limit_bytes`, complete or not, one that is not UTF-8, or one with control characters is a `ProtocolError`,
    and so is everything after it.
    """

    def __init__(self, limit_bytes: int = MAX_LINE_BYTES) -> None:
        self._limit = limit_bytes
        self._buffer = bytearray()
        self._searched = 0  # bytes in front that are known to hold no end of line
        self._broken: str | None = None

    @property
    def rest(self) -> bytes:
        """What follows the last line that was given out."""
        return bytes(self._buffer)

    def line(self, data: bytes = b"") -> str | None:
        """Take in what came and give one line without its end; what follows it may not be lines at all and is not looked at."""
        if self._broken is not None:
            raise ProtocolError(self._broken)
        self._buffer += data
        end = self._buffer.find(b"\n", self._searched)
        length = end if end >= 0 else len(self._buffer)
        if length > self._limit:
            self._refuse(f"is longer than {self._limit} bytes", self._buffer[: self._limit])
        if end < 0:
            self._searched = length
            return None
        raw = self._buffer[:end].removesuffix(b"\r")
        try:
            line = raw.decode()
        except UnicodeDecodeError:
            self._refuse("is not UTF-8", raw)
        if _CONTROL.search(line):
            self._refuse("holds control characters", raw)
        del self._buffer[: end + 1]
        self._searched = 0
        return line

    def feed(self, data: bytes) -> list[str]:
        """Take in what came and give every line that is complete; those before a bad one only `line` gives."""
        lines = []
        line = self.line(data)
        while line is not None:
            lines.append(line)
            line = self.line()
        return lines

    def _refuse(self, what: str, raw: bytearray) -> NoReturn:
        self._broken = f"a control line {what}: it begins with {excerpt(raw.decode(errors='backslashreplace'))}"
        self._buffer.clear()
        raise ProtocolError(self._broken) from None
