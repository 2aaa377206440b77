"""Every recording of a real vLLM 0.32, played through the middleware, gives the line that was written out by hand.

`recordings.jsonl` holds the ASGI messages of 135 requests with their times; of the longest streams the middle is cut
out, and so is that of request bodies. `expected.tsv` was written by a person who read them; `-` is an absent field,
`cut` a time that the cut has changed, `none` a request that gets no line.
"""

from __future__ import annotations

import asyncio
import csv
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from logproc.record import REQUEST_FIELDS
from tests.serve.doubles import Clock, Lines, http_scope, process_log, route, serve_once

FIXTURES = Path(__file__).parents[1] / "fixtures" / "vllm-0.32"
RECORDINGS = [json.loads(line) for line in (FIXTURES / "recordings.jsonl").read_text("utf-8").splitlines()]
EXPECTED = {row["case"]: row for row in csv.DictReader((FIXTURES / "expected.tsv").open(), delimiter="\t")}
RAISED = {"RuntimeError": RuntimeError, "KeyError": KeyError, "CancelledError": asyncio.CancelledError}
TEXT = ("outcome", "path", "operation", "finish_reason", "response_id", "model", "error_type", "error_param")


def _object(value: Any) -> Any:
    """The account that vLLM leaves of a request is made of objects, not of dicts."""
    return (
        SimpleNamespace(**{name: _object(item) for name, item in value.items()}) if isinstance(value, dict) else value
    )


def _message(recorded: dict[str, Any]) -> dict[str, Any]:
    message = dict(recorded)
    if "body" in message:
        message["body"] = message["body"].encode()
    if "headers" in message:
        message["headers"] = [(name.encode(), value.encode()) for name, value in message["headers"]]
    return message


def _play(recording: dict[str, Any], tmp_path: Path) -> tuple[Any, list[dict[str, Any]]]:
    clock = Clock()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if recording["route"] is not None:
            scope["route"], scope["endpoint"] = route(recording["route"]), object()
        if recording["request_metadata"] is not None:
            scope["state"]["request_metadata"] = _object(recording["request_metadata"])
        for step in recording["messages"]:
            clock.now = step.get("at", clock.now)
            if "recv" in step:
                await receive()
            elif "send" in step:
                await send(_message(step["send"]))
            elif "raise" in step:
                raise RAISED[step["raise"].partition("(")[0]](step["raise"])

    request = recording["request"]
    scope = http_scope(request["path"], request["method"], app=object())
    scope["headers"] = [(name.encode(), value.encode()) for name, value in request["headers"]]
    received = [_message(step["recv"]) for step in recording["messages"] if "recv" in step]
    served = serve_once(app, process_log(tmp_path, Lines(), clock), scope, received)
    told = [_message(step["send"]) for step in recording["messages"] if "send" in step]
    return served, told


def _as_written(line: dict[str, Any]) -> dict[str, str]:
    """The line in the spelling of the table."""
    written = {}
    for name, value in line.items():
        written[name] = value if isinstance(value, str) else json.dumps(value)
    if not re.fullmatch(r"[0-9a-f]{32}", written["request_id"]):
        return written
    return {**written, "request_id": "made"}


def test_all_135_recordings_have_an_expected_line() -> None:
    assert len(RECORDINGS) == len(EXPECTED) == 135
    assert {recording["case"] for recording in RECORDINGS} == set(EXPECTED)


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda recording: recording["case"])
def test_a_recording_gives_the_line_written_by_hand(recording: dict[str, Any], tmp_path: Path) -> None:
    expected = EXPECTED[recording["case"]]
    served, _ = _play(recording, tmp_path)
    if expected["status"] == "none":
        assert served.lines == []
        return
    written = _as_written(served.line)
    columns = [name for name in expected if name not in ("case",) and expected[name] != "cut"]
    assert {name: written.get(name, "-") for name in columns} == {name: expected[name] for name in columns}


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda recording: recording["case"])
def test_the_client_gets_every_byte_that_was_recorded(recording: dict[str, Any], tmp_path: Path) -> None:
    served, told = _play(recording, tmp_path)
    assert [{**message, "headers": None} for message in served.sent] == [
        {**message, "headers": None} for message in told
    ]
    for sent, recorded in zip(served.sent, told, strict=True):
        if sent["type"] == "http.response.start":
            added = [header for header in sent["headers"] if header not in recorded["headers"]]
            assert [name for name, _ in added] in ([], [b"x-request-id"])


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda recording: recording["case"])
def test_a_line_has_its_fields_in_the_order_of_the_contract(recording: dict[str, Any], tmp_path: Path) -> None:
    for line in _play(recording, tmp_path)[0].lines:
        assert list(line) == [name for name in REQUEST_FIELDS if name in line]
        assert line["duration_ms"] == pytest.approx(
            max(step.get("at", 0) for step in _answered(recording)) * 1000, abs=0.01
        )


def _answered(recording: dict[str, Any]) -> list[dict[str, Any]]:
    """The steps up to the final body, or all of them where there is none."""
    messages: list[dict[str, Any]] = recording["messages"]
    for index, step in enumerate(messages):
        if step.get("send", {}).get("type") == "http.response.body" and not step["send"].get("more_body"):
            return messages[: index + 1]
    return messages
