"""Growth between looks, and how the numbers are shown."""

from __future__ import annotations

import io
from collections import Counter
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from logproc.alerts.alert import Alert
from logproc.demo.incidents import EMPTY, QUEUE
from logproc.demo.numbers import WINDOW_S, Look, Recent, growth
from logproc.demo.screen import ALERTS_SHOWN, FLAGGED_SHOWN, Pointers, Screen, plain_line, summary
from logproc.flags import FLAGS
from logproc.record import OUTCOMES
from logproc.sketch import bins_of

POINTERS = Pointers(
    "http://127.0.0.1:9470", ".venv/bin/logproc query --pipeline var/demo/12.yaml --last 1h --flag slow", "d"
)


def look(at: float, durations_ms: list[float], *, empty: int = 0, queue_us: int = 0) -> Look:
    count = len(durations_ms)
    return Look(
        at=at,
        outcomes=Counter({"ok": count, "empty": empty}),
        flags=Counter({"empty_completion": empty}),
        tokens=Counter({"prompt": 100 * count, "completion": 30 * count}),
        lines=Counter({"ok": count + empty}),
        times={"queue": (count, queue_us), "prefill": (0, 0), "decode": (0, 0)},
        duration=bins_of(np.array(durations_ms, np.float64)),
        first_token=bins_of(np.array([], np.float64)),
        lines_lost=0,
    )


def test_growth_is_what_came_between_two_looks() -> None:
    older = look(10.0, [100.0] * 50, queue_us=5_000)
    newer = look(20.0, [100.0] * 50 + [4000.0] * 20, empty=4, queue_us=45_000)
    grown = growth(older, newer)
    assert grown.outcomes == {"ok": 20, "empty": 4}
    assert grown.requests_per_s == pytest.approx(2.4)
    assert grown.tokens_per_s == pytest.approx(60)
    assert grown.duration_ms == pytest.approx([4000] * 3, rel=0.02)
    assert grown.first_token_ms == [None, None, None]
    assert grown.mean_ms == {"queue": 2.0}


def test_growth_over_the_window_forgets_what_is_older() -> None:
    recent = Recent(look(0.0, []))
    for second in range(1, 41):
        recent.add(look(float(second), [50.0] * second))
    assert recent.over().seconds == WINDOW_S
    assert recent.over().outcomes["ok"] == WINDOW_S
    assert recent.over(5.0).outcomes["ok"] == 5


def test_growth_before_anything_came_is_nothing() -> None:
    recent = Recent(look(0.0, []))
    assert recent.over().requests_per_s == 0.0


def busy_look(at: float) -> Look:
    """As many names and as large numbers as there can be."""
    some = look(at, [123_456.0] * 5, queue_us=500_000_000)
    many = dict.fromkeys(("queue", "prefill", "decode"), (5, 60_000_000))
    return Look(
        at=at,
        outcomes=Counter(dict.fromkeys(OUTCOMES, 12_345)),
        flags=Counter(dict.fromkeys(FLAGS, 1_234)),
        tokens=Counter(prompt=10**9, completion=10**7),
        lines=some.lines,
        times=many,
        duration=some.duration,
        first_token=some.duration,
        lines_lost=0,
    )


def drawn(renderable: Any) -> list[str]:
    console = Console(width=80, height=24, file=io.StringIO())
    return ["".join(segment.text for segment in line).rstrip() for line in console.render_lines(renderable)]


@pytest.mark.parametrize("seconds", [0.0, QUEUE.begins_s, EMPTY.begins_s, 5999.0])
@pytest.mark.parametrize("is_busy", [False, True])
def test_the_screen_fits_80_columns_and_24_lines_and_cuts_no_number(seconds: float, is_busy: bool) -> None:
    screen = Screen(POINTERS)
    nothing = look(0.0, [])
    newest = busy_look(15.0) if is_busy else nothing
    recent = growth(nothing, newest)
    screen.note(recent)
    document = {
        "@timestamp": "2026-11-21T10:00:00.000Z",
        "event.duration": 12_345_000_000,
        "llm.outcome": "client_disconnect",
        "llm.ttft": 12_000_000_000,
        "llm.flags": ["slow", "slow_for_size"],
    }
    load = {"in flight": 123.0, "running": 16.0, "waiting": 107.0} if is_busy else {}
    alert = Alert(
        id="1", kind="tokens_per_second", severity="warning", state="resolved", cause="cache_misses",
        time="2026-11-21T10:01:00Z", since="2026-11-21T10:00:00Z",
    )  # fmt: skip
    flagged, alerts = ([document] * FLAGGED_SHOWN, [alert] * 9) if is_busy else ([], [])
    lines = drawn(screen.draw(seconds, newest, recent, load, flagged, alerts))
    assert len(lines) <= 24
    text = "\n".join(lines)
    assert "stand-in server, no model behind it" in lines[0]
    assert "…" not in text
    assert POINTERS.command in text
    assert f"{POINTERS.address}/  {POINTERS.address}/metrics" in text
    if is_busy:
        assert all(f"{name} 12,345" in text for name in OUTCOMES)
        assert all(f"{name} 1,234" in text for name in FLAGS)
        assert "slow, slow_for_size" in text
        assert text.count("resolved tokens_per_second since 10:00:00: cache_misses") == ALERTS_SHOWN


def test_an_incident_is_named_and_so_is_the_next() -> None:
    nothing = look(0.0, [])
    screen, none = Screen(POINTERS), growth(nothing, nothing)
    assert "incident: a queue builds up" in drawn(screen.draw(QUEUE.begins_s, nothing, none, {}, []))[1]
    assert "next incident in 20 s: a queue" in drawn(screen.draw(0.0, nothing, none, {}, []))[1]
    assert "incident: a burst of empty" in plain_line(EMPTY.begins_s, nothing, none, {})


def test_a_summary_whose_counts_differ_says_so() -> None:
    total = look(5.0, [100.0] * 3)
    grown = growth(look(0.0, []), total)
    good = "\n".join(drawn(summary(total, grown, {"in the log": 5, "counted": 5, "documents": 5}, POINTERS)))
    bad = "\n".join(drawn(summary(total, grown, {"in the log": 5, "counted": 5, "documents": 4}, POINTERS)))
    assert "each once, 0 lost" in good
    assert "each once" not in bad
    assert "0 lost: these should be equal" in " ".join(bad.split())
