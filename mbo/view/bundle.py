"""Bundle: the component's modules joined into the one text that a browser loads.

Panel takes one ES module. The modules of `mbo/view/esm` stand in it in the order of their imports, without their `import` lines and
`export` words, so names of the top level are shared and have to differ. What `main.mjs` exports is what the whole exports.
"""

from __future__ import annotations

import functools
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Final

from mbo.errors import InternalError

FOLDER: Final = Path(__file__).parent / "esm"
MAIN: Final = "main.mjs"

_IMPORT: Final = re.compile(r'^import\s*\{[^}]*\}\s*from\s*"\./([\w-]+\.mjs)";\n', re.MULTILINE)
_EXPORT: Final = re.compile(r"^export (?=(?:async |)function|class|const|let)", re.MULTILINE)
_EXPORTED: Final = re.compile(r"^export (?:async |)(?:function|class|const|let)\s+(\w+)", re.MULTILINE)
_LEFT: Final = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)
_NAME: Final = re.compile(
    r"^(?:async |)(?:function\*?|class|const|let|var)\s+(?:(\w+)|[\[{]([^\]}]*)[\]}])", re.MULTILINE
)


@functools.cache
def esm() -> str:
    """Join the modules of this package."""
    return join({path.name: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.mjs"))})


def join(modules: dict[str, str], main: str = MAIN) -> str:
    """Join modules (by file name) that `main` needs, each after those it imports.

    Raises `InternalError` for an import that is not there or goes round in a circle, for another way of importing or exporting than
    ours, and for a name that two modules define.

    >>> one = "export const one = 1;"
    >>> main = 'import {one} from "./one.mjs";' + chr(10) + "export const two = one + 1;"
    >>> print(join({"one.mjs": one, "main.mjs": main}))
    const one = 1;
    const two = one + 1;
    export {two};
    <BLANKLINE>
    """
    texts = {name: _plain(name, modules[name]) for name in _order(modules, main)}
    owners: dict[str, str] = {}
    for name, text in texts.items():
        for defined in _names(text):
            if owners.setdefault(defined, name) != name:
                raise InternalError(f"{owners[defined]} and {name} both define {defined}: a bundle has each name once")
    exported = ", ".join(_EXPORTED.findall(modules[main]))
    return "\n".join([*texts.values(), f"export {{{exported}}};\n"])


def _order(modules: dict[str, str], main: str) -> list[str]:
    needed: dict[str, list[str]] = {}
    waiting = [main]
    while waiting:
        name = waiting.pop()
        if name in needed:
            continue
        if name not in modules:
            raise InternalError(f"there is no module {name}")
        needed[name] = _IMPORT.findall(modules[name])
        waiting += needed[name]
    try:
        return list(TopologicalSorter(needed).static_order())
    except CycleError as error:
        raise InternalError(f"modules import each other: {' -> '.join(reversed(error.args[1]))}") from None


def _plain(name: str, text: str) -> str:
    text = _EXPORT.sub("", _IMPORT.sub("", text))
    if left := _LEFT.search(text):
        raise InternalError(f'{name}: a bundle cannot hold "{left.group()}"')
    return text


def _names(text: str) -> list[str]:
    """List what a text defines at its top level: there, definitions begin a line."""
    names: list[str] = []
    for single, several in _NAME.findall(text):
        names += [single] if single else [part.split(":")[-1].split("=")[0].strip() for part in several.split(",")]
    return [name for name in names if name]
