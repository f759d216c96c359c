"""Secrets out of whatever is written: known ones, what looks like one, and whatever stands under a name of one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

MASK: Final = "**********"

_NAME: Final = re.compile(
    r"password|passwd|secret|token|authorization|cookie|credential|api_?keys?$|^keys?$", re.IGNORECASE
)
_LOOKS: Final = tuple(
    (re.compile(pattern, re.IGNORECASE), by)
    for pattern, by in (
        (r"\b(bearer|basic)\s+[\w.~+/=-]{4,}", rf"\1 {MASK}"),
        (r"\bmbo_[\w-]{43}", MASK),  # our own keys
        (r"\bdb-[A-Za-z0-9]{20,}", MASK),  # Databento's
        (r"(://[^/\s:@]*):[^/\s@]+@", rf"\1:{MASK}@"),  # a password in a URL
        (r"((?:\b|_)(?:auth|keys?|api_?keys?)[\"']?\s*=\s*[\"']?)[^\s|&,;\"']+", rf"\1{MASK}"),
        (r"((?:\b|_)(?:password|passwd|secret|token)[\"']?\s*[:=]\s*[\"']?)[^\s|&,;\"']+", rf"\1{MASK}"),
    )
)
_SHORTEST: Final = 4  # a shorter known one would mask half of every line
_DEEPEST: Final = 6


class Redaction:
    """Masks secrets in text and in values of any shape. `known` are those that are masked wherever they stand.

    >>> Redaction(["hunter2"])({"user": "x", "password": "y", "url": "http://u:z@h", "note": "it is hunter2"})
    {'user': 'x', 'password': '**********', 'url': 'http://u:**********@h', 'note': 'it is **********'}
    """

    def __init__(self, known: Iterable[str] = ()) -> None:
        found = sorted({secret for secret in known if len(secret) >= _SHORTEST}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, found))) if found else None

    def __call__(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Mask what is secret among named values."""
        return {name: self._named(name, value, 0) for name, value in values.items()}

    def text(self, text: str) -> str:
        """Mask what is secret in a text."""
        if self._known is not None:
            text = self._known.sub(MASK, text)
        for pattern, by in _LOOKS:
            text = pattern.sub(by, text)
        return text

    def _named(self, name: Any, value: Any, depth: int) -> Any:
        if isinstance(name, str) and _NAME.search(name) and value not in (None, ""):
            return MASK
        return self._value(value, depth)

    def _value(self, value: Any, depth: int) -> Any:
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, str):
            return self.text(value)
        if depth < _DEEPEST and isinstance(value, Mapping):
            return {self.text(str(name)): self._named(name, inner, depth + 1) for name, inner in value.items()}
        if depth < _DEEPEST and isinstance(value, list | tuple | set | frozenset):
            return [self._value(inner, depth + 1) for inner in value]
        return self.text(str(value))
