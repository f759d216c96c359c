"""What can be set: one typed model, in sections, with the bounds of every value."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

Environment = Literal["dev", "staging", "prod"]
Level = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
_MASK: Final = "**********"


def _split(value: object) -> object:
    """Read a list that a variable holds: its parts stand between commas."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _number(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("it should be a number, not true or false")
    return value


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def _without_password(url: str) -> str:
    try:
        parts = urlsplit(url if "://" in url else f"tcp://{url}")
        secret = parts.password is not None
    except ValueError:
        raise ValueError("it is not a URL") from None
    if secret:
        raise ValueError("a password has no place in a URL, which ends up in logs: set its variable")
    return url


def _origin(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or url != f"{parts.scheme}://{parts.netloc}":
        raise ValueError("an origin is written https://host or http://host:port, with nothing behind it")
    return url


Url = Annotated[str, Field(min_length=1), AfterValidator(_without_password)]
Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_split)]
Origins = Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], BeforeValidator(_split)]
Port = Annotated[int, BeforeValidator(_number), Field(ge=0, le=65_535)]
Count = Annotated[int, BeforeValidator(_number), Field(ge=1)]
Seconds = Annotated[float, BeforeValidator(_number), Field(gt=0, le=86_400, allow_inf_nan=False)]
Rate = Annotated[float, BeforeValidator(_number), Field(gt=0, allow_inf_nan=False)]


class Section(BaseModel):
    """Values that belong together."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Api(Section):
    """The server of REST and WebSocket."""

    host: str = Field(default="127.0.0.1", min_length=1, description="address it is bound to")
    port: Port = Field(default=8000, description="its port; 0 takes a free one")
    keys: SecretStr | None = Field(
        default=None, description="who is let in: name:role:sha256 of each key, between spaces"
    )
    keys_file: Path | None = Field(default=None, description="a file with one of these a line")
    max_levels: Count = Field(default=1_000, description="levels a side of one answer")
    max_rows: Count = Field(default=100_000, description="rows of one page")
    max_range_s: Seconds = Field(default=86_400.0, description="seconds of data that one question may span")
    deadline_s: Seconds = Field(default=10.0, description="after which a request is given up")
    rate_per_s: Rate = Field(default=100.0, description="requests a second of one key, or of one address without keys")
    max_clients: Count = Field(default=2_000, description="WebSocket clients at a time")
    max_message_bytes: Count = Field(default=65_536, description="of a WebSocket message or a request's body")
    cors_origins: Origins = Field(default=(), description="web pages that may ask, by scheme, host and port")
    drain_s: Seconds = Field(default=20.0, description="for what is under way, after SIGTERM")


class Stream(Section):
    """What WebSocket clients get."""

    hz: Rate = Field(default=10.0, le=240, description="updates a second, unless a client asks for another rate")
    max_hz: Rate = Field(default=60.0, le=240, description="updates a second that a client may ask for")
    depth: Count = Field(default=10, description="levels a side, unless a client asks for more or fewer")
    history: Count = Field(default=256, description="updates that are kept for clients that come back")
    heartbeat_s: Seconds = Field(default=15.0, description="between signs of life")
    stall_s: Seconds = Field(default=10.0, description="after which a client that reads nothing is let go")


class Recorder(Section):
    """A stream on its way into a store."""

    session: str | None = Field(default=None, min_length=1, description="name it is stored under, else host:port@day")
    flush_rows: Count = Field(default=131_072, description="rows that are stored at once")
    flush_s: Seconds = Field(default=1.0, description="after which fewer are stored too")
    buffer_rows: Count = Field(default=1_048_576, description="rows that may wait for the store, 56 bytes each")
    patience_s: Seconds = Field(default=600.0, description="for a store that takes nothing")


class Log(Section):
    """What is written to standard error."""

    level: Annotated[Level, BeforeValidator(_upper)] = Field(default="INFO", description="least level that is written")
    format: Literal["text", "json"] = Field(default="text", description="lines for people or for machines")
    repeats: Count = Field(
        default=10, description="lines of one event that are written in each interval, the rest is counted"
    )
    repeats_s: Seconds = Field(default=10.0, description="the interval")


class Telemetry(Section):
    """Figures and spans for those who operate it."""

    metrics: bool = Field(default=True, description="whether /metrics is served")
    otlp_endpoint: Url | None = Field(default=None, description="OTLP/HTTP receiver of spans, http://host:4318")
    spans_per_s: Rate = Field(default=10.0, description="spans a second of each kind that are made at most")


class Dashboard(Section):
    """The web page."""

    port: Port = Field(default=5006, description="its port")
    sessions: Count = Field(default=50, description="browsers at a time")


class Gateway(Section):
    """Our own gateway, which replays files."""

    host: str = Field(default="127.0.0.1", min_length=1, description="address it is bound to")
    port: Port = Field(default=13_000, description="its port; 0 takes a free one")
    rate: Rate | None = Field(default=None, description="records a second, else as the recording was timed")
    key: SecretStr | None = Field(default=None, description="what it asks for, and what a client of it answers with")


class Clickhouse(Section):
    """A ClickHouse server."""

    password: SecretStr | None = Field(default=None, description="of the user in the store's URL")


class Databento(Section):
    """Databento's own gateway."""

    api_key: SecretStr | None = Field(
        default=None, description="what it asks for", json_schema_extra={"variable": "DATABENTO_API_KEY"}
    )


class Place(NamedTuple):
    """Where a value stands in the model: `path` is its dotted name, `variable` the one of the environment."""

    path: str
    variable: str
    field: FieldInfo

    @property
    def secret(self) -> bool:
        """Whether it must not be shown."""
        return SecretStr in getattr(self.field.annotation, "__args__", ())


class Setting(NamedTuple):
    """One value in force: a secret is masked; `source` says where it comes from."""

    name: str
    value: Any
    source: str
    variable: str
    meaning: str


class Settings(BaseSettings):
    """Everything that can be set, valid and frozen; `mbo.config.load` makes one. No secret is in its `repr`."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True)

    env: Environment = Field(default="dev", description="which of the three files is read")
    feed: Url | None = Field(default=None, description="gateway that is followed, tcp://host:port")
    file: Path | None = Field(default=None, description="DBN file that is replayed instead of a gateway")
    store: Url | None = Field(default=None, description="chdb:///dir or http://user@host:8123/mbo")
    symbols: Names = Field(default=("ALL_SYMBOLS",), description="symbols that are followed")
    api: Api = Api()
    stream: Stream = Stream()
    recorder: Recorder = Recorder()
    log: Log = Log()
    telemetry: Telemetry = Telemetry()
    dashboard: Dashboard = Dashboard()
    gateway: Gateway = Gateway()
    clickhouse: Clickhouse = Clickhouse()
    databento: Databento = Databento()

    _sources: dict[str, str] = PrivateAttr(default_factory=dict)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what is given and nothing else: `mbo.config.load` says what comes before what."""
        return (init_settings,)

    def value(self, path: str) -> Any:
        """Look a value up by its dotted name; a secret stays hidden in its `SecretStr`."""
        found: Any = self
        for part in path.split("."):
            found = getattr(found, part)
        return found

    def explain(self) -> list[Setting]:
        """Say what is in force and where each value comes from, in the order of the model; secrets are masked."""
        return [
            Setting(
                place.path, _shown(self.value(place.path)), self._sources.get(place.path, "default"),
                place.variable, place.field.description or "",
            )
            for place in places()
        ]  # fmt: skip


def _shown(value: Any) -> Any:
    """Make a value plain, for a table and for JSON."""
    if isinstance(value, SecretStr):
        return _MASK
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, Path) else value


def places() -> list[Place]:
    """Give every value of the model, in its order."""
    return list(_places(Settings, "", "MBO_"))


def _places(model: type[BaseModel], path: str, variable: str) -> Iterator[Place]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from _places(field.annotation, f"{path}{name}.", f"{variable}{name.upper()}_")
        else:
            extra = field.json_schema_extra
            own = extra.get("variable") if isinstance(extra, dict) else None
            yield Place(path + name, str(own or variable + name.upper()), field)
