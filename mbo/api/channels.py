"""One book as it is published: its last state, the updates that led to it, and their frames, written once for all clients."""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from mbo.api.frames import Format, Message, changed, encode, message_of
from mbo.api.source import View


class Published(NamedTuple):
    """A message, and its frame in each format that somebody has asked for."""

    message: Message
    frames: dict[Format, bytes]

    def frame(self, form: Format) -> bytes:
        """Give it as a WebSocket frame."""
        found = self.frames.get(form)
        if found is None:
            found = self.frames[form] = encode(self.message, form)
        return found


class Channel:
    """What is published of a symbol with so many levels a side; the last `history` updates are kept."""

    def __init__(self, symbol: str, depth: int, history: int) -> None:
        self.symbol: Final = symbol
        self.depth: Final = depth
        self.trouble: str | None = None
        """Why there is nothing to publish."""
        self.retry = 0.0
        """When it is worth another look then (monotonic)."""
        self.clients = 0
        self.idle_since = 0.0
        self.seq = 0
        """Of the last message; 0 before the first."""
        self._first = 0  # of the first message, before which nobody can have seen one
        self._state: Published | None = None
        self._updates: deque[Published] = deque(maxlen=history)

    def publish(self, view: View, seq: int, *, stale: bool) -> bool:
        """Take a look at the book; False where nothing is new in it."""
        view = view.first(self.depth)._replace(symbol=self.symbol)
        state = message_of(view, seq, 0, stale=stale)
        if self._state is not None:
            last = self._state.message
            if (
                state._replace(seq=last.seq, bids=last.bids, asks=last.asks) == last
            ):  # the checksum stands for the levels
                return False
            update = state._replace(
                prev=last.seq, bids=changed(last.bids, state.bids), asks=changed(last.asks, state.asks)
            )
            self._updates.append(Published(update, {}))
        else:
            self._first = seq
        self._state, self.seq = Published(state, {}), seq
        return True

    def after(self, seen: int, form: Format) -> bytes:
        """Give the frame that leads to the last state: the update for who has seen all before, a snapshot for anybody else."""
        assert self._state is not None
        if seen and self._updates and self._updates[-1].message.prev == seen:
            return self._updates[-1].frame(form)
        return self._state.frame(form)

    def missed(self, since: int, form: Format) -> bytes | None:
        """Give the frames of all updates since a `seq` of the server's; None where they are not all known any more."""
        if not self._first <= since or self._state is None:
            return None
        later = [one for one in self._updates if one.message.seq > since]
        whole = later[0].message.prev <= since if later else self.seq <= since
        return b"".join(one.frame(form) for one in later) if whole else None
