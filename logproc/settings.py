"""The settings of one pipeline: one YAML file, every key with its default but `logs.paths`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from logproc.settings_login import Kibana, Login
from logproc.settings_notifiers import AnyNotifier
from logproc.settings_section import Positive, Section, at, seconds
from logproc.settings_thresholds import Levels, ModelThresholds, SlowForSize, Thresholds

__all__ = ["Levels", "ModelThresholds", "Settings", "SlowForSize", "Thresholds"]

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


class Targets(Section):
    """What `report` judges by."""

    ttft_s: Positive = 0.8
    server_tokens_per_second: Positive = 180.0
    requests_per_second: Positive = 4.0


class Escalation(Section):
    """Whom else to tell of what nobody has acknowledged."""

    after_s: float = Field(gt=0, alias="after", description="How long it may fire unacknowledged, e.g. 15m.")
    to: list[str] = Field(min_length=1)

    _seconds = field_validator("after_s", mode="before")(seconds)


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

    _seconds = field_validator("dedupe_s", mode="before")(seconds)


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

    _seconds = field_validator("repeat_s", "warm_up_s", mode="before")(seconds)


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
            here = ("alerts", "routes", name)
            escalated = [((*here, "escalate", "to"), target) for target in route.escalate.to] if route.escalate else []
            for key, target in [*(((*here, "to"), target) for target in route.to), *escalated]:
                if target not in self.notifiers:
                    known = ", ".join(sorted(self.notifiers)) or "none is defined"
                    raise at(key, f"{'.'.join(key)} names the notifier {target!r}; known: {known}")
        for name, notifier in self.notifiers.items():
            if notifier.fallback is not None and notifier.fallback not in self.notifiers.keys() - {name}:
                raise at(
                    ("notifiers", name, "fallback"),
                    f"notifiers.{name}.fallback names {notifier.fallback!r}, which is no other notifier",
                )
        if not self.http.is_loopback and self.http.token_file is None:
            raise at(
                ("http", "listen"),
                f"http.listen is {self.http.listen}, which others can reach: "
                "set http.token_file or listen on 127.0.0.1",
            )
        if self.http.tls_key and not self.http.tls_cert:
            raise at(("http", "tls_key"), "http.tls_key needs http.tls_cert")
        return self

    @property
    def never_told(self) -> list[str]:
        """The notifiers that no route and no other notifier names."""
        routes = self.alerts.routes.values()
        named = {target for route in routes for target in (*route.to, *(route.escalate.to if route.escalate else ()))}
        named |= {notifier.fallback for notifier in self.notifiers.values() if notifier.fallback is not None}
        return [name for name in self.notifiers if name not in named]
