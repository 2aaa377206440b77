"""What servers said of themselves is found in the store: the newest gauges of each, and the most GPU memory in use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from logproc.record import EngineLoad, GpuLoad
from logproc.stores.archive import Server
from logproc.stores.documents import time_text
from logproc.stores.sqlite_archive import SqliteArchive
from logproc.stores.store import StoreUnavailableError
from tests.lines import NOW_MS, raw
from tests.stores.documents_of import read, store_in


def line(time_ms: int, event: str, **fields: Any) -> dict[str, Any]:
    """A server line of this time."""
    return {"time": time_text(time_ms), "event": event, "host": "gpu-1", "pid": 7, "service": "vllm"} | fields


def beat(time_ms: int, **fields: Any) -> dict[str, Any]:
    """A heartbeat of this time."""
    return line(time_ms, "heartbeat", in_flight=1) | fields


def gpu(name: str, used: int | None, total: int | None) -> dict[str, Any]:
    """A GPU in a heartbeat."""
    return {"gpu": name, "memory_used_bytes": used, "memory_total_bytes": total}


SERVER_TIMES = st.integers(NOW_MS - 5000, NOW_MS)
_GPUS = st.lists(
    st.builds(
        gpu,
        st.sampled_from("01"),
        st.one_of(st.none(), st.integers(0, 100)),
        st.sampled_from([None, 100, 100, 100, 50]),
    ),
    max_size=2,
    unique_by=lambda each: str(each["gpu"]),  # its name is what a GPU is known by
)
_LINES = st.one_of(
    st.builds(beat, SERVER_TIMES, in_flight=st.integers(0, 9), gpus=_GPUS),
    st.builds(beat, SERVER_TIMES, engines=st.just([{"engine": 0, "running": 2, "kv_cache_usage": 0.5}])),
    st.builds(line, SERVER_TIMES, st.just("server_started"), version=st.just("1"), startup_s=st.just(61.5)),
    st.builds(line, SERVER_TIMES, st.just("server_stopped")),
)
_NAMED = st.fixed_dictionaries(
    {"pid": st.sampled_from([None, 1, 2]), "host": st.sampled_from([None, "gpu-1"]), "service": st.sampled_from("ab")}
)
SERVER_LINES = st.tuples(_LINES, _NAMED).map(lambda parts: parts[0] | parts[1])
"""Server lines of few servers, close together."""


def archive(folder: Path, *lines: dict[str, Any]) -> SqliteArchive:
    store = store_in(folder)
    store.write([], read(raw(*lines)).servers)
    store.close()
    return SqliteArchive(folder)


def test_a_server_is_told_with_its_newest_heartbeat_its_start_and_its_peak(tmp_path: Path) -> None:
    engines = [{"engine": "0", "running": 3, "waiting": 1, "kv_cache_usage": 0.25}]
    newest = {"in_flight": 4, "oldest_in_flight_ms": 1.5, "lines_lost": 2, "engines": engines}
    found = archive(
        tmp_path,
        line(NOW_MS - 90_000, "server_started", model="m", version="0.32", startup_s=80.5),
        beat(NOW_MS - 80_000, gpus=[gpu("0", 70, 100), gpu("1", 60, 80)]),
        beat(NOW_MS - 70_000, **newest, gpus=[gpu("0", 5, 100)]),
    ).servers()
    assert found == [
        Server(
            "gpu-1", 7, NOW_MS - 70_000, "vllm", "0.32", "m", NOW_MS - 90_000, 80_500_000_000, None, NOW_MS - 70_000,
            4, 1_500_000, 2, (EngineLoad("0", 3, 1, 0.25),), (GpuLoad("0", 5, 100),), 70, 0.75,
        )
    ]  # fmt: skip


def test_the_range_holds_for_lines_and_peaks_but_not_for_the_start(tmp_path: Path) -> None:
    servers = archive(
        tmp_path,
        line(NOW_MS - 9000, "server_started", model="m"),
        beat(NOW_MS - 8000, gpus=[gpu("0", 99, 100)]),
        beat(NOW_MS - 5000, gpus=[gpu("0", 40, 100)], in_flight=3),
        beat(NOW_MS - 1000, gpus=[gpu("0", 98, 100)]),
        line(NOW_MS - 900, "server_started", model="later"),
    ).servers
    (server,) = servers(NOW_MS - 5000, NOW_MS - 1000)
    assert (server.seen_ms, server.in_flight, server.model) == (NOW_MS - 5000, 3, "m")
    assert (server.gpu_memory_peak_bytes, server.gpu_memory_peak_ratio) == (40, 0.4)
    assert servers(NOW_MS - 4999, NOW_MS - 1000) == []


def test_a_server_has_stopped_until_it_says_something_again(tmp_path: Path) -> None:
    servers = archive(tmp_path, beat(NOW_MS - 9000), line(NOW_MS - 8000, "server_stopped"), beat(NOW_MS - 5000)).servers
    assert servers(until_ms=NOW_MS - 5000)[0].stopped_ms == NOW_MS - 8000
    assert servers()[0].stopped_ms is None


def test_servers_are_known_by_host_and_process_and_the_last_heard_of_comes_first(tmp_path: Path) -> None:
    found = archive(
        tmp_path,
        beat(NOW_MS - 30, host="a", pid=1),
        beat(NOW_MS - 20, host="b", pid=1),
        beat(NOW_MS - 40, host="a", pid=2),
        beat(NOW_MS - 10, host=None, pid=None),
    ).servers()
    assert [(each.host, each.pid) for each in found] == [(None, None), ("b", 1), ("a", 1), ("a", 2)]


def test_what_is_unknown_stays_unknown(tmp_path: Path) -> None:
    (server,) = archive(tmp_path, beat(NOW_MS, in_flight=None, gpus=[gpu("0", None, 100), gpu("1", 7, None)])).servers()
    assert (server.in_flight, server.engines, server.started_ms) == (None, None, None)
    assert (server.gpu_memory_peak_bytes, server.gpu_memory_peak_ratio) == (7, None)


def test_without_server_lines_there_is_no_server_and_a_broken_file_is_told(tmp_path: Path) -> None:
    assert SqliteArchive(tmp_path).servers() == []
    (tmp_path / "servers.db").write_bytes(b"no database" * 1000)
    with pytest.raises(StoreUnavailableError, match=r"servers\.db cannot be read"):
        SqliteArchive(tmp_path).servers()
