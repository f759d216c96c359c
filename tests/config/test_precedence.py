"""Which source wins, and that every value says where it came from."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import SecretStr

from mbo import recorder
from mbo.config import Settings, document, load, places, read, rows
from mbo.errors import RequestError
from mbo.live import protocol

NAME = "api.rate_per_s"  # which the file of each environment has


def sources(settings: Settings) -> dict[str, str]:
    return {row.name: row.source for row in settings.explain()}


@pytest.mark.parametrize(
    ("present", "value", "source"),
    [
        ({"argument", "variable", "own"}, 1.0, "argument"),
        ({"variable", "own"}, 2.0, "MBO_API_RATE_PER_S"),
        ({"own"}, 3.0, "own.toml"),
        (set(), 1_000.0, "dev.toml"),
    ],
)
def test_each_source_wins_over_those_after_it(present, value, source, tmp_path, monkeypatch):
    if "own" in present:
        (tmp_path / "own.toml").write_text("[api]\nrate_per_s = 3\n")
        monkeypatch.setenv("MBO_CONFIG", str(tmp_path / "own.toml"))
    if "variable" in present:
        monkeypatch.setenv("MBO_API_RATE_PER_S", "2")
    settings = load({NAME: 1.0} if "argument" in present else None)
    assert settings.api.rate_per_s == value
    assert sources(settings)[NAME].endswith(source)
    assert sources(settings)["api.max_rows"] == "default"


def test_an_own_file_leaves_the_rest_of_the_environments_in_force(tmp_path, monkeypatch):
    (tmp_path / "own.toml").write_text("[api]\nmax_clients = 7\n")
    monkeypatch.setenv("MBO_CONFIG", str(tmp_path / "own.toml"))
    settings = read({"env": "prod"})
    assert (settings.api.max_clients, settings.api.host, settings.log.format) == (7, "0.0.0.0", "json")
    assert sources(settings)["api.max_clients"] == str(tmp_path / "own.toml")
    assert sources(settings)["api.host"] == "prod.toml"


def test_none_among_the_arguments_and_an_empty_variable_say_nothing(monkeypatch):
    monkeypatch.setenv("MBO_API_RATE_PER_S", "")
    assert load({NAME: None}).api.rate_per_s == 1_000.0


def test_the_environment_is_chosen_by_argument_before_variable(monkeypatch):
    assert read().env == "dev"
    monkeypatch.setenv("MBO_ENV", "staging")
    assert read().env == "staging"
    assert read({"env": "prod"}).env == "prod"
    assert sources(read())["env"] == "MBO_ENV"


def sample(annotation: Any, name: str) -> tuple[str, object]:
    """A value that is not the default: as a variable has it, and as the settings do."""
    kind = get_args(annotation)[0] if type(None) in get_args(annotation) else annotation
    kind = get_args(kind)[0] if hasattr(kind, "__metadata__") else kind
    own = {
        "env": ("staging", "staging"), "log.level": ("error", "ERROR"), "log.format": ("json", "json"),
        "symbols": ("CLX5, CLZ5", ("CLX5", "CLZ5")), "api.cors_origins": ("https://a.b", ("https://a.b",)),
        "feed": ("tcp://h:1", "tcp://h:1"), "store": ("chdb:///d", "chdb:///d"),
        "telemetry.otlp_endpoint": ("http://h:4318", "http://h:4318"),
    }  # fmt: skip
    if name in own:
        return own[name]
    plain = {int: ("17", 17), float: ("17.5", 17.5), bool: ("false", False), str: ("x", "x"), Path: ("/x", Path("/x"))}
    return ("x", SecretStr("x")) if kind is SecretStr else plain[kind]


@pytest.mark.parametrize("place", places(), ids=lambda place: place.path)
def test_every_value_can_be_set_by_its_variable(place, monkeypatch):
    text, value = sample(place.field.annotation, place.path)
    assert Settings().value(place.path) != value
    monkeypatch.setenv(place.variable, text)
    settings = read()
    assert settings.value(place.path) == value
    assert sources(settings)[place.path] == place.variable
    assert [name for name, source in sources(settings).items() if source.isupper()] == [place.path]


def test_no_two_values_share_a_variable():
    variables = [place.variable for place in places()]
    assert len(set(variables)) == len(variables)
    assert all(place.field.description for place in places())


def test_settings_alone_are_those_of_dev_and_read_no_variable(monkeypatch):
    monkeypatch.setenv("MBO_API_PORT", "9")
    assert Settings().api.port == 8000
    assert Settings(api={"port": 1}).api.port == 1
    assert set(sources(Settings()).values()) == {"default"}


def test_defaults_are_those_of_what_they_configure():
    own = Settings().recorder
    assert (own.flush_rows, own.flush_s) == (recorder.FLUSH_ROWS, recorder.FLUSH_S)
    assert (own.buffer_rows, own.patience_s) == (recorder.BUFFER_ROWS, recorder.PATIENCE_S)
    assert Settings().gateway.port == protocol.PORT


def test_settings_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Settings().api.port = 1
    with pytest.raises(ValueError, match="frozen"):
        Settings().feed = "tcp://h:1"


@pytest.mark.parametrize(("above", "below"), [("feed", "file"), ("file", "feed")])
def test_what_is_to_be_followed_takes_the_place_of_what_was_set_further_down(above, below, monkeypatch):
    values = {"feed": "tcp://h:1", "file": "/day.dbn"}
    monkeypatch.setenv(f"MBO_{below.upper()}", values[below])
    settings = load({above: values[above]})
    assert str(settings.value(above)) == values[above]
    assert settings.value(below) is None
    assert sources(settings)[below] == "default"


def test_a_feed_and_a_file_at_once_are_refused(monkeypatch):
    monkeypatch.setenv("MBO_FEED", "tcp://h:1")
    monkeypatch.setenv("MBO_FILE", "/day.dbn")
    with pytest.raises(RequestError, match=r"feed \(MBO_FEED\) and file \(MBO_FILE\): only one"):
        load()


def test_the_report_has_every_value_and_its_source(monkeypatch):
    monkeypatch.setenv("MBO_SYMBOLS", "CLX5,CLZ5")
    settings = read({"env": "prod"})
    found = document(settings)
    assert list(found["settings"]) == [place.path for place in places()]
    assert found["settings"]["symbols"] == {
        "value": ["CLX5", "CLZ5"], "source": "MBO_SYMBOLS", "variable": "MBO_SYMBOLS"
    }  # fmt: skip
    assert found["env"] == "prod"
    assert found["missing"] == ["MBO_API_KEYS or MBO_API_KEYS_FILE"]
    named = {name: (value, source) for name, value, source, _ in rows(settings)}
    assert named["symbols"] == ("CLX5, CLZ5", "MBO_SYMBOLS")
    assert named["feed"] == ("-", "default")
    assert named["telemetry.metrics"] == ("true", "default")
