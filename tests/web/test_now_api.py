"""How the servers are now: what they said of themselves lately, and unknown where they said nothing."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from logproc.measure.catalog import Metric
from logproc.measure.servers import FRESH_MS, MISSED_MS, Servers
from logproc.measure.table import Table
from logproc.record import ServerRecord
from logproc.settings import Settings
from logproc.stores.documents import time_text
from logproc.web.now_api import about_document, server_documents

NOW = 1_800_000_000_000


def items(*records: dict[str, Any]) -> list[dict[str, Any]]:
    """What is told of servers that wrote these lines; `ago` is ms before now."""
    servers = Servers()
    starts, lost = Table(Metric("s", "", ("model",)), 10), Table(Metric("l", "", ("host", "pid")), 10)
    for each in records:
        line = {"host": "a", "pid": 1, "time": time_text(NOW - each.pop("ago")), **each}
        servers.take(msgspec.convert(line, ServerRecord), NOW, starts, lost)
    return server_documents(list(servers.all.items()), NOW)


START: dict[str, Any] = {"event": "server_started", "model": "m", "startup_s": 41.5}
BEAT: dict[str, Any] = {
    "event": "heartbeat",
    "in_flight": 3,
    "oldest_in_flight_ms": 2500.0,
    "lines_lost": 2,
    "engines": [{"engine": 0, "running": 2, "waiting": 1, "kv_cache_usage": 0.25}],
    "gpus": [{"gpu": "GPU-1", "memory_used_bytes": 70, "memory_total_bytes": 80}],
}


def test_a_server_that_lives_tells_its_load_and_unknown_is_null() -> None:
    (found,) = items({**START, "ago": 60_000}, {**BEAT, "ago": 1000})
    assert found == {
        "host": "a",
        "pid": "1",
        "model": "m",
        "state": "up",
        "started_at": time_text(NOW - 60_000),
        "seen_at": time_text(NOW - 1000),
        "startup_s": 41.5,
        "in_flight": 3,
        "oldest_s": 2.5,
        "lines_lost": 2,
        "engines": [{"engine": "0", "running": 2, "waiting": 1, "kv_cache_usage": 0.25}],
        "gpus": [
            {
                "gpu": "GPU-1", "memory_used_bytes": 70, "memory_total_bytes": 80, "utilization": None,
                "temperature_c": None, "power_w": None,
            }
        ],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "state"),
    [
        ([{**BEAT, "ago": FRESH_MS}], "up"),
        ([{**BEAT, "ago": FRESH_MS + 1}], "gone"),
        ([{**BEAT, "ago": 2000}, {"event": "server_stopped", "ago": 1000}], "stopped"),
        ([{"event": "server_stopped", "ago": 2000}, {**START, "ago": 1000}], "up"),
    ],
)
def test_a_server_is_up_gone_or_stopped(lines: list[dict[str, Any]], state: str) -> None:
    (found,) = items(*({**each} for each in lines))
    assert found["state"] == state
    if state != "up":
        assert (found["in_flight"], found["oldest_s"], found["engines"], found["gpus"]) == (None, None, [], [])


def test_the_last_heard_of_comes_first_and_yesterdays_are_left_out() -> None:
    old = {**BEAT, "pid": 9, "ago": MISSED_MS + 1}
    found = items({**BEAT, "pid": 1, "ago": 3000}, {**BEAT, "pid": 2, "ago": 1000}, old)
    assert [each["pid"] for each in found] == ["2", "1"]


def test_about_tells_levels_and_no_secret() -> None:
    settings = Settings.model_validate(
        {
            "logs": {"paths": ["/secret/path"]},
            "http": {"token_file": "/secret/token"},
            "thresholds": {"ttft_s": {"critical": 2.0}, "stall_s": None},
            "store": {"kind": "elasticsearch", "username": "secret-user", "password_file": "/secret/password"},
            "prices": {"m": {"input": 1, "output": 2}},
        }
    )
    told = about_document(settings)
    assert told["thresholds"]["ttft_s"] == 2.0
    assert told["thresholds"]["stall_s"] is None
    assert (told["store"], told["needs_token"], told["priced"]) == ("elasticsearch", True, True)
    assert "secret" not in str(told)
