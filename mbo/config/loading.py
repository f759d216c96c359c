"""Where values come from: arguments, then variables, then the user's file, then the file of the environment, then defaults."""

from __future__ import annotations

import difflib
import logging
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, get_args
from urllib.parse import urlsplit

from pydantic import ValidationError
from pydantic_settings import InitSettingsSource

from mbo.auth import is_loopback
from mbo.config.settings import Environment, Place, Settings, places
from mbo.errors import RequestError

log: Final = logging.getLogger("mbo.config")

ENVIRONMENTS: Final[tuple[str, ...]] = get_args(Environment)
OTHERS: Final = {
    "MBO_CONFIG": "a TOML file of your own, read before the one of the environment",
    "MBO_API": "the API whose books the dashboard shows, http://host:port",
    "MBO_API_KEY": "the key that a client of the API shows",
    "MBO_CACHE_DIR": "where compiled kernels are kept",
    "MBO_DATA": "folder of real data for tests and benches",
    "MBO_REQUIRE": "what tests fail without instead of being skipped",
}
"""Variables that are no settings of a server."""
_OF_TESTS: Final = "MBO_TEST_"
_FOLDER: Final = Path(__file__).parent


class Layer(NamedTuple):
    """Values of one source, by their dotted names, and the words for where each comes from."""

    values: dict[str, Any]
    sources: dict[str, str]


def load(arguments: Mapping[str, Any] | None = None) -> Settings:
    """Put together what is in force: argument > `MBO_*` variable > file of MBO_CONFIG > file of the environment > default.

    `arguments` go by dotted names (`{"api.port": 8000}`), None among them says nothing. `MBO_ENV`, or the argument `env`, is dev,
    staging or prod. `RequestError` names everything that is wrong at once: unknown keys with the nearest known one, secrets in a
    file, values out of bounds, and outside dev what is missing (see `missing`).
    """
    settings = read(arguments)
    if lacking := missing(settings):
        raise RequestError(f"{settings.env} needs {', '.join(lacking)}")
    return settings


def read(arguments: Mapping[str, Any] | None = None) -> Settings:
    """Do as `load`, but leave it to the caller to ask what is `missing`."""
    given = {name: value for name, value in (arguments or {}).items() if value is not None}
    known = {place.path: place for place in places()}
    if unknown := [name for name in given if name not in known]:
        raise RequestError("; ".join(_unknown(name, "argument", known) for name in unknown))
    variables = _of_variables(known)
    env = str(given.get("env", variables.values.get("env", "dev")))
    if env not in ENVIRONMENTS:
        raise RequestError(f"env={env!r}: an environment is {', '.join(ENVIRONMENTS)}")
    own = os.environ.get("MBO_CONFIG")
    files = ([Path(own)] if own else []) + [_FOLDER / f"{env}.toml"]
    layers = [Layer(given, dict.fromkeys(given, "argument")), variables, *(_of_file(path, known) for path in files)]
    return _settled(_one_origin(layers))


def missing(settings: Settings) -> list[str]:
    """Name what staging and prod need and do not have: secrets, by their variables, and logs for machines. In dev, nothing."""
    if settings.env == "dev":
        return []
    needed: list[tuple[object, str]] = [
        (settings.api.keys or settings.api.keys_file, "MBO_API_KEYS or MBO_API_KEYS_FILE")
    ]
    host = "localhost" if settings.feed is None else _host(settings.feed)
    if host.endswith(".databento.com"):
        needed.append((settings.databento.api_key, "DATABENTO_API_KEY"))
    elif not is_loopback(host):
        needed.append((settings.gateway.key, "MBO_GATEWAY_KEY"))
    if settings.store is not None and settings.store.startswith(("http://", "https://")):
        needed.append((settings.clickhouse.password, "MBO_CLICKHOUSE_PASSWORD"))
    needed.append((settings.log.format == "json" or None, "MBO_LOG_FORMAT=json"))
    return [name for value, name in needed if value is None]


# ------------------------------------------------------------ the layers


def _of_variables(known: Mapping[str, Place]) -> Layer:
    """Take the variables that are set; an empty one says nothing, one that nobody knows is warned of."""
    by_variable = {place.variable: path for path, place in known.items()}
    set_here = {name: value for name, value in os.environ.items() if value and name in by_variable}
    for name in sorted(os.environ):
        if name.startswith("MBO_") and not name.startswith(_OF_TESTS) and name not in by_variable | OTHERS:
            log.warning("%s", _unknown(name, "variable", [*by_variable, *OTHERS]))
    return Layer(
        {by_variable[name]: value for name, value in set_here.items()}, {by_variable[name]: name for name in set_here}
    )


def _of_file(path: Path, known: Mapping[str, Place]) -> Layer:
    """Read a TOML file; `RequestError` names every key in it that is unknown, or a secret, which no file may hold."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RequestError(f"{path} is no TOML: {error}") from None
    values = dict(_flat(document))
    faults = []
    for name in values:
        place = known.get(name)
        if place is None:
            faults.append(_unknown(name, "key", known))
        elif place.secret:
            faults.append(f"{name} is a secret, which no file may hold: set {place.variable}")
        elif name == "env":
            faults.append("env is not chosen in a file: set MBO_ENV")
    if faults:
        raise RequestError(f"{path}: {'; '.join(faults)}")
    shown = path.name if path.parent == _FOLDER else str(path)
    return Layer(values, dict.fromkeys(values, shown))


def _flat(document: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in document.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{path}{name}.")
        else:
            yield path + name, value


def _unknown(name: str, what: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), 1)
    return f"there is no {what} {name}" + (f": did you mean {near[0]}?" if near else "")


def _one_origin(layers: list[Layer]) -> list[Layer]:
    """Let a file that is to be replayed take the place of a feed that was set further down, and the other way round."""
    for rank, layer in enumerate(layers):
        both = {"feed", "file"} & layer.values.keys()
        if len(both) == 2:
            raise RequestError(
                f"feed ({layer.sources['feed']}) and file ({layer.sources['file']}): only one can be followed"
            )
        if both:
            hidden = ({"feed", "file"} - both).pop()
            for lower in layers[rank + 1 :]:
                lower.values.pop(hidden, None)
            break
    return layers


def _settled(layers: list[Layer]) -> Settings:
    """Make the settings, of which each comes from the first layer that has it; `RequestError` names all that are wrong."""
    sources = {name: text for layer in reversed(layers) for name, text in layer.sources.items() if name in layer.values}
    nested = tuple(InitSettingsSource(Settings, _nested(layer.values)) for layer in layers)
    try:
        settings = Settings(_build_sources=(nested, {}))  # type: ignore[call-arg]
    except ValidationError as error:
        raise RequestError("; ".join(_fault(fault["loc"], fault["msg"], sources) for fault in error.errors())) from None
    settings._sources.update(sources)
    return settings


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        *sections, last = name.split(".")
        inner = found
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[last] = value
    return found


def _fault(place: tuple[int | str, ...], message: str, sources: Mapping[str, str]) -> str:
    """Say what is wrong, never the value: it may be a secret that was put into the wrong variable."""
    name = ".".join(part for part in place if isinstance(part, str))
    where = f" ({sources[name]})" if name in sources else ""
    return f"{name}{where}: {message.removeprefix('Value error, ').replace('Input should', 'it should')}"


def _host(feed: str) -> str:
    return urlsplit(feed if "://" in feed else f"tcp://{feed}").hostname or ""
