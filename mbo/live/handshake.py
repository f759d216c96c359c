"""The handshake of Databento's live protocol, both sides of it: lines in, lines out, and the key in neither."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable

from mbo import __version__
from mbo.errors import ProtocolError, RefusedError, RequestError
from mbo.live.lines import excerpt
from mbo.live.protocol import AuthRequest, AuthResponse, Challenge, Greeting, keys_of


def answer(cram: str, key: str) -> str:
    """Answer a challenge: SHA-256 of it and the key, and the key's last five characters, by which the gateway finds it.

    >>> answer("t7kNhwj4xqR0QYjzFKtBEG2ec2pXJ4FK", "32-character-with-lots-of-filler")[-18:]
    '26f6d2387d14-iller'
    """
    # A key out of the environment may hold bytes that are no text: an error about them would quote it.
    return f"{hashlib.sha256(f'{cram}|{key}'.encode(errors='surrogatepass')).hexdigest()}-{key[-5:]}"


def accepts(cram: str, keys: Iterable[str], auth: str) -> bool:
    """Say whether an answer was made with one of the keys, in a time that tells neither which one nor how near it came."""
    given = auth.encode(errors="surrogatepass")
    found = False
    for key in keys:
        found |= hmac.compare_digest(answer(cram, key).encode(errors="surrogatepass"), given)
    return found


def _refuse_blank(key: str) -> None:
    if not key.strip():
        raise RequestError("a key is blank")


class ServerHandshake:
    """The gateway's side until the client is let in: `greeting()` goes out first, then the reply to its first line.

    Without `keys` any will do. `request` is what a client that was let in asked for; `refused` says that there will be none, and
    the connection is to be closed behind the reply.
    """

    def __init__(self, keys: tuple[str, ...] | None, session_id: int, challenge: Challenge | None = None) -> None:
        for key in keys or ():
            _refuse_blank(key)
        self.request: AuthRequest | None = None
        self.refused = False
        self._session_id = str(session_id)
        self._challenge = challenge or Challenge.new()
        # In a closure no `repr` of this object or of its attributes can show the keys.
        cram = self._challenge.cram
        self._accepts: Callable[[str], bool] = lambda auth: keys is None or accepts(cram, keys, auth)

    def greeting(self) -> bytes:
        """Give the two lines that the gateway begins with."""
        return Greeting().encode() + self._challenge.encode()

    def receive(self, line: str) -> bytes:
        """Read the client's first line and give the reply to it."""
        assert self.request is None, "the handshake is over"
        assert not self.refused, "the handshake is over"
        try:
            request = AuthRequest.parse(line)
            if not self._accepts(request.auth):
                raise ProtocolError("Authentication failed: no such key")
            if request.encoding != "dbn":
                raise ProtocolError(f"encoding {request.encoding} is not served here: only dbn is")
        except ProtocolError as error:
            self.refused = True
            return AuthResponse(False, error=str(error)).encode()
        self.request = request
        return AuthResponse(True, self._session_id).encode()


class ClientHandshake:
    """The client's side until it is let in: for every line there may be something to send, until it is `done`.

    `RefusedError` has the gateway's reason, `ProtocolError` is for a peer that speaks something else. What follows the last line
    is `LineReader.rest`.
    """

    def __init__(
        self,
        key: str,
        dataset: str,
        *,
        ts_out: bool = False,
        compression: str = "none",
        heartbeat_interval_s: int | None = 30,
        slow_reader_behavior: str | None = None,
        client: str = f"mbo/{__version__}",
    ) -> None:
        _refuse_blank(key)
        self.done = False
        self.session_id: str | None = None
        self._greeted = self._asked = False

        def request(cram: str) -> bytes:
            return AuthRequest(
                answer(cram, key), dataset, ts_out=ts_out, compression=compression, client=client,
                heartbeat_interval_s=heartbeat_interval_s, slow_reader_behavior=slow_reader_behavior,
            ).encode()  # fmt: skip

        request("")  # what cannot be sent is the caller's fault, and said to him now
        self._request = request

    def receive(self, line: str) -> bytes | None:
        """Read one line of the gateway and give what to send."""
        assert not self.done, "the handshake is over"
        keys = keys_of(line)
        if "success" in keys:
            response = AuthResponse.parse(line)
            if not response.success:
                raise RefusedError(f"the gateway refuses: {response.error or 'it does not say why'}")
            if self._asked:
                self.done, self.session_id = True, response.session_id
                return None
        elif "cram" in keys and not self._asked:
            self._asked = True
            return self._request(Challenge.parse(line).cram)
        elif "lsg_version" in keys or not (self._greeted or self._asked):
            self._greeted = True
            return None
        raise ProtocolError(f"the peer does not speak Databento's live protocol: {excerpt(line)}")
