"""Rules on outcomes: failed requests, empty answers, and an error budget that burns too fast."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from logproc.record import GENERATION
from logproc.rules.ladder import KEEP_S, Measured, runbook, rungs, trials
from logproc.rules.promql import HELD
from logproc.rules.rule import Alerting, Fired, Group, Recording, Series
from logproc.rules.share import MANY, WINDOW, WINDOW_MINUTES, lower_of, percent, surely, surely_over
from logproc.rules.trial import ENOUGH_MINUTES, MODEL, judged_at, lag, merged, percentage, rising, series, single
from logproc.settings import Levels, Thresholds

ANSWERABLE: Final = 'status!~"4.."'
"""Selects the requests among which failures are counted."""
FAILED: Final = (
    'status=~"5.."',
    'status!~"[45]..", outcome=~"server_error|stream_error"',
    'status=~"2..", outcome="rejected"',
)
"""Select those that failed, each of them once: the status alone lies."""
GENERATIONS: Final = (
    f'operation=~"{"|".join(sorted(GENERATION))}", status=~"2..", outcome=~"ok|empty|truncated|reasoning_only"'
)
"""Selects the requests that should be answered with text."""

BURN_RATES: Final = (
    ("1h", "5m", 14.4, "critical"),
    ("6h", "30m", 6.0, "critical"),
    ("1d", "2h", 3.0, "warning"),
    ("3d", "6h", 1.0, "warning"),
)
"""The long window, the short one that ends the alert soon after the failures, how many times as fast as allowed."""


def groups(thresholds: Thresholds, namespace: str) -> Iterator[Group]:
    """Failed requests, empty answers, the error budget."""
    yield _errors(thresholds.error_ratio, namespace)
    yield _empty(thresholds.empty_ratio, namespace)
    if thresholds.error_budget is not None:
        yield _budget(thresholds.error_budget, namespace)


def _increase(namespace: str, metric: str, selectors: tuple[str, ...], window: str = WINDOW) -> str:
    """By model, how often requests of some kinds came that have nothing in common."""
    parts = [f"increase({namespace}_{metric}{{{selector}}}[{window}])" for selector in selectors]
    if len(parts) == 1:
        return f"sum by (model) ({parts[0]} {HELD})"
    return "sum by (model) (\n  (\n    " + "\n    or ".join(parts) + f"\n  ) {HELD}\n)"


def _errors(levels: Levels, namespace: str) -> Group:
    counted, whole = f"model:{namespace}_requests_failed", f"model:{namespace}_requests_answerable"
    return _group(
        levels,
        "Errors",
        "errors",
        (counted, whole),
        (
            Recording(f"{whole}:increase{WINDOW}", _increase(namespace, "requests_total", (ANSWERABLE,))),
            Recording(f"{counted}:increase{WINDOW}", _increase(namespace, "requests_total", FAILED)),
        ),
        ("of the requests failed", "的请求失败"),
        lambda share, many: failing(namespace, share, many),
    )


def _empty(levels: Levels, namespace: str) -> Group:
    counted, whole = f"model:{namespace}_answers_empty", f"model:{namespace}_answers"
    empties = _increase(namespace, "flags_total", ('kind="empty_completion"',))
    return _group(
        levels,
        "EmptyAnswers",
        "empty",
        (counted, whole),
        (
            Recording(f"{whole}:increase{WINDOW}", _increase(namespace, "requests_total", (GENERATIONS,))),
            Recording(f"{counted}:increase{WINDOW}", empties),
        ),
        ("of the answers were empty", "的回答为空"),
        lambda share, many: _emptying(namespace, share, many),
    )


def _group(
    levels: Levels,
    alert: str,
    kind: str,
    names: tuple[str, str],
    recordings: tuple[Recording, ...],
    sentence: tuple[str, str],
    seen: Callable[[float, float], Series],
) -> Group:
    """A share of requests against a ratio of the settings; `seen` makes the input of a share of so many a minute."""
    counted, whole = names
    english, chinese = sentence

    def rule(severity: str, level: float) -> Alerting:
        return Alerting(
            alert,
            kind,
            severity,
            surely_over(counted, level),
            f"{{{{ $labels.model }}}}: more than {percent(level)} {english} in the last 5 minutes "
            "(at least {{ $value | humanizePercentage }})",
            f"{{{{ $labels.model }}}}：最近 5 分钟内超过 {percent(level)} {chinese}"
            "（至少 {{ $value | humanizePercentage }}）",
            runbook(kind),
            levels.for_s,
            KEEP_S[severity],
        )

    ladder = [rung for rung in rungs(levels, rule) if rung.level < surely(1)]  # nothing is more than everything
    at_s = judged_at(ENOUGH_MINUTES * 60, levels.for_s)
    measured = Measured(
        labels={"model": MODEL},
        series=lambda share: seen(share, MANY),
        beyond=_beyond,
        within=float,
        passes=lambda share, level: surely(share) > level,
        told=lambda share: percentage(surely(share)),
        at_s=at_s,
    )
    tried = list(trials(ladder, measured))
    if ladder:
        few = merged(seen(1 / 20, 20 / WINDOW_MINUTES), lag())
        tried.append(single(alert, "one request of twenty", few, at_s))
    return Group(
        counted.removeprefix("model:"),
        (*recordings, lower_of(counted, whole)),
        tuple(rung.rule for rung in ladder),
        tuple(tried),
    )


def _beyond(level: float) -> float:
    return min(1.0, level * 1.2 + 0.02)


def failing(namespace: str, share: float, a_minute: float) -> Series:
    """A share of the requests fails, in each of the ways; as many again are refused with 429, which is no failure."""
    kinds = {
        ("200", "ok"): 1 - share,
        ("500", "server_error"): share / 2,
        ("200", "stream_error"): share / 4,
        ("200", "rejected"): share / 4,
        ("429", "rejected"): 1.0,
    }
    return merged(
        *(
            series(
                f"{namespace}_requests_total",
                rising(part * a_minute),
                model=MODEL,
                operation="chat",
                status=status,
                outcome=outcome,
            )
            for (status, outcome), part in kinds.items()
        )
    )


def _emptying(namespace: str, share: float, a_minute: float) -> Series:
    """A share of the answers is empty; of the requests that should not hold text, none is."""
    kinds = {("chat", "ok"): 1 - share, ("chat", "empty"): share, ("embeddings", "ok"): 1.0}
    return merged(
        *(
            series(
                f"{namespace}_requests_total",
                rising(part * a_minute),
                model=MODEL,
                operation=operation,
                status="200",
                outcome=outcome,
            )
            for (operation, outcome), part in kinds.items()
        ),
        series(f"{namespace}_flags_total", rising(share * a_minute), kind="empty_completion", model=MODEL),
    )


def _budget(budget: float, namespace: str) -> Group:
    """Pairs of windows: what burns the budget of 30 days so fast that it will not last."""
    counted, whole = f"model:{namespace}_requests_failed", f"model:{namespace}_requests_answerable"
    windows = dict.fromkeys(window for long, short, _, _ in BURN_RATES for window in (short, long))
    recordings = []
    for window in windows:
        if window != WINDOW:
            of, failed = (_increase(namespace, "requests_total", each, window) for each in ((ANSWERABLE,), FAILED))
            recordings += [
                Recording(f"{whole}:increase{window}", of),
                Recording(f"{counted}:increase{window}", failed),
            ]
        if window in {long for long, _, _, _ in BURN_RATES}:
            recordings.append(lower_of(counted, whole, window))
    burning = [pair for pair in BURN_RATES if pair[2] * budget < surely(1)]
    rules = [_burn_rule(counted, whole, budget, *pair) for pair in burning]
    tried = []
    at_s = judged_at(ENOUGH_MINUTES * 60)
    for _, _, factor, _ in burning:
        for share in (_beyond(factor * budget), factor * budget):
            sure = surely(share, ENOUGH_MINUTES)
            fires = tuple(
                Fired(rule, {"model": MODEL}, percentage(sure))
                for rule, pair in zip(rules, burning, strict=True)
                if sure > pair[2] * budget
            )
            series_of = merged(failing(namespace, share, MANY), lag())
            tried.append(single("ErrorBudget", f"{percent(share)} fail", series_of, at_s, fires))
    return Group(f"{namespace}_error_budget", tuple(recordings), tuple(rules), tuple(tried))


def _burn_rule(
    counted: str, whole: str, budget: float, long: str, short: str, factor: float, severity: str
) -> Alerting:
    allowed = f"{factor * budget:.9g}"
    return Alerting(
        "ErrorBudget",
        "errors",
        severity,
        f"{counted}:wilson_lower{long} > {allowed}\n"
        f"and on(model) {counted}:increase{short} / on(model) {whole}:increase{short} > {allowed}",
        f"{{{{ $labels.model }}}}: at least {{{{ $value | humanizePercentage }}}} of the requests of the last {long} "
        f"failed, {factor:g} times what the error budget of {percent(budget)} allows",
        f"{{{{ $labels.model }}}}：最近 {long} 内至少 {{{{ $value | humanizePercentage }}}} 的请求失败，"
        f"是错误预算（{percent(budget)}）允许速度的 {factor:g} 倍",
        runbook("errors"),
        keep_s=KEEP_S[severity],
        more_labels={"window": long},
    )
