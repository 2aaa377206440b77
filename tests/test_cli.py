"""What the commands say, and with which exit code, where something is not as the user thinks."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from logproc.check import findings
from logproc.settings import Settings
from tests.lines import raw, request

START = "timestamp="


def logproc(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command run to its end in `folder`; its output is no terminal."""
    command = [sys.executable, "-m", "logproc", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)


def settings(folder: Path, **more: object) -> str:
    """A settings file whose log is `access.jsonl` in `folder`."""
    path = folder / "p.yaml"
    path.write_text(json.dumps({"logs": {"paths": ["access.jsonl"]}, "http": {"listen": "127.0.0.1:0"}, **more}))
    return path.name


def test_every_message_of_a_run_has_its_time_and_level_even_that_of_a_log_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "access.jsonl").symlink_to("access.jsonl")  # a loop: no one can open it, not even root

    messages = logproc(tmp_path, "run", "--once", settings(tmp_path)).stderr.splitlines()

    assert any("level=warning" in message and "trying again" in message for message in messages), messages
    assert [message for message in messages if not message.startswith(START)] == []


@pytest.mark.parametrize("only", ["metrics,", ",", "measure,metrics"])
def test_a_run_of_no_consumer_is_refused(tmp_path: Path, only: str) -> None:
    answer = logproc(tmp_path, "run", "--once", "--only", only, settings(tmp_path))

    assert answer.returncode == 2
    assert "there are measure, notify, index" in answer.stderr


def test_notify_does_not_run_without_the_consumer_that_finds_the_alerts(tmp_path: Path) -> None:
    answer = logproc(tmp_path, "run", "--once", "--only", "notify", settings(tmp_path))

    assert answer.returncode == 2
    assert "--only measure,notify" in answer.stderr


def test_check_names_the_settings_that_it_found_and_what_it_looked_at(tmp_path: Path) -> None:
    (tmp_path / "pipelines").mkdir()
    settings(tmp_path / "pipelines")

    answer = logproc(tmp_path, "check")

    assert answer.returncode == 0, answer.stderr
    assert "✓ settings: pipelines/p.yaml" in answer.stdout
    assert "! logs.paths: access.jsonl matches no file yet" in answer.stdout


def test_check_tells_a_directory_that_may_not_be_looked_into_from_one_without_a_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "logs").mkdir()
    given = Settings.model_validate({"logs": {"paths": [f"{tmp_path}/logs/access*.jsonl"]}, "state": tmp_path})
    assert next(findings(given)).verdict == "warning"
    monkeypatch.setattr("os.access", lambda path, _: path != tmp_path / "logs")  # root may look into all

    finding = next(findings(given))

    assert (finding.verdict, finding.subject) == ("error", "logs.paths")
    assert f"{tmp_path}/logs cannot be looked into by this user" in finding.text


ROUTED = {"people": {"severity": ["critical"], "to": ["told"], "escalate": {"after": "15m", "to": ["boss"]}}}
HOOK = {"kind": "webhook", "url": "https://example.org/hook"}


def test_a_notifier_that_nothing_names_is_found_by_check_and_said_once_by_a_run(tmp_path: Path) -> None:
    (tmp_path / "access.jsonl").write_bytes(raw(request()))
    notifiers = {"told": {**HOOK, "fallback": "second"}, "second": HOOK, "boss": HOOK, "forgotten": HOOK}
    file = settings(tmp_path, notifiers=notifiers, alerts={"routes": ROUTED})

    checked, ran = logproc(tmp_path, "check", file), logproc(tmp_path, "run", "--once", file)

    said = [line for line in checked.stdout.splitlines() if "never told" in line]
    assert said == [
        "! notifiers.forgotten: it is never told, for no route and no fallback names it: "
        "add it to `to` in alerts.routes.people"
    ]
    assert checked.returncode == 0
    warned = [line for line in ran.stderr.splitlines() if "never told" in line]
    assert len(warned) == 1, warned
    assert "level=warning" in warned[0]
    assert "setting=notifiers.forgotten" in warned[0]
    without_notify = logproc(tmp_path, "run", "--once", "--only", "index", file).stderr
    assert "never told" not in without_notify


def test_without_any_route_check_shows_one_that_would_tell_the_notifier(tmp_path: Path) -> None:
    answer = logproc(tmp_path, "check", settings(tmp_path, notifiers={"ops": HOOK}))

    assert "add  alerts: {routes: {people: {severity: [warning, critical, disaster], to: [ops]}}}" in answer.stdout


@pytest.mark.parametrize("pattern", ["logs", "logs/", "log*"])
def test_a_directory_is_no_log(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "logs").mkdir()
    file = settings(tmp_path, logs={"paths": [pattern]})

    checked, ran = logproc(tmp_path, "check", file), logproc(tmp_path, "run", "--once", file)

    assert checked.returncode == 2
    assert "logs is a directory: write logs/*.jsonl" in checked.stdout
    assert ran.returncode == 0
    warned = [line for line in ran.stderr.splitlines() if "level=warning" in line]
    assert len(warned) == 1, warned
    assert "logs is a directory: write logs/*.jsonl" in warned[0]


def test_a_directory_beside_the_logs_is_not_counted(tmp_path: Path) -> None:
    (tmp_path / "logs/old").mkdir(parents=True)
    (tmp_path / "logs/access.jsonl").write_bytes(b"{}\n")

    answer = logproc(tmp_path, "check", settings(tmp_path, logs={"paths": ["logs/*"]}))

    assert "✓ logs.paths: logs/* matches 1 file(s), 3 bytes" in answer.stdout


def test_a_run_whose_paths_match_nothing_names_them_once(tmp_path: Path) -> None:
    (tmp_path / "there.jsonl").write_bytes(raw(request()))
    file = settings(tmp_path, logs={"paths": ["there.jsonl", "a/*.jsonl", "b.jsonl"]})

    messages = logproc(tmp_path, "run", "--once", file).stderr.splitlines()

    warned = [message for message in messages if "level=warning" in message]
    assert len(warned) == 1, messages
    assert "no file matches yet: a/*.jsonl, b.jsonl" in warned[0]


def test_a_replay_of_something_else_than_an_access_log_says_so(tmp_path: Path) -> None:
    (tmp_path / "other.log").write_text("INFO: up\nINFO: down\n")
    (tmp_path / "empty.log").touch()

    other, empty = logproc(tmp_path, "replay", "other.log"), logproc(tmp_path, "replay", "empty.log")

    assert "none of 2 lines is an access line: is this the log that `serve` writes?" in other.stderr
    assert "there is no line: is this" in empty.stderr


def test_a_replay_tells_requests_from_the_lines_of_the_server_and_long_times_in_seconds(tmp_path: Path) -> None:
    started = {"time": request()["time"], "event": "server_started"}
    (tmp_path / "access.jsonl").write_bytes(raw(started) + raw(request(duration_ms=12_345)))

    told = logproc(tmp_path, "replay", "access.jsonl")

    assert "requests     1, and 1 line of the server's own" in told.stdout
    assert "max 12.35 s" in told.stdout
    assert "is this the log" not in told.stderr


def test_the_first_message_of_a_run_names_the_page_and_the_metrics(tmp_path: Path) -> None:
    (tmp_path / "access.jsonl").write_bytes(raw(request()))

    first = logproc(tmp_path, "run", "--once", settings(tmp_path)).stderr.splitlines()[0]

    assert re.search(r"\bpage=(http://127\.0\.0\.1:\d+)/ metrics=\1/metrics", first), first


@pytest.mark.parametrize("arguments", [["query"], ["silence", "errors", "--for", "2h"]])
def test_settings_given_as_an_argument_where_they_are_an_option_are_told_how(
    tmp_path: Path, arguments: list[str]
) -> None:
    def refused(extra: str) -> str:
        answer = logproc(tmp_path, *arguments, extra)
        assert answer.returncode == 2
        return " ".join(answer.stderr.replace("│", " ").split())

    assert "unexpected extra argument (p.yaml): settings are given with --pipeline here" in refused("p.yaml")
    assert "unexpected extra argument (more)" in refused("more")
    assert "--pipeline here" not in refused("more")


@pytest.mark.parametrize("given", [["--pipeline", "other.yaml"], ["--pipeline=other.yaml"]])
@pytest.mark.parametrize(
    "command",
    [["run", "--once"], ["check"], ["rules"], ["report"], ["notify-test", "n"], ["setup", "kibana"],
     ["setup", "elasticsearch"]],
)  # fmt: skip
def test_settings_may_be_given_with_pipeline_to_every_command_that_reads_them(
    tmp_path: Path, command: list[str], given: list[str]
) -> None:
    (tmp_path / "other.yaml").write_text("wrong: 1\n")
    at = len(command) - 1 if command[0] == "notify-test" else len(command)

    answer = logproc(tmp_path, *command[:at], *given, *command[at:])

    assert answer.returncode == 2
    assert "other.yaml:1: unknown key `wrong`" in answer.stderr


def test_the_option_pipeline_needs_a_file(tmp_path: Path) -> None:
    answer = logproc(tmp_path, "check", "--pipeline")

    assert answer.returncode == 2
    assert "--pipeline needs a settings file" in " ".join(answer.stderr.split())
