"""Write docs/reference.md: the public names, how they are called, and the first paragraph of what they say of themselves.

`make reference` writes it anew; a test compares it with the names as they are.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import mbo
import mbo.api
from mbo.book import ParallelBooks
from mbo.files import replacing
from mbo.live.feed import Feed
from mbo.live.gateway import Gateway
from mbo.recorder import Recorder

HEAD = """# Reference

What users call, with the first paragraph of its docstring; `help(mbo.Book.apply)` has the rest: units, shapes, order,
errors. Prices are integers in units of 1e-9, times nanoseconds since 1970 UTC, sizes as the exchange counts them. The
commands say it all with `--help`; the HTTP interface is described at `/docs` of a running `mbo serve`. Made by
`make reference` from the code.
"""

SECTIONS: dict[str, tuple[str, list[Any]]] = {
    "Files": ("mbo", [mbo.read_dbn, mbo.Records]),
    "Books": ("mbo", [mbo.Book, mbo.Books, ParallelBooks]),
    "Proof": ("mbo", [mbo.verify, mbo.verification.Report, mbo.compare, mbo.simulate]),
    "Live": ("mbo", [mbo.serve_gateway, Gateway, mbo.connect, Feed, mbo.record, Recorder]),
    "Store": ("mbo", [mbo.Store]),
    "Clients of the API": ("mbo.api", [mbo.api.Client, mbo.api.AsyncClient]),
    "Analytics": ("mbo.analytics", [mbo.analytics]),
    "Errors": ("mbo", [mbo.MboError, mbo.DataError, mbo.RequestError, mbo.InternalError]),
}


def reference() -> str:
    """Give the page's text."""
    parts = [HEAD]
    for title, (place, things) in SECTIONS.items():
        parts.append(f"## {title}\n")
        for thing in things:
            parts += _of(thing, place)
        parts.append("")
    return "\n".join(parts).rstrip("\n").replace("\n\n\n", "\n\n") + "\n"


def _of(thing: Any, place: str) -> Iterator[str]:
    if isinstance(thing, ModuleType):
        yield f"{_first(thing)}\n"
        for name in sorted(thing.__all__):
            yield from _entry(f"{place}.{name}", getattr(thing, name))
    elif isinstance(thing, type):
        name = thing.__name__ if place == "mbo" and not hasattr(mbo, thing.__name__) else f"{place}.{thing.__name__}"
        yield f"\n### `{name}`\n\n{_first(thing)}\n"
        for member in _members(thing):
            yield from _entry(f"{thing.__name__}.{member}", inspect.getattr_static(thing, member))
    else:
        yield from _entry(f"{place}.{thing.__name__}", thing)


def _members(kind: type) -> list[str]:
    """List what a class and those of this package that it is made of define, as it stands in the code."""
    names: dict[str, None] = {}
    for owner in kind.__mro__:
        if owner.__module__.startswith("mbo"):
            names |= dict.fromkeys(name for name in vars(owner) if not name.startswith("_"))
    return [name for name in names if _first(inspect.getattr_static(kind, name))]


def _entry(name: str, thing: Any) -> Iterator[str]:
    if isinstance(thing, classmethod | staticmethod):
        thing = thing.__func__
    call = _call(thing) if isinstance(thing, FunctionType) else ""
    yield f"- **`{name}{call}`**  \n  {_first(thing)}"


def _call(function: FunctionType) -> str:
    """Give its parameters, without their types."""
    parameters = [
        one.replace(annotation=inspect.Parameter.empty)
        for one in inspect.signature(function).parameters.values()
        if one.name not in ("self", "cls")
    ]
    return re.sub(r"<(\w+\.\w+): \d+>", r"\1", str(inspect.Signature(parameters)))


def _first(thing: Any) -> str:
    """Give the first paragraph of a docstring, on one line; nothing for a plain value."""
    if isinstance(thing, classmethod | staticmethod):
        thing = thing.__func__
    if not isinstance(thing, FunctionType | property | type | ModuleType) and not hasattr(thing, "func"):
        return ""
    text = inspect.getdoc(thing) or ""
    return " ".join(text.partition("\n\n")[0].split())


if __name__ == "__main__":
    path = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "reference.md")
    with replacing(path) as part:
        part.write(reference().encode())
