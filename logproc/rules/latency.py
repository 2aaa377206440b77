"""Rules on latency: the share of requests over an edge of a histogram, exact since every threshold is an edge."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from logproc.alerts.alert import Kind
from logproc.alerts.detectors import SHARES
from logproc.rules.ladder import KEEP_S, Measured, Rung, Scope, runbook, rungs, scopes, trials
from logproc.rules.promql import HELD, bound, braces, matching
from logproc.rules.rule import Alerting, Group, Recording, Series, Trial
from logproc.rules.share import MANY, WINDOW, lower_of, percent, surely, surely_over
from logproc.rules.trial import ENOUGH_MINUTES, judged_at, lag, merged, percentage, rising, series, single
from logproc.settings import Thresholds

_ALLOWED: Final = {share.kind: share.allowed for share in SHARES if share.allowed is not None}


@dataclass(frozen=True)
class Latency:
    """A histogram, and the threshold that it is judged by.

    `is_speed`: the threshold is tokens a second, the histogram holds seconds a token.
    """

    alert: str
    kind: Kind
    metric: str
    threshold: str
    english: str
    chinese: str
    is_speed: bool = False

    @property
    def allowed(self) -> float:
        """The share of requests that may be over it: the same as for logproc's own alerts."""
        return _ALLOWED[self.kind]

    def edge(self, level: float) -> float:
        """The edge of the histogram at a level of the threshold."""
        return 1 / level if self.is_speed else level


LATENCIES: Final = (
    Latency(
        "LatencyP99",
        "latency_p99",
        "request_duration_seconds",
        "duration_s",
        "of the requests took longer than {level:g} s",
        "的请求耗时超过 {level:g} 秒",
    ),
    Latency(
        "LatencyP95",
        "latency_p95",
        "request_duration_seconds",
        "duration_p95_s",
        "of the requests took longer than {level:g} s",
        "的请求耗时超过 {level:g} 秒",
    ),
    Latency(
        "TimeToFirstToken",
        "ttft",
        "time_to_first_token_seconds",
        "ttft_s",
        "of the streams waited longer than {level:g} s for their first token",
        "的流式请求等待首个 token 超过 {level:g} 秒",
    ),
    Latency(
        "TokensPerSecond",
        "tokens_per_second",
        "time_per_output_token_seconds",
        "tokens_per_second",
        "of the answers came slower than {level:g} tokens a second",
        "的回答生成速度低于每秒 {level:g} 个 token",
        is_speed=True,
    ),
)


def groups(thresholds: Thresholds, namespace: str) -> Iterator[Group]:
    """A group for each histogram."""
    for metric in dict.fromkeys(each.metric for each in LATENCIES):
        full = f"{namespace}_{metric}"
        judged = [
            (each, scope, _rungs(each, scope, full))
            for each in LATENCIES
            if each.metric == metric
            for scope in scopes(thresholds, each.threshold)
        ]
        edges = sorted({each.edge(rung.level) for each, _, ladder in judged for rung in ladder})
        yield Group(
            full,
            tuple(_recordings(full, edges)),
            tuple(rung.rule for _, _, ladder in judged for rung in ladder),
            tuple(trial for each, scope, ladder in judged for trial in _trials(each, scope, ladder, full)),
        )


def _recordings(full: str, edges: list[float]) -> Iterator[Recording]:
    over = f"model:{full}_over"
    count = f"model:{full}_count:increase{WINDOW}"
    yield Recording(count, f"sum by (model) (increase({full}_count[{WINDOW}]) {HELD})")
    for le in map(bound, edges):
        within = f"sum by (model) (increase({full}_bucket{matching(le=le)}[{WINDOW}]) {HELD})"
        yield Recording(f"{over}:increase{WINDOW}", f"{count}\n- {within}", {"le": le})
        yield lower_of(over, f"model:{full}_count", WINDOW, matching(le=le), le=le)


def _rungs(latency: Latency, scope: Scope, full: str) -> list[Rung]:
    def rule(severity: str, level: float) -> Alerting:
        where = braces([f'le="{bound(latency.edge(level))}"', *scope.matchers])
        share = percent(latency.allowed)
        return Alerting(
            latency.alert,
            latency.kind,
            severity,
            surely_over(f"model:{full}_over", latency.allowed, where),
            f"{{{{ $labels.model }}}}: more than {share} {latency.english.format(level=level)} in the last 5 minutes "
            "(at least {{ $value | humanizePercentage }})",
            f"{{{{ $labels.model }}}}：最近 5 分钟内超过 {share} {latency.chinese.format(level=level)}"
            "（至少 {{ $value | humanizePercentage }}）",
            runbook(latency.kind),
            scope.levels.for_s,
            KEEP_S[severity],
            scope.labels,
        )

    return [rung for rung in rungs(scope.levels, rule) if rung.level > 0]  # at 0 there is no edge


def _trials(latency: Latency, scope: Scope, ladder: list[Rung], full: str) -> Iterator[Trial]:
    """Every request takes equally long; that one slow request of twenty is no alert is tried too."""
    edges = sorted(latency.edge(rung.level) for rung in ladder)
    slower = -1 if latency.is_speed else 1
    at_s = judged_at(ENOUGH_MINUTES * 60, scope.levels.for_s)
    place = {"model": scope.model, "operation": "chat"}

    def observed(within: Callable[[float], float], count: float) -> Series:
        return merged(
            *(series(f"{full}_bucket", rising(within(edge)), le=bound(edge), **place) for edge in (*edges, math.inf)),
            series(f"{full}_count", rising(count), **place),
        )

    def all_take(value: float) -> Series:
        return observed(lambda edge: MANY if edge >= latency.edge(value) else 0, MANY)

    measured = Measured(
        labels={"model": scope.model},
        series=all_take,
        beyond=lambda level: level * (1 + slower * 1e-6),
        within=float,
        passes=lambda value, level: slower * value > slower * level,
        told=lambda _: percentage(surely(1)),
        at_s=at_s,
    )
    yield from trials(ladder, measured)
    if ladder:
        one_of_twenty = observed(lambda edge: 4 if edge == math.inf else 3.8, 4)
        yield single(latency.alert, "one slow request of twenty", merged(one_of_twenty, lag()), at_s)
