"""What is wrong is refused in one sentence that names all of it, and shows no secret."""

from __future__ import annotations

import json
import logging
import pickle
import re
import tomllib
from pathlib import Path

import pytest

import mbo
from mbo.config import ENVIRONMENTS, OTHERS, Settings, document, load, missing, places, read
from mbo.errors import RequestError

PACKAGE = Path(mbo.__file__).parent
CANARY = "hunter2-do-not-show"
SECRETS = [place for place in places() if place.secret]


@pytest.fixture
def own(tmp_path, monkeypatch):
    def write(text: str | bytes) -> Path:
        path = tmp_path / "own.toml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        monkeypatch.setenv("MBO_CONFIG", str(path))
        return path

    return write


def refusal(arguments=None) -> str:
    with pytest.raises(RequestError) as caught:
        load(arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_secrets_are_these():
    assert {place.variable for place in SECRETS} == {
        "MBO_API_KEYS", "MBO_GATEWAY_KEY", "MBO_CLICKHOUSE_PASSWORD", "DATABENTO_API_KEY"
    }  # fmt: skip


# ------------------------------------------------------------ nothing shows a secret


def test_no_secret_is_shown(monkeypatch, caplog):
    for place in SECRETS:
        monkeypatch.setenv(place.variable, CANARY)
    with caplog.at_level(logging.DEBUG):
        settings = read()
    assert settings.gateway.key is not None
    assert settings.gateway.key.get_secret_value() == CANARY
    for shown in (
        repr(settings), str(settings), settings.model_dump_json(), str(settings.model_dump()), str(settings.explain()),
        json.dumps(document(settings)), caplog.text,
    ):  # fmt: skip
        assert CANARY not in shown
    masked = {row.name: row.value for row in settings.explain() if row.name in {place.path for place in SECRETS}}
    assert set(masked.values()) == {"**********"}


@pytest.mark.parametrize(
    "variable", ["MBO_API_PORT", "MBO_LOG_LEVEL", "MBO_TELEMETRY_METRICS", "MBO_API_CORS_ORIGINS", "MBO_STREAM_HZ"]
)
def test_a_secret_in_the_wrong_variable_is_refused_and_not_shown(variable, monkeypatch):
    monkeypatch.setenv(variable, CANARY)
    sentence = refusal()
    assert variable in sentence
    assert CANARY not in sentence


@pytest.mark.parametrize("name", ["feed", "store", "telemetry.otlp_endpoint"])
def test_a_password_in_a_url_is_refused_and_not_shown(name):
    sentence = refusal({name: f"http://user:{CANARY}@host:1"})
    assert name in sentence
    assert "password" in sentence
    assert CANARY not in sentence


@pytest.mark.parametrize("place", SECRETS, ids=lambda place: place.path)
def test_a_file_that_holds_a_secret_is_refused(place, own):
    section, name = place.path.split(".")
    path = own(f'[{section}]\n{name} = "{CANARY}"\n')
    sentence = refusal()
    assert sentence == f"{path}: {place.path} is a secret, which no file may hold: set {place.variable}"


def test_no_file_of_the_package_holds_a_secret():
    for env in ENVIRONMENTS:
        text = (PACKAGE / "config" / f"{env}.toml").read_text()
        assert not {place.path for place in SECRETS} & {
            f"{section}.{name}" for section, values in tomllib.loads(text).items() for name in values
        }


def test_settings_stay_whole_through_a_pickle(monkeypatch):
    monkeypatch.setenv("MBO_GATEWAY_KEY", CANARY)
    settings = read({"api.port": 1})
    again = pickle.loads(pickle.dumps(settings))
    assert again == settings
    assert again.explain() == settings.explain()


# ------------------------------------------------------------ unknown names


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[api]\nprot = 1", "there is no key api.prot: did you mean api.port?"),
        ("simbols = ['X']", "there is no key simbols: did you mean symbols?"),
        ("[apo]\nport = 1", "there is no key apo.port: did you mean api.port?"),
        ("zzz = 1", "there is no key zzz"),
        ("api = 3", "there is no key api"),
        ("env = 'prod'", "env is not chosen in a file: set MBO_ENV"),
    ],
)
def test_an_unknown_key_of_a_file_names_the_nearest(text, expected, own):
    path = own(text)
    assert refusal().startswith(f"{path}: {expected}")


def test_an_unknown_argument_names_the_nearest():
    assert refusal({"api.prot": 1}) == "there is no argument api.prot: did you mean api.port?"


@pytest.mark.parametrize("name", ["port", "api_port", "api"])
def test_a_model_takes_no_unknown_value(name):
    with pytest.raises(ValueError, match=r"[Ee]xtra|valid dictionary"):
        Settings(**{name: 1})


def test_an_unknown_variable_is_warned_of(monkeypatch, caplog):
    monkeypatch.setenv("MBO_API_PROT", CANARY)
    monkeypatch.setenv("MBO_TEST_ANYTHING", "1")
    for name in OTHERS.keys() - {"MBO_CONFIG"}:
        monkeypatch.setenv(name, "/x")
    load()
    assert caplog.messages == ["there is no variable MBO_API_PROT: did you mean MBO_API_PORT?"]


def test_every_variable_that_the_package_reads_is_known():
    seen = set()
    known = {place.variable for place in places()} | OTHERS.keys() | {"MBO_DTYPE"}
    for path in PACKAGE.rglob("*.py"):
        named = set(re.findall(r"[\"']((?:MBO|DATABENTO)_[A-Z_]+[A-Z])[\"']", path.read_text()))
        assert not named - known, path
        seen |= named
    assert seen >= {"MBO_CACHE_DIR", "MBO_DATA", "MBO_GATEWAY_KEY", "MBO_CLICKHOUSE_PASSWORD", "DATABENTO_API_KEY"}


# ------------------------------------------------------------ wrong values


def test_everything_that_is_wrong_is_said_at_once(monkeypatch, own):
    path = own("[stream]\nhz = 1000\nmax_hz = 'fast'\n")
    monkeypatch.setenv("MBO_API_PORT", "99999")
    sentence = refusal({"log.format": "xml"})
    for part in (
        "api.port (MBO_API_PORT): it should be less than or equal to 65535",
        f"stream.hz ({path}): it should be less than or equal to 240",
        f"stream.max_hz ({path}): it should be a valid number",
        "log.format (argument): it should be 'text' or 'json'",
    ):
        assert part in sentence


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("api.max_rows", 0), ("api.deadline_s", 0), ("api.deadline_s", "nan"), ("api.rate_per_s", "inf"), ("api.port", -1),
        ("api.port", 1.5), ("symbols", [""]), ("feed", "tcp://[h"), ("api.cors_origins", "*"), ("api.host", ""),
        ("api.cors_origins", "https://a.b/"), ("api.cors_origins", "https://a.b/c"), ("recorder.session", ""),
        ("log.level", "LOUD"), ("telemetry.metrics", "maybe"), ("api.port", True), ("stream.hz", True),
    ],
)  # fmt: skip
def test_a_value_out_of_bounds_is_refused(name, value):
    assert refusal({name: value}).startswith(f"{name} (argument): ")


@pytest.mark.parametrize("value", ["live", "Prod", "../prod"])
def test_an_unknown_environment_is_refused(value, monkeypatch):
    monkeypatch.setenv("MBO_ENV", value)
    assert refusal() == f"env={value!r}: an environment is dev, staging, prod"


@pytest.mark.parametrize("data", [b"[api\nport = 1", b"\xff\xfe", b"port"])
def test_a_file_that_is_no_toml_is_refused(data, own):
    path = own(data)
    assert refusal().startswith(f"{path} is no TOML: ")


def test_a_file_that_is_not_there_is_an_error_of_the_system(monkeypatch, tmp_path):
    monkeypatch.setenv("MBO_CONFIG", str(tmp_path / "none.toml"))
    with pytest.raises(FileNotFoundError):
        load()


# ------------------------------------------------------------ the environments


@pytest.mark.parametrize("env", ["staging", "prod"])
@pytest.mark.parametrize(
    ("given", "lacking"),
    [
        ({}, ["MBO_API_KEYS or MBO_API_KEYS_FILE"]),
        ({"api.keys_file": "/run/keys"}, []),
        ({"api.keys_file": "/run/keys", "log.format": "text"}, ["MBO_LOG_FORMAT=json"]),
        ({"api.keys_file": "/run/keys", "store": "chdb:///d"}, []),
        (
            {"feed": "tcp://gateway:13000", "store": "http://u@h:8123/mbo"},
            ["MBO_API_KEYS or MBO_API_KEYS_FILE", "MBO_GATEWAY_KEY", "MBO_CLICKHOUSE_PASSWORD"],
        ),
        ({"api.keys": "x", "feed": "glbx-mdp3.lsg.databento.com"}, ["DATABENTO_API_KEY"]),
        ({"api.keys": "x", "feed": "tcp://h:1", "gateway.key": "k"}, []),
        ({"api.keys": "x", "feed": "127.0.0.1:13000"}, []),
        ({"api.keys": "x", "feed": "tcp://databento.com.example.org:1"}, ["MBO_GATEWAY_KEY"]),
        ({"api.keys": "x", "store": "https://h", "clickhouse.password": "p"}, []),
    ],
)
def test_what_is_missing_outside_dev_is_named_at_once(env, given, lacking):
    if lacking:
        assert refusal({"env": env, **given}) == f"{env} needs {', '.join(lacking)}"
    else:
        assert load({"env": env, **given}).env == env
    assert missing(read({"env": env, **given})) == lacking
    assert missing(load(given)) == []


def test_the_three_files_differ_only_where_they_should():
    found = {env: document(read({"env": env}))["settings"] for env in ENVIRONMENTS}
    values = {name: tuple(found[env][name]["value"] for env in ENVIRONMENTS) for name in found["dev"]}
    assert {name: three for name, three in values.items() if len(set(map(str, three))) > 1} == {
        "env": ("dev", "staging", "prod"),
        "api.host": ("127.0.0.1", "0.0.0.0", "0.0.0.0"),
        "api.rate_per_s": (1_000.0, 100.0, 100.0),
        "api.max_clients": (200, 2_000, 2_000),
        "log.level": ("DEBUG", "DEBUG", "INFO"),
        "log.format": ("text", "json", "json"),
        "telemetry.spans_per_s": (100.0, 100.0, 10.0),
    }
    own = {env: {name for name, row in found[env].items() if row["source"] == f"{env}.toml"} for env in ENVIRONMENTS}
    assert own["dev"] == own["staging"] == own["prod"]
