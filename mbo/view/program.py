"""Programs: what can be looked at, from a file, a store or a gateway; all who look share what is made of it."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from mbo.errors import SymbolError
from mbo.view.following import Following, Stall
from mbo.view.index import Index
from mbo.view.live import Live
from mbo.view.replaying import Replay

if TYPE_CHECKING:
    from mbo.replay import Records
    from mbo.store import Store
    from mbo.view.viewer import Viewer

_FIRST_S: Final = 5.0
_INDEXES: Final = 8
"""Indexes kept for the next who looks; the longest unused goes first."""


class Program(ABC):
    """What a page shows: `symbols` to choose from, and a viewer for each who looks."""

    @property
    @abstractmethod
    def symbols(self) -> list[str]:
        """What can be shown."""

    @abstractmethod
    def viewer(self, symbol: str | None = None) -> Viewer:
        """Begin to look; `SymbolError` where there is no such symbol."""

    def turn(self) -> None:  # noqa: B027 - nothing to do where every viewer has a place of its own
        """Take in what has come; called again and again."""

    @property
    def failed(self) -> bool:
        """Whether nothing more will come, because of an error."""
        return False

    @abstractmethod
    def close(self) -> None:
        """End what runs."""


class Recorded(Program):
    """Recorded books by name, each opened when first looked at; every viewer is at a place of its own.

    >>> import mbo
    >>> Recorded.of(mbo.read_dbn(mbo.SIMULATED)).symbols
    ['SIM1', 'SIM2', 'SIM3']
    """

    def __init__(
        self,
        books: Mapping[str, Callable[[], Records]],
        *,
        source: str = "replay",
        name: str = "",
        simulated: bool = False,
    ) -> None:
        if not books:
            raise SymbolError(f"there is nothing to look at in {name or 'the data'}")
        self._books = dict(books)
        self._about: dict[str, Any] = {"source": source, "name": name, "simulated": simulated}
        self._indexes: dict[str, Index] = {}
        self._opening = threading.Lock()

    @classmethod
    def of(cls, day: Records, *, simulated: bool = False) -> Recorded:
        """Look at the books of files."""
        name = day.files[0].path.name if len(day.files) == 1 else f"{len(day.files)} files"
        return cls(_books_of(day), name=name, simulated=simulated)

    @classmethod
    def stored(cls, store: Store, name: str) -> Recorded:
        """Look at the stored files, each symbol of each by itself."""
        entries = store.files()
        books: dict[str, Callable[[], Records]] = {}
        for entry in entries:
            day = store.records(file=entry.file_id)
            among = "" if len(entries) == 1 else f" in {entry.name}"
            for symbol, opened in _books_of(day).items():
                books[symbol + among] = opened
        return cls(books, source="store", name=name)

    @property
    def symbols(self) -> list[str]:
        """The names of the books, the one with most records first."""
        return list(self._books)

    def viewer(self, symbol: str | None = None) -> Replay:
        """Begin to look, at the beginning."""
        return Replay(self.index, self.symbols, symbol=symbol, **self._about)

    def index(self, symbol: str | None = None) -> Index:
        """Give the index of a book, begun now if nobody has looked at it yet."""
        name = self.symbols[0] if symbol is None else symbol
        if name not in self._books:
            raise SymbolError(f"there is no {name!r}: choose among {', '.join(self.symbols[:8])}")
        with self._opening:
            index = self._indexes.pop(name, None)
            if index is None:
                index = Index(self._books[name](), name).start()
            self._indexes[name] = index
            while len(self._indexes) > _INDEXES:
                self._indexes.pop(next(iter(self._indexes)))  # who still looks at it keeps it
            return index

    def close(self) -> None:
        """Stop going through records."""
        for index in self._indexes.values():
            index.close()


class Broadcast(Program):
    """A gateway's books, live; all viewers see the same moment."""

    def __init__(self, live: Live) -> None:
        self._stall = Stall(live)

    @property
    def live(self) -> Live:
        """The stream."""
        return self._stall.live

    @property
    def symbols(self) -> list[str]:
        """Of what has come so far."""
        return self.live.symbols

    def viewer(self, symbol: str | None = None) -> Following:
        """Begin to look, now; where nothing has come yet, wait for it some seconds."""
        deadline = time.monotonic() + _FIRST_S
        while not self.symbols and time.monotonic() < deadline:
            self.turn()
            time.sleep(0.01)
        return Following(self._stall, symbol=symbol)

    def turn(self) -> None:
        """Take in what has come."""
        self._stall.turn()

    @property
    def failed(self) -> bool:
        """Whether the feed has given up."""
        return self._stall.failure() is not None

    def close(self) -> None:
        """End the connection."""
        self.live.close()


def _books_of(day: Records) -> dict[str, Callable[[], Records]]:
    """Name every book of the records, with its publisher where a symbol has several, most records first."""
    summary = day.summary()
    keys = sorted(summary.instruments, key=lambda key: -summary.instruments[key])
    symbols = {key: day.symbol_map.symbol(key[1], summary.first) for key in keys}
    names = list(symbols.values())
    alone = len(keys) == 1 and len(day.files) == 1
    books: dict[str, Callable[[], Records]] = {}
    for (publisher, instrument), symbol in symbols.items():
        name = symbol if names.count(symbol) == 1 else f"{symbol} (publisher {publisher})"
        books[name] = lambda p=publisher, i=instrument: day if alone else day.select(i, publisher_id=p)  # type: ignore[misc]
    return books
