"""What a client can tell about a request from its answer alone: the truth that access lines are held against.

Written for these tests and on purpose unlike the code it checks: whole bodies, plain json, no incremental parsing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from tests.e2e.client import Answer
from tests.e2e.traffic import Call

FINISH_NAMES = {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "max_output_tokens": "length"}


@dataclass
class Seen:
    """The facts in one answer. Unknown is None; `texts` and `finish_reasons` are by choice."""

    status: int | None
    stream: bool
    complete: bool
    seconds: float
    response_id: str | None = None
    model: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    first_content_s: float | None = None
    texts: dict[int, str] = field(default_factory=dict)
    finish_reasons: dict[int, str] = field(default_factory=dict)
    error: dict[str, Any] | None = None

    @property
    def finish_reason(self) -> str | None:
        """The worst over the choices."""
        reasons = set(self.finish_reasons.values())
        return next((reason for reason in ("length", "stop") if reason in reasons), None)

    @property
    def outcome(self) -> str:
        """What a client would call it."""
        if not self.complete:
            return "client_disconnect"
        assert self.status is not None
        if self.error is not None:
            code = self.error.get("code")
            code = code if isinstance(code, int) else self.status
            if 400 <= code < 500 or code == 503:
                return "rejected"
            return "stream_error" if self.stream else "server_error"
        if self.status >= 400:
            return "rejected" if self.status < 500 else "server_error"
        if self.finish_reason == "length":
            return "truncated"
        return "ok" if any(text.strip() for text in self.texts.values()) else "empty"


def look(call: Call, answer: Answer) -> Seen:
    """Everything the answer says."""
    stream = answer.headers.get("content-type", "").startswith("text/event-stream")
    seen = Seen(answer.status, stream, answer.complete, answer.seconds)
    if stream:
        for at, event in _events(answer):
            _add(seen, event, at)
    elif answer.complete and answer.body:
        _add(seen, json.loads(answer.body), answer.seconds)
    if b'"return_token_ids": true' in call.request.body and seen.completion_tokens is None and seen.complete:
        _count_tokens(seen, answer)
    return seen


def _events(answer: Answer) -> list[tuple[float, dict[str, Any]]]:
    """The data of every event with the moment when its last byte came."""
    events = []
    rest = b""
    for at, piece in answer.chunks:
        *whole, rest = (rest + piece).split(b"\n\n")
        for event in whole:
            for line in event.split(b"\n"):
                if line.startswith(b"data: {"):
                    events.append((at, json.loads(line[6:])))
    return events


def _add(seen: Seen, message: Any, at: float) -> None:
    """Take over the facts of one JSON body, or of one event of a stream."""
    if not isinstance(message, dict):
        return
    if message.get("error"):
        error = message["error"]
        seen.error = error if isinstance(error, dict) else {"message": error}
        return
    for part in (message, message.get("response"), message.get("message")):
        if not isinstance(part, dict):
            continue
        seen.response_id = seen.response_id or part.get("id")
        seen.model = seen.model or part.get("model")
        usage = part.get("usage")
        if isinstance(usage, dict):
            seen.prompt_tokens = usage.get("prompt_tokens", usage.get("input_tokens"))
            seen.completion_tokens = usage.get("completion_tokens", usage.get("output_tokens"))
        _add_finish(seen, part)
        _add_text(seen, part, at)
    if message.get("type") in ("response.output_text.delta", "content_block_delta"):
        delta = message["delta"]
        _append(seen, 0, delta if isinstance(delta, str) else delta.get("text", ""), at)


def _add_finish(seen: Seen, part: dict[str, Any]) -> None:
    for choice in part.get("choices") or ():
        if choice.get("finish_reason"):
            seen.finish_reasons[choice["index"]] = choice["finish_reason"]
    delta = part.get("delta")
    reason = part.get("stop_reason") or (isinstance(delta, dict) and delta.get("stop_reason"))
    if part.get("status") == "completed":
        reason = "stop"
    if part.get("status") == "incomplete":
        reason = part["incomplete_details"]["reason"]
    if reason:
        seen.finish_reasons[0] = FINISH_NAMES.get(reason, reason)


def _add_text(seen: Seen, part: dict[str, Any], at: float) -> None:
    for choice in part.get("choices") or ():
        piece = choice.get("delta") or choice.get("message") or {}
        _append(seen, choice["index"], choice.get("text") or piece.get("content") or "", at)
    if not seen.stream:
        for item in part.get("output") or [part]:
            for block in item.get("content") or ():
                _append(seen, 0, block.get("text", ""), at)


def _append(seen: Seen, choice: int, text: str, at: float) -> None:
    seen.texts[choice] = seen.texts.get(choice, "") + text
    if text and seen.first_content_s is None:
        seen.first_content_s = at


def _count_tokens(seen: Seen, answer: Answer) -> None:
    """Count the token ids that the server was asked to send along."""
    prompt: list[int] = []
    completion: list[int] = []
    for _, event in _events(answer):
        prompt = prompt or event.get("prompt_token_ids") or []
        for choice in event.get("choices", ()):
            prompt = prompt or choice.get("prompt_token_ids") or []
            completion += choice.get("token_ids") or []
    seen.prompt_tokens, seen.completion_tokens = len(prompt), len(completion)
