"""The whole demo as a person runs it: in a process of its own, without and with a terminal, ended in every way."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSCTTY, TIOCSWINSZ

import pytest
import yaml

from logproc.demo import setup
from logproc.demo.setup import make_folder, open_pipeline
from logproc.settings_file import load
from tests.pipeline import until
from tests.stores.elastic import stored

LOGPROC = Path(sys.executable).with_name("logproc")


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for path in found for child in path.read_text().split()]


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@contextmanager
def running(cwd: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The demo without a terminal."""
    command = [str(LOGPROC), "demo", *arguments]
    process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def log_lines(folder: Path) -> list[dict[str, object]]:
    log = folder / "access.jsonl"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def counts_in(summary: str, row: str) -> dict[str, int]:
    """`ok 12   empty 3`, also over several lines, as numbers."""
    text = re.split(rf"^{row}\s", summary, flags=re.M)[1]
    text = re.split(r"\n\S", text)[0]
    return {name: int(count.replace(",", "")) for name, count in re.findall(r"([a-z_]+) ([\d,]+)", text)}


def check_summary(text: str, folder: Path) -> None:
    """The summary agrees with a recount of the log, and with the documents."""
    summary = text.rpartition("logproc demo: stand-in server")[2]
    lines = log_lines(folder)
    requests = [line for line in lines if "event" not in line]
    assert int(re.findall(r"^requests\s+([\d,]+) in", summary, re.M)[0]) == len(requests) > 0
    assert counts_in(summary, "outcomes") == Counter(line["outcome"] for line in requests)
    assert f"{len(lines)} written, {len(lines)} counted, {len(lines)} stored: each once, 0 lost" in summary
    (day,) = folder.glob("documents/2*.db")
    with closing(sqlite3.connect(day)) as database:
        stored = [request for (request,) in database.execute("SELECT request_id FROM requests")]
        flags = database.execute("SELECT flags FROM requests WHERE flags IS NOT NULL").fetchall()
    assert sorted(stored) == sorted(str(line["request_id"]) for line in requests)
    flagged = Counter(flag for (text,) in flags for flag in text.split(","))
    assert counts_in(summary, "flags") == flagged


def test_a_demo_without_a_terminal_prints_lines_and_a_summary_that_a_recount_confirms(tmp_path: Path) -> None:
    began = time.monotonic()
    with running(tmp_path, "--seconds", "8") as process:
        assert process.stdout is not None
        first = process.stdout.readline() + process.stdout.readline()
        assert time.monotonic() - began < 10  # 5 s on a machine that has nothing else to do
        rest, _ = process.communicate(timeout=60)
    assert process.returncode == 0, rest
    assert "stand-in server, no model behind it" in first
    assert re.search(r"page (http://127\.0\.0\.1:\d+)/, metrics \1/metrics", first)
    assert re.search(r"^ +\d s \| +\d+\.\d req/s", first, re.M)
    assert len(re.findall(r"^ +\d+ s \|", first + rest, re.M)) >= 2
    folder = tmp_path / "var/demo/1"
    check_summary(rest, folder)
    requests = [line for line in log_lines(folder) if "event" not in line]
    assert {line["service"] for line in requests} == {"logproc-demo"}
    assert any("queue_ms" in line for line in requests)
    assert not (folder / "stand-in.log").read_text()
    assert "error" not in (folder / "logproc.log").read_text()
    asked = ["query", "--pipeline", "var/demo/1.yaml", "--last", "1h", "--json"]
    found = subprocess.run(
        [str(LOGPROC), *asked, "--limit", "0"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert len(found.stdout.splitlines()) == len(requests)


def test_ctrl_c_in_a_terminal_ends_everything_with_a_summary_and_exit_code_0(tmp_path: Path) -> None:
    ours, its = pty.openpty()
    ioctl(its, TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(
        [str(LOGPROC), "demo"],
        cwd=tmp_path,
        stdin=its,
        stdout=its,
        stderr=its,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "80", "LINES": "24"},
        start_new_session=True,
        preexec_fn=lambda: ioctl(0, TIOCSCTTY, 0),  # noqa: PLW1509 - so that Ctrl-C comes as from a terminal
    )
    os.close(its)
    seen = b""

    def read_some() -> bool:
        nonlocal seen
        try:
            seen += os.read(ours, 65_536)
        except OSError:  # the other end is closed
            return False
        return True

    try:
        until(lambda: read_some() and len(log_lines(tmp_path / "var/demo/1")) > 5, "requests in the log")
        assert b"look further" in seen
        (server,) = children(process.pid)
        seen = b""
        os.write(ours, b"\x03")
        while read_some():
            pass
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert is_gone(server)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen.decode()).replace("\r", "")
    check_summary(text, tmp_path / "var/demo/1")
    assert log_lines(tmp_path / "var/demo/1")[-1]["event"] == "server_stopped"


def test_sigterm_ends_it_like_ctrl_c(tmp_path: Path) -> None:
    with running(tmp_path) as process:
        until(lambda: len(log_lines(tmp_path / "var/demo/1")) > 3, "requests in the log")
        (server,) = children(process.pid)
        process.send_signal(signal.SIGTERM)
        text, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert is_gone(server)
    check_summary(text, tmp_path / "var/demo/1")


def test_the_stand_in_server_ends_when_the_demo_is_killed(tmp_path: Path) -> None:
    with running(tmp_path) as process:
        until(lambda: len(log_lines(tmp_path / "var/demo/1")) > 3, "requests in the log")
        (server,) = children(process.pid)
        process.kill()
        until(lambda: is_gone(server), "the end of the stand-in server")
    assert log_lines(tmp_path / "var/demo/1")[-1]["event"] == "server_stopped"


def test_a_stand_in_server_that_dies_ends_the_demo_with_an_error(tmp_path: Path) -> None:
    with running(tmp_path) as process:
        until(lambda: len(log_lines(tmp_path / "var/demo/1")) > 1, "requests in the log")
        (server,) = children(process.pid)
        os.kill(server, signal.SIGKILL)
        text, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "logproc: the stand-in server ended with -9" in text


def test_each_demo_gets_a_directory_of_its_own(tmp_path: Path) -> None:
    assert [make_folder(tmp_path / "demo").name for _ in range(3)] == ["1", "2", "3"]
    (tmp_path / "file").touch()
    elsewhere = make_folder(tmp_path / "file/demo")
    assert elsewhere.is_dir()
    elsewhere.rmdir()


def test_a_port_that_is_taken_is_passed_over_and_the_settings_file_tells_the_one_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("METRICS_PORT", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(setup, "FIRST_PORT", taken.getsockname()[1])
        app, file = open_pipeline(make_folder(tmp_path / "[odd] directory"))
    try:
        assert app.web is not None
        assert app.web.address != f"http://127.0.0.1:{setup.FIRST_PORT}"
        assert load(file) == app.settings
        assert yaml.safe_load(file.read_text())["http"]["listen"] in app.web.address
    finally:
        app.start()
        app.stop()


@pytest.mark.parametrize(
    ("url", "words"),
    [("localhost:9200", "expected URLs such as http://localhost:9200"), ("http://127.0.0.1:1", "Connection refused")],
)
def test_an_elasticsearch_that_is_not_there_is_said_and_nothing_is_left(tmp_path: Path, url: str, words: str) -> None:
    with running(tmp_path, "--elasticsearch", url) as demo:
        output, _ = demo.communicate(timeout=60)
        assert demo.returncode == 1
        assert words in output
        assert "Traceback" not in output
        assert children(demo.pid) == []


@pytest.mark.service
def test_the_documents_go_to_an_elasticsearch_that_is_named(elasticsearch: str, tmp_path: Path) -> None:
    with running(tmp_path, "--seconds", "4", "--elasticsearch", elasticsearch) as demo:
        output, _ = demo.communicate(timeout=100)
        assert demo.returncode == 0, output
    folder = tmp_path / "var/demo/1"
    ids = [each["_id"] for each in stored(elasticsearch, setup.INDEX)]
    assert len(ids) == len([line for line in log_lines(folder) if "event" not in line]) > 0
    assert not (folder / "documents").exists()
    pipeline = str(folder.with_suffix(".yaml"))
    command = [str(LOGPROC), "query", "--pipeline", pipeline, "--last", "1h", "--json"]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert sorted(json.loads(line)["event.id"] for line in found.stdout.splitlines()) == ids
