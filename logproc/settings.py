"""The settings of one pipeline: one YAML file, every key with its default but `logs.paths`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from logproc.settings_login import Kibana, Login
from logproc.settings_notifiers import AnyNotifier
from logproc.settings_section import Section

Positive = Annotated[float, Field(gt=0)]
Ratio = Annotated[float, Field(gt=0, le=1)]
Level = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Severity = Literal["warning", "critical", "disaster"]


class Logs(Section):
    """Which access logs to follow."""

    paths: list[str] = Field(min_length=1, description="Globs; rotated and packed siblings are found by themselves.")
    start: Literal["beginning", "end"] = Field(
        "beginning", description="Where to begin, for the very first start of a state directory only."
    )
    format: Literal["jsonl", "cri", "docker"] = Field("jsonl", description="How a container runtime wraps each line.")
    poll_s: float = Field(
        1.0, gt=0, le=60, description="Seconds between two looks at the directories when no file event comes."
    )

    @property
    def wrapped(self) -> Literal["cri", "docker"] | None:
        """How a container runtime wraps each line; None where none does."""
        return None if self.format == "jsonl" else self.format


class Http(Section):
    """Where logproc itself answers."""

    listen: str = Field("127.0.0.1:9470", description="HOST:PORT; METRICS_PORT in the environment overrides the port.")
    token_file: Path | None = Field(None, description="File with the bearer token; required beyond loopback.")
    tls_cert: Path | None = None
    tls_key: Path | None = None

    @field_validator("listen")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        host, colon, port = value.rpartition(":")
        if not colon or not host or not port.isdigit() or not 0 <= int(port) <= 65535:
            raise ValueError(f"expected HOST:PORT such as 127.0.0.1:9470, got {value!r}")
        return value

    @property
    def host(self) -> str:
        """The address without its port, without the brackets of IPv6."""
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port; METRICS_PORT in the environment overrides it."""
        override = os.environ.get("METRICS_PORT", "")
        return int(override) if override.isdigit() else int(self.listen.rpartition(":")[2])

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in {"localhost", "::1"} or self.host.startswith("127.")


class Metrics(Section):
    """How metrics are named and how many series there may be."""

    namespace: str = Field("llm", pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")
    max_series: int = Field(2000, ge=1, description="Label sets a metric; later ones fold into `__other__`.")


class SqliteStore(Section):
    """Documents on this machine, one file a day."""

    kind: Literal["sqlite"] = "sqlite"
    keep_days: int = Field(30, ge=1)


class ElasticsearchStore(Login):
    """Documents in Elasticsearch. Secrets come from the environment or from files, and are never printed."""

    kind: Literal["elasticsearch"]
    urls: list[str] = Field(default_factory=lambda: ["http://localhost:9200"], min_length=1)
    cloud_id: str | None = Field(None, description="In place of `urls`.")
    index: str = Field("llm-access", pattern=r"^[a-z0-9][a-z0-9_.-]*$")
    period: Literal["day", "week", "month"] = Field("week", description="How much time one index covers.")
    hot_days: int = Field(30, ge=0, description="Days before the lifecycle moves an index to cold nodes.")
    keep_days: int = Field(1095, ge=1, description="Older lines are counted `expired`; older indices are deleted.")
    gzip: bool = Field(False, description="Pack what is sent: less traffic for more CPU.")

    @field_validator("urls")
    @classmethod
    def _plain_urls(cls, urls: list[str]) -> list[str]:
        for url in urls:
            if not url.startswith(("http://", "https://")):
                raise ValueError("expected URLs such as http://localhost:9200")
            if "@" in url:
                raise ValueError("no user or password in a URL: set `username` and `password_file`")
        return urls


Store = Annotated[SqliteStore | ElasticsearchStore, Field(discriminator="kind")]


def _duration_s(value: object) -> object:
    """Seconds from `90`, `90s`, `2m` or `1h`; anything else is left to pydantic to refuse."""
    units = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
    if isinstance(value, str) and value[-1:] in units and value[:-1].replace(".", "", 1).isdigit():
        return float(value[:-1]) * units[value[-1]]
    return value


class Levels(Section):
    """One threshold: a level for each severity, and how long it must hold (`for`, seconds)."""

    warning: Level | None = None
    critical: Level | None = None
    disaster: Level | None = None
    for_s: float = Field(0.0, ge=0, alias="for")

    _seconds = field_validator("for_s", mode="before")(_duration_s)

    @property
    def lowest(self) -> float | None:
        """The level of the mildest severity that is set: the bound of a flag."""
        return next((level for level in (self.warning, self.critical, self.disaster) if level is not None), None)

    @property
    def all(self) -> tuple[float, ...]:
        """Every level that is set."""
        return tuple(level for level in (self.warning, self.critical, self.disaster) if level is not None)


def _as_levels(value: object) -> object:
    """A number is the warning level; null is off."""
    if value is None:
        return {}
    if isinstance(value, int | float) and not isinstance(value, bool):
        return {"warning": value}
    return value


class SlowForSize(Section):
    """What is usual for a request of its size; seconds."""

    ttft_base_s: Positive = 0.5
    ttft_per_1k_prompt_s: Positive = 0.5
    s_per_token: Positive = 0.05


class ModelThresholds(Section):
    """The thresholds that one model may have of its own; a key that is not given is that of all models."""

    duration_s: Levels | None = None
    duration_p95_s: Levels | None = None
    ttft_s: Levels | None = None
    tokens_per_second: Levels | None = None
    stall_s: Levels | None = None
    slow_for_size: SlowForSize | None = None

    @field_validator("duration_s", "duration_p95_s", "ttft_s", "tokens_per_second", "stall_s", mode="before")
    @classmethod
    def _numbers(cls, value: object) -> object:
        return _as_levels(value)


class Thresholds(Section):
    """Written once: flags, alerts, rules and dashboards come from here."""

    duration_s: Levels = Levels(warning=3.0)
    duration_p95_s: Levels = Levels(warning=5.0, **{"for": 120.0})
    ttft_s: Levels = Levels(warning=0.8)
    tokens_per_second: Levels = Levels(warning=20.0)
    stall_s: Levels = Levels(warning=2.0)
    slow_for_size: SlowForSize | None = SlowForSize()
    error_ratio: Levels = Levels(warning=0.05, critical=0.10)
    error_budget: Ratio | None = 0.01
    empty_ratio: Levels = Levels(warning=0.01)
    kv_cache_ratio: Levels = Levels(warning=0.95)
    gpu_memory_ratio: Levels = Levels()
    gpu_memory_bytes: Levels = Levels()
    silent_s: Levels = Levels(warning=300.0)
    server_gone_s: Levels = Levels(warning=30.0)
    startup_s: Levels = Levels()
    queue_growth: Levels = Levels(warning=2.0)
    drift: Levels = Levels(warning=2.0)
    models: dict[str, ModelThresholds] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _numbers(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        plain = {"slow_for_size", "error_budget", "models"}
        return {key: value if key in plain or key not in cls.model_fields else _as_levels(value)
                for key, value in values.items()}  # fmt: skip


class Targets(Section):
    """What `report` judges by."""

    ttft_s: Positive = 0.8
    server_tokens_per_second: Positive = 180.0
    requests_per_second: Positive = 4.0


class Escalation(Section):
    """Whom else to tell of what nobody has acknowledged."""

    after_s: float = Field(gt=0, alias="after", description="How long it may fire unacknowledged, e.g. 15m.")
    to: list[str] = Field(min_length=1)

    _seconds = field_validator("after_s", mode="before")(_duration_s)


class Route(Section):
    """Which alerts go to which notifiers. The relay takes what Alertmanager sends to a route by the route's name."""

    severity: list[Severity]
    to: list[str]
    escalate: Escalation | None = None
    dedupe_s: float = Field(
        300.0,
        ge=0,
        alias="dedupe",
        description="Relay: the same group again within this time is the other Alertmanager's.",
    )

    _seconds = field_validator("dedupe_s", mode="before")(_duration_s)


class Alerts(Section):
    """Who decides, and who is told."""

    decide: Literal["logproc", "prometheus"] = "logproc"
    warm_up_s: float = Field(
        180.0, ge=0, alias="warm_up", description="Log time for which a new model or server is not judged."
    )
    repeat_s: Annotated[float, Field(ge=60)] | None = Field(
        14400.0, alias="repeat", description="What still fires is told again after this time; null: never."
    )
    routes: dict[str, Route] = Field(default_factory=dict)

    _seconds = field_validator("repeat_s", "warm_up_s", mode="before")(_duration_s)


class Price(Section):
    """Per million tokens."""

    input: Annotated[float, Field(ge=0)]
    output: Annotated[float, Field(ge=0)]


class Settings(Section):
    """One pipeline."""

    service: str = Field("vllm", description="`service.name` in documents.")
    logs: Logs
    state: Path = Path("var/logproc")
    http: Http = Http()
    metrics: Metrics = Metrics()
    store: Store = SqliteStore()
    kibana: Kibana = Kibana()
    thresholds: Thresholds = Thresholds()
    targets: Targets = Targets()
    alerts: Alerts = Alerts()
    notifiers: dict[str, Annotated[AnyNotifier, Field(discriminator="kind")]] = Field(default_factory=dict)
    prices: dict[str, Price] = Field(default_factory=dict)

    @field_validator("store", mode="before")
    @classmethod
    def _sqlite_unless_said(cls, value: object) -> object:
        return {"kind": "sqlite"} | value if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Settings:
        for name, route in self.alerts.routes.items():
            escalated = [("escalate.to", target) for target in route.escalate.to] if route.escalate else []
            for key, target in [*(("to", target) for target in route.to), *escalated]:
                if target not in self.notifiers:
                    known = ", ".join(sorted(self.notifiers)) or "none is defined"
                    raise ValueError(f"alerts.routes.{name}.{key} names the notifier {target!r}; known: {known}")
        for name, notifier in self.notifiers.items():
            if notifier.fallback is not None and notifier.fallback not in self.notifiers.keys() - {name}:
                raise ValueError(f"notifiers.{name}.fallback names {notifier.fallback!r}, which is no other notifier")
        if not self.http.is_loopback and self.http.token_file is None:
            raise ValueError(
                f"http.listen is {self.http.listen}, which others can reach: set http.token_file or listen on 127.0.0.1"
            )
        if self.http.tls_key and not self.http.tls_cert:
            raise ValueError("http.tls_key needs http.tls_cert")
        return self
