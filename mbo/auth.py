"""Who may ask: bearer keys, kept as hashes, with a role each. No web framework in it, and no secret in any `repr` or error."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import logging
import os
import re
import secrets
import stat
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple

from mbo.errors import RequestError

log: Final = logging.getLogger("mbo.auth")

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_DIGEST: Final = re.compile("[0-9a-f]{64}")
_BEARER: Final = re.compile(r"bearer +([A-Za-z0-9._~+/-]{1,512}=*)", re.IGNORECASE)
_PREFIX: Final = "mbo_"
_LONGEST_BYTES: Final = 1 << 20


class Role(StrEnum):
    """What a key is good for: to read, or to control a replay as well."""

    READ = "read"
    CONTROL = "control"

    def allows(self, needed: Role) -> bool:
        """Say whether this role may do what needs that one.

        >>> Role.CONTROL.allows(Role.READ), Role.READ.allows(Role.CONTROL)
        (True, False)
        """
        return self is needed or self is Role.CONTROL


class Key(NamedTuple):
    """One key: whose it is, what it is good for, and the SHA-256 of it."""

    name: str
    role: Role
    digest: bytes

    def __repr__(self) -> str:
        return f"<Key {self.name}, {self.role}>"


class Keys:
    """The keys that are let in.

    A key is 256 random bits, which nobody finds by trying: a plain SHA-256 of it is safe to keep, and quick to compare.
    """

    def __init__(self, keys: tuple[Key, ...]) -> None:
        if not keys:
            raise RequestError("there is no key: `mbo key NAME` makes one")
        for what, values in (("name", [key.name for key in keys]), ("hash", [key.digest for key in keys])):
            if len(set(values)) < len(values):
                raise RequestError(f"two keys have the same {what}")
        self._keys = keys

    @classmethod
    def parse(cls, text: str, where: str = "MBO_API_KEYS") -> Keys:
        """Read `name:role:sha256` of each key, between spaces or on lines of their own, where # begins a comment.

        `RequestError` says which entry is wrong, by its number: what stands there may be a key that should not be shown.
        """
        entries = " ".join(line.partition("#")[0] for line in text.splitlines()).split()
        return cls(tuple(_entry(entry, f"{where}, entry {number}") for number, entry in enumerate(entries, 1)))

    @classmethod
    def read(cls, path: str | Path) -> Keys:
        """Read a file of keys; `RequestError` where others than its owner may change it, a warning where all may read it."""
        path = Path(path)
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            data = file.read(_LONGEST_BYTES + 1)
        if mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise RequestError(f"others than its owner may change {path} (mode {mode:o}): chmod 600 {path}")
        if mode & (stat.S_IRGRP | stat.S_IROTH):  # as secrets that are mounted into a container often are
            log.warning("others than its owner may read %s (mode %o): chmod 600 %s", path, mode, path)
        if len(data) > _LONGEST_BYTES:
            raise RequestError(f"{path} is longer than a file of keys can be")
        try:
            return cls.parse(data.decode("ascii"), str(path))
        except UnicodeDecodeError:
            raise RequestError(f"{path} is no file of keys: it is not plain text") from None

    def identify(self, token: str | None) -> Key | None:
        """Find the key that was shown, or None. Every key is compared, in constant time: how long it takes tells nothing."""
        digest = hashlib.sha256((token or "").encode(errors="surrogatepass")).digest()
        found = None
        for key in self._keys:
            if hmac.compare_digest(digest, key.digest):
                found = key
        return found if token else None

    @property
    def names(self) -> tuple[str, ...]:
        """Whose keys they are."""
        return tuple(key.name for key in self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __repr__(self) -> str:
        return f"<Keys of {', '.join(self.names)}>"


def _entry(text: str, where: str) -> Key:
    name, _, rest = text.partition(":")
    role, _, digest = rest.partition(":")
    if not _NAME.fullmatch(name) or role not in set(Role) or not _DIGEST.fullmatch(digest):
        raise RequestError(
            f"{where} is no key: write name:role:sha256, with the role read or control and 64 hexadecimal digits; "
            "`mbo key NAME` makes one"
        )
    return Key(name, Role(role), bytes.fromhex(digest))


def new_key(name: str, role: Role | str) -> tuple[str, str]:
    """Make a random key: gives the key itself, to be handed over once, and the line with its hash, to be kept.

    >>> token, line = new_key("alice", "read")
    >>> Keys.parse(line).identify(token)
    <Key alice, read>
    """
    if not _NAME.fullmatch(name):
        raise RequestError(f"{name!r} is no name of a key: up to 64 letters, digits, dots, dashes, underscores and @")
    if role not in set(Role):
        raise RequestError(f"{role!r} is no role: there are read and control")
    token = _PREFIX + secrets.token_urlsafe(32)
    return token, f"{name}:{Role(role)}:{hashlib.sha256(token.encode()).hexdigest()}"


def keys_for(host: str, text: str | None, path: Path | None) -> Keys | None:
    """Read the keys of a server that is bound to `host`; None is a server that is open to all, which only loopback may be.

    `text` is that of MBO_API_KEYS, `path` that of MBO_API_KEYS_FILE: `RequestError` where there are both, or neither elsewhere.
    """
    if text is not None and path is not None:
        raise RequestError("there are MBO_API_KEYS and MBO_API_KEYS_FILE: set one of them")
    if text is not None:
        return Keys.parse(text)
    if path is not None:
        return Keys.read(path)
    if not is_loopback(host):
        raise RequestError(
            f"bound to {host}, which is not loopback, the API needs keys: set MBO_API_KEYS or MBO_API_KEYS_FILE "
            "(`mbo key NAME` makes a key)"
        )
    return None


def is_loopback(host: str) -> bool:
    """Say whether only this machine reaches a server that is bound to `host`; of names, `localhost` alone is known to.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("localhost"), is_loopback("0.0.0.0"), is_loopback("")
    (True, True, True, False, False)
    """
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def bearer(header: str | None) -> str | None:
    """Take the key out of an Authorization header; None where there is none in it.

    >>> bearer("Bearer abc"), bearer("Basic abc"), bearer(None)
    ('abc', None, None)
    """
    found = _BEARER.fullmatch(header.strip()) if header is not None else None
    return found[1] if found else None
