"""The picture: history, replay and live streams as frames, and the component that draws them; needs the extra `dashboard`.

A `Program` is what there is to look at; it gives each who looks a `Viewer`, which turns a book's moments into frames (`frame`,
`scene`); a `Hub` sends them to the component (`Ladder`), which draws. Only the component needs Panel.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mbo.view.component import Ladder, ladder
    from mbo.view.hub import Hub
    from mbo.view.live import Live
    from mbo.view.program import Broadcast, Program, Recorded
    from mbo.view.remote import Remote
    from mbo.view.viewer import Viewer

_HOME: Final = {
    "Broadcast": "program",
    "Hub": "hub",
    "Ladder": "component",
    "Live": "live",
    "Program": "program",
    "Recorded": "program",
    "Remote": "remote",
    "Viewer": "viewer",
    "ladder": "component",
}

__all__ = ["Broadcast", "Hub", "Ladder", "Live", "Program", "Recorded", "Remote", "Viewer", "ladder"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'mbo.view' has no attribute {name!r}")
    value = getattr(import_module(f"mbo.view.{_HOME[name]}"), name)
    globals()[name] = value
    return value
