"""Rules on logproc itself: whoever decides, these are Prometheus' to notice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from logproc.rules.ladder import KEEP_S
from logproc.rules.promql import LAG_LIMIT_S
from logproc.rules.rule import Alerting, Fired, Group, Series
from logproc.rules.trial import INSTANCE, flat, judged_at, lag, merged, rising, series, single

JOB: Final = ".*logproc.*"
"""What the job that scrapes logproc is called."""

WATCHDOG: Final = "Watchdog"


@dataclass(frozen=True)
class Own:
    """One rule, the series that make it fire and those that must not; `labels` are those of its result."""

    name: str
    kind: str
    severity: str
    expr: str
    english: str
    chinese: str
    bad: Series
    good: Series
    for_s: float = 0.0
    labels: tuple[tuple[str, str], ...] = tuple(INSTANCE.items())
    value: str = ""


def group(namespace: str) -> Group:
    """All of them, and the one that always fires."""
    rules, tried = [], []
    for own in _all(namespace):
        rule = Alerting(
            own.name,
            own.kind,
            own.severity,
            own.expr,
            own.english,
            own.chinese,
            f"docs/prometheus.md#{own.name.lower()}",
            own.for_s,
            KEEP_S.get(own.severity, 0.0) if own.name != WATCHDOG else 0.0,
        )
        rules.append(rule)
        at_s = judged_at(20 * 60, own.for_s)
        tried.append(single(own.name, "so it fires", own.bad, at_s, (Fired(rule, dict(own.labels), own.value),)))
        if own.name != WATCHDOG:
            tried.append(single(own.name, "so it does not", own.good, at_s))
    return Group("logproc", (), tuple(rules), tuple(tried))


def _all(namespace: str) -> Iterator[Own]:
    yield Own(
        WATCHDOG,
        "watchdog",
        "none",
        "vector(1)",
        "Always fires. Whoever expects it and does not hear of it knows that alerts do not arrive",
        "始终触发。收不到它，就说明告警链路已断",
        {},
        {},
        labels=(),
    )
    yield from _reachable()
    yield from _reading(namespace)
    yield from _losing(namespace)
    yield from _telling()


def _reachable() -> Iterator[Own]:
    up, down = series("up", flat(1)), series("up", flat(0))
    yield Own(
        "LogprocDown",
        "logproc_down",
        "critical",
        f'up{{job=~"{JOB}"}} == 0',
        "logproc at {{ $labels.instance }} cannot be scraped: no metrics and no alerts from there",
        "无法抓取 {{ $labels.instance }} 上的 logproc：没有指标，也没有告警",
        down,
        up,
        for_s=60,
    )
    yield Own(
        "LogprocAbsent",
        "logproc_absent",
        "critical",
        f'absent(up{{job=~"{JOB}"}})',
        "no logproc is scraped: its job is missing in the configuration, or service discovery finds no target",
        "没有抓取任何 logproc：配置里缺少该任务，或服务发现没有目标",
        merged(series("other", flat(1))),
        up,
        for_s=300,
        labels=(),
    )


def _reading(namespace: str) -> Iterator[Own]:
    lines = "logproc_lines_total"
    yield Own(
        "LogAbsent",
        "log_absent",
        "warning",
        f'sum by (job, instance) ({lines}{{consumer="measure"}}) == 0\n'
        f'or sum by (job, instance) (increase({lines}{{consumer="measure"}}[10m])) == 0\n'
        f"and on(job, instance) {namespace}_last_heartbeat_timestamp_seconds",
        "logproc at {{ $labels.instance }} runs, but reads no line, not even heartbeats: does logs.paths name the log?",
        "{{ $labels.instance }} 上的 logproc 正在运行，但没有读到任何日志行（包括心跳）：logs.paths 是否正确？",
        series(lines, flat(0), consumer="measure", result="ok"),
        series(lines, rising(1), consumer="measure", result="ok"),
        for_s=600,
    )
    for severity, limit, for_s in (("warning", LAG_LIMIT_S, 120), ("critical", 300, 300)):
        yield Own(
            "LogprocLagging" if severity == "warning" else "LogprocFarBehind",
            "logproc_lag",
            severity,
            f'logproc_lag_seconds{{consumer="measure"}} >= {limit}',
            "logproc at {{ $labels.instance }} counts lines {{ $value | humanizeDuration }} late; "
            "alerts on rates are held back",
            "{{ $labels.instance }} 上的 logproc 落后 {{ $value | humanizeDuration }}；基于速率的告警暂停",
            lag(limit),
            lag(limit - 1),
            for_s=for_s,
            labels=(*INSTANCE.items(), ("consumer", "measure")),
            value=f"{limit}s" if limit < 60 else f"{limit // 60}m {limit % 60}s",
        )
    yield Own(
        "LogprocPaused",
        "logproc_paused",
        "warning",
        "logproc_paused == 1",
        "{{ $labels.consumer }} of logproc at {{ $labels.instance }} waits for its store or for disk space",
        "{{ $labels.instance }} 上 logproc 的 {{ $labels.consumer }} 正在等待存储或磁盘空间",
        series("logproc_paused", flat(1), consumer="index"),
        series("logproc_paused", flat(0), consumer="index"),
        for_s=300,
        labels=(*INSTANCE.items(), ("consumer", "index")),
    )
    yield Own(
        "LogprocLinesRejected",
        "logproc_lines_rejected",
        "warning",
        f'sum by (job, instance) (increase({lines}{{consumer="measure", result="rejected"}}[15m]))\n'
        f'/ sum by (job, instance) (increase({lines}{{consumer="measure"}}[15m])) > 0.01',
        "logproc at {{ $labels.instance }} rejects {{ $value | humanizePercentage }} of the lines: "
        "see rejected/measure.jsonl",
        "{{ $labels.instance }} 上的 logproc 拒绝了 {{ $value | humanizePercentage }} 的行：见 rejected/measure.jsonl",
        merged(_lines(rejected=25), lag()),
        merged(_lines(rejected=1), lag()),
        value="25%",
    )


def _lines(rejected: int) -> Series:
    """100 lines a minute."""
    return merged(
        series("logproc_lines_total", rising(100 - rejected), consumer="measure", result="ok"),
        series("logproc_lines_total", rising(rejected), consumer="measure", result="rejected"),
    )


def _losing(namespace: str) -> Iterator[Own]:
    lost, events, folded = f"{namespace}_lines_lost_total", "logproc_file_events_total", "logproc_series_folded_total"
    where = (*INSTANCE.items(), ("host", "gpu-1"), ("pid", "1"))
    yield Own(
        "LinesLost",
        "lines_lost",
        "warning",
        f"increase({lost}[15m]) > 0",
        '{{ $labels.host }}: the inference server could not write {{ $value | printf "%.0f" }} access lines',
        '{{ $labels.host }}：推理服务有 {{ $value | printf "%.0f" }} 行访问日志未能写入',
        series(lost, rising(2), host="gpu-1", pid="1"),
        series(lost, flat(7), host="gpu-1", pid="1"),
        labels=where,
        value="30",
    )
    yield Own(
        "LogFileLost",
        "log_file_lost",
        "warning",
        f'increase({events}{{event="lost"}}[15m]) > 0',
        "logproc at {{ $labels.instance }}: a log was deleted before it was read; logproc's own log names it",
        "{{ $labels.instance }} 上的 logproc：有日志在读完之前被删除，logproc 自己的日志里有文件名",
        series(events, rising(1), event="lost"),
        series(events, flat(3), event="lost"),
        labels=(*INSTANCE.items(), ("event", "lost")),
    )
    yield Own(
        "SeriesFolded",
        "series_folded",
        "warning",
        f"sum by (job, instance) (increase({folded}[1h])) > 0",
        "logproc at {{ $labels.instance }}: too many label sets, new ones count as __other__: see metrics.max_series",
        "{{ $labels.instance }} 上的 logproc：标签组合过多，新组合计入 __other__：见 metrics.max_series",
        series(folded, rising(1), metric="requests"),
        series(folded, flat(9), metric="requests"),
    )


def _telling() -> Iterator[Own]:
    failing = "logproc_notifications_failing"
    yield Own(
        "NotificationsFailing",
        "notifications_failing",
        "critical",
        f"{failing} == 1",
        "{{ $labels.channel }} takes no messages from logproc at {{ $labels.instance }}: try logproc notify-test",
        "{{ $labels.channel }} 不接收 {{ $labels.instance }} 上 logproc 的消息：请运行 logproc notify-test",
        series(failing, flat(1), channel="ops"),
        series(failing, flat(0), channel="ops"),
        for_s=300,
        labels=(*INSTANCE.items(), ("channel", "ops")),
    )
