"""How the demo looks: the live screen (80 × 24), the plain lines without a terminal, and the summary at the end."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from logproc.alerts.alert import Alert
from logproc.demo.alerts import sentences, short
from logproc.demo.incidents import coming, playing
from logproc.demo.numbers import PARTS, WINDOW_S, Growth, Look, Percentiles

TITLE: Final = "stand-in server, no model behind it"
FLAGGED_SHOWN: Final = 2
ALERTS_SHOWN: Final = 3
TREND_S: Final = 20

_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_STYLES: Final = {"ok": "green", "truncated": "yellow", "client_disconnect": "yellow", "reasoning_only": "yellow"}
_PART_STYLES: Final = {"queue": ("█", "red"), "prefill": ("▒", "yellow"), "decode": ("░", "green")}
_BAR: Final = 16
_WIDTH: Final = 64
"""Columns beside the labels, of a terminal of 80."""


@dataclass(frozen=True, slots=True)
class Pointers:
    """Where to look further: the address of HTTP, the command, and the directory of log and state."""

    address: str
    command: str
    folder: str


class Screen:
    """Draws the live view from what it is told at each turn."""

    def __init__(self, pointers: Pointers) -> None:
        self._pointers = pointers
        self._rates: deque[float] = deque([0.0] * TREND_S, TREND_S)
        self._slowest: deque[float] = deque([0.0] * TREND_S, TREND_S)

    def note(self, lately: Growth) -> None:
        """Take what the last few seconds brought, for the two trends; once a second."""
        self._rates.append(lately.requests_per_s)
        self._slowest.append(lately.duration_ms[1] or 0.0)

    def draw(
        self,
        seconds: float,
        total: Look,
        recent: Growth,
        load: Mapping[str, float],
        flagged: Sequence[Mapping[str, Any]],
        alerts: Sequence[Alert] = (),
    ) -> RenderableType:
        """The whole view, `seconds` after the start; `flagged` are the newest odd requests, as documents, and `alerts`
        the newest entry of each alert, the newest alert last.
        """
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_column(style="bold", min_width=14, no_wrap=True)
        grid.add_column(no_wrap=True)
        rate = f"{recent.requests_per_s:.1f} /s, {recent.tokens_per_s:,.0f} tokens/s"
        grid.add_row("requests", Text(f"{rate:39}").append(f"    {_trend(self._rates)}", "cyan"))
        grid.add_row("duration", _percentiles(recent.duration_ms).append(f"  P95 {_trend(self._slowest)}", "cyan"))
        grid.add_row("first token", _percentiles(recent.first_token_ms))
        grid.add_row("engine time", _where_time_goes(recent.mean_ms))
        grid.add_row("load", _load(load))
        grid.add_row("outcomes", _counts(total.outcomes, _STYLES, "red", 2))
        grid.add_row("flags", _counts(total.flags, {}, "yellow", 2))
        grid.add_row("alerts", _alerts(alerts))
        return Group(
            _head(seconds, total.requests),
            _caption(seconds),
            Text(f"rates and times: the last {WINDOW_S:.0f} s; outcomes and flags: since the start", "dim"),
            grid,
            _flagged(flagged),
            Text(),
            Text.assemble(("open          ", "bold"), f"  {self._pointers.address}/  {self._pointers.address}/metrics"),
            Text.assemble(("look further  ", "bold"), "  in another terminal (Ctrl-C ends the demo):"),
            Text(f"  {self._pointers.command}", "cyan", overflow="fold"),
        )


def plain_line(seconds: float, total: Look, recent: Growth, load: Mapping[str, float]) -> str:
    """One line for a log: the same numbers."""
    incident = playing(seconds)
    parts = [
        f"{seconds:5.0f} s",
        f"{recent.requests_per_s:4.1f} req/s",
        f"{recent.tokens_per_s:5.0f} tokens/s",
        f"duration {_percentiles(recent.duration_ms).plain}",
        f"first token {_percentiles(recent.first_token_ms).plain}",
        "outcomes " + (_plain_counts(total.outcomes) or "none yet"),
        "flags " + (_plain_counts(total.flags) or "none"),
    ]
    if "waiting" in load:
        parts.append(f"queue {load['waiting']:.0f}")
    if incident is not None:
        parts.append(f"incident: {incident.title}")
    return " | ".join(parts)


def alert_line(seconds: float, alert: Alert) -> str:
    """One line for a log about a change of an alert."""
    return f"{seconds:5.0f} s | ALERT {alert.state} {alert.severity} {alert.kind}: {alert.text['en']}"


def summary(
    total: Look, all_time: Growth, counted: Mapping[str, int], pointers: Pointers, alerts: Sequence[Alert] = ()
) -> RenderableType:
    """What the demo did, and where to go on. `counted` says how many lines the log, the metrics and the store have."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="bold", width=14, no_wrap=True)
    grid.add_column()
    others = total.lines.total() - total.requests
    own = f", and {others:,} lines of the server's own" if others else ""
    grid.add_row("requests", f"{total.requests:,} in {all_time.seconds:.0f} s{own}")
    grid.add_row("outcomes", _counts(total.outcomes, _STYLES, "red"))
    grid.add_row("flags", _counts(total.flags, {}, "yellow"))
    grid.add_row("alerts", sentences(alerts))
    grid.add_row("duration", _percentiles(all_time.duration_ms))
    grid.add_row("first token", _percentiles(all_time.first_token_ms))
    grid.add_row("tokens", f"{total.tokens['prompt']:,} prompt, {total.tokens['completion']:,} completion")
    told = ", ".join(f"{count:,} {what}" for what, count in counted.items())
    if len(set(counted.values())) == 1 and not total.lines_lost:
        grid.add_row("lines", Text(f"{told}: each once, 0 lost", "green"))
    else:
        grid.add_row("lines", Text(f"{told}; {total.lines_lost:,} lost: these should be equal", "bold red"))
    return Group(
        Text(f"logproc demo: {TITLE}", "bold"),
        grid,
        Text.assemble("Log and state stay in ", (pointers.folder, "cyan"), ". Look further:"),
        Text(f"  {pointers.command}", "cyan", no_wrap=True, overflow="ignore"),
    )


# --- parts -----------------------------------------------------------------------------------------------------------


def _head(seconds: float, requests: int) -> RenderableType:
    minutes, rest = divmod(int(seconds), 60)
    head = Table.grid(expand=True)
    head.add_column()
    head.add_column(justify="right")
    head.add_row(
        Text.assemble(("logproc demo", "bold"), f"   {TITLE}"),
        f"{minutes:02}:{rest:02}  {requests:,} requests",
    )
    return head


def _caption(seconds: float) -> Text:
    incident = playing(seconds)
    if incident is not None:
        return Text.assemble((f" incident: {incident.title} ", "bold white on red"), f" {incident.detail} (on purpose)")
    following, wait = coming(seconds)
    return Text(f"next incident in {wait:.0f} s: {following.title}", "dim")


def _ms(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0f} ms" if value < 999.5 else f"{value / 1000:.2f} s"


def _percentiles(values: Percentiles) -> Text:
    return Text("  ".join(f"{name} {_ms(value):>7}" for name, value in zip(("P50", "P95", "P99"), values, strict=True)))


def _trend(values: Sequence[float]) -> str:
    """One block a second, from nothing to the highest of them."""
    top = max(values)
    return "".join(_BLOCKS[round(value / top * 7)] if top else _BLOCKS[0] for value in values)


def _where_time_goes(means: Mapping[str, float]) -> Text:
    """The mean time of a request in each part of the engine, and a bar of their shares."""
    total = sum(means.values())
    if not total:
        return Text("–", "dim")
    text = Text()
    for part in PARTS:
        text.append(f"{part} {_ms(means.get(part))}  ", _PART_STYLES[part][1])
    for part in PARTS:
        block, style = _PART_STYLES[part]
        text.append(block * round(means.get(part, 0.0) / total * _BAR), style)
    return text


def _load(load: Mapping[str, float]) -> Text:
    if not load:
        return Text("the first heartbeat comes after 10 s", "dim")
    text = Text(", ".join(f"{value:.0f} {name}" for name, value in load.items()))
    return text.append("   (told every 10 s)", "dim")


def _plain_counts(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.most_common())


def _counts(counts: Counter[str], styles: Mapping[str, str], usual: str, lines: int = 1) -> Text:
    """Names and counts, the most frequent first, on as many lines as are needed, `lines` at least."""
    text, used, begun = Text() if counts else Text("none", "dim"), 0, 1
    for name, count in counts.most_common():
        piece = f"{name} {count:,}"
        if used and used + 3 + len(piece) > _WIDTH:
            text.append("\n")
            used, begun = 0, begun + 1
        elif used:
            text.append("   ")
            used += 3
        text.append(piece, styles.get(name, usual))
        used += len(piece)
    return text.append("\n" * (lines - begun))


def _alerts(alerts: Sequence[Alert]) -> Text:
    """The newest alerts, on as many lines whether there are any or not."""
    lines = [short(each) for each in alerts[-ALERTS_SHOWN:]] or [Text("none", "dim")]
    lines += [Text() for _ in range(ALERTS_SHOWN - len(lines))]
    return Text("\n").join(lines)


def _flagged(documents: Sequence[Mapping[str, Any]]) -> RenderableType:
    """The newest odd requests; as many lines whether there are any or not."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(3):
        table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis", style="yellow")
    table.add_row(*(Text(name, "dim") for name in ("newest flagged", "duration", "1st token", "flags")))
    for document in documents[:FLAGGED_SHOWN]:
        first_token = document.get("llm.ttft")
        table.add_row(
            str(document["@timestamp"])[11:19] + f" {document.get('llm.outcome')}",
            _ms(document["event.duration"] / 1e6),
            _ms(None if first_token is None else first_token / 1e6),
            ", ".join(document.get("llm.flags") or ()),
        )
    for _ in range(FLAGGED_SHOWN - len(documents)):
        table.add_row()
    return table
