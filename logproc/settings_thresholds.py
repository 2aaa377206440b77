"""The thresholds in the settings: a number or levels each, for all models and for one."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Final

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from logproc.settings_section import Positive, Section, at, seconds

Level = Annotated[float, Field(ge=0, allow_inf_nan=False)]

_SHARE: Final = "expected a share from 0 to 1: 5 % is 0.05"
_SHARES: Final = frozenset({"error_ratio", "empty_ratio", "kv_cache_ratio", "gpu_memory_ratio"})
_LOW_IS_BAD: Final = frozenset({"tokens_per_second"})
_NO_LEVELS: Final = frozenset({"slow_for_size", "error_budget", "models"})


def _share_above_none(value: float) -> float:
    if not 0 < value <= 1:
        raise ValueError(f"{_SHARE}; null is off")
    return value


ErrorBudget = Annotated[
    float, AfterValidator(_share_above_none), Field(json_schema_extra={"exclusiveMinimum": 0, "maximum": 1})
]


class Levels(Section):
    """One threshold: a level for each severity, and how long it must hold (`for`, seconds)."""

    warning: Level | None = None
    critical: Level | None = None
    disaster: Level | None = None
    for_s: float = Field(0.0, ge=0, alias="for")

    _seconds = field_validator("for_s", mode="before")(seconds)

    @property
    def lowest(self) -> float | None:
        """The level of the mildest severity that is set: the bound of a flag."""
        return next((level for level in (self.warning, self.critical, self.disaster) if level is not None), None)

    @property
    def all(self) -> tuple[float, ...]:
        """Every level that is set."""
        return tuple(self.by_severity.values())

    @property
    def by_severity(self) -> dict[str, float]:
        """Every level that is set, by its severity, the mildest first."""
        levels = {"warning": self.warning, "critical": self.critical, "disaster": self.disaster}
        return {severity: level for severity, level in levels.items() if level is not None}


class _WithLevels(Section):
    """Thresholds by name: most of them a number, null or levels."""

    @field_validator("*", mode="before")
    @classmethod
    def _as_levels(cls, value: object, info: ValidationInfo) -> object:
        """A number is the warning level; null is off."""
        name = str(info.field_name)
        if name in _NO_LEVELS or isinstance(value, dict | Levels):
            return value
        if value is None:
            return {}
        if isinstance(value, int | float) and not isinstance(value, bool):
            return {"warning": value}
        raise ValueError(f"expected {_example(name)}")

    @field_validator("*")
    @classmethod
    def _in_order(cls, value: object, info: ValidationInfo) -> object:
        """The worse the severity, the worse the level; and no share is over 1."""
        if not isinstance(value, Levels):
            return value
        name = str(info.field_name)
        for severity, level in value.by_severity.items():
            if name in _SHARES and level > 1:
                raise at((severity,), f"{_SHARE}, found {level:g} for {severity}")
        for (milder, first), (worse, second) in pairwise(value.by_severity.items()):
            if name in _LOW_IS_BAD and second > first:
                raise at(
                    (worse,), f"{worse} {second:g} is over {milder} {first:g}: low is bad here, so it is at most that"
                )
            if name not in _LOW_IS_BAD and second < first:
                raise at(
                    (worse,),
                    f"{worse} {second:g} is under {milder} {first:g}: high is bad here, so it is at least that",
                )
        return value


def _example(name: str) -> str:
    if name in _SHARES:
        return "a share such as 0.05, or levels: {warning: 0.05, critical: 0.1}"
    if name in _LOW_IS_BAD:
        return "a number such as 20, or levels: {warning: 20, critical: 10}"
    what = "a number of seconds" if name.endswith("_s") else "a number"
    return f"{what} such as 3, or levels: {{warning: 3, critical: 10}}"


class SlowForSize(Section):
    """What is usual for a request of its size; seconds."""

    ttft_base_s: Positive = 0.5
    ttft_per_1k_prompt_s: Positive = 0.5
    s_per_token: Positive = 0.05


class ModelThresholds(_WithLevels):
    """The thresholds that one model may have of its own; a key that is not given is that of all models."""

    duration_s: Levels | None = None
    duration_p95_s: Levels | None = None
    ttft_s: Levels | None = None
    tokens_per_second: Levels | None = None
    stall_s: Levels | None = None
    slow_for_size: SlowForSize | None = None


class Thresholds(_WithLevels):
    """Written once: flags, alerts, rules and dashboards come from here."""

    duration_s: Levels = Levels(warning=3.0)
    duration_p95_s: Levels = Levels(warning=5.0, **{"for": 120.0})
    ttft_s: Levels = Levels(warning=0.8)
    tokens_per_second: Levels = Levels(warning=20.0)
    stall_s: Levels = Levels(warning=2.0)
    slow_for_size: SlowForSize | None = SlowForSize()
    error_ratio: Levels = Levels(warning=0.05, critical=0.10)
    error_budget: ErrorBudget | None = 0.01
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
