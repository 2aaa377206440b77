"""What a client sees of one streamed answer: the first content, the gaps, the tokens, and whether it ended well."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class AnswerTimes:
    """Times are seconds; `first_s` counts from `began`, None when no content came."""

    first_s: float | None = None
    gaps_s: list[float] = field(default_factory=list)
    completion_tokens: int | None = None
    error: str | None = None
    """Why it is no good answer: an HTTP 200 alone says nothing."""


def read_answer(lines: Iterable[bytes], began: float, clock: Callable[[], float]) -> AnswerTimes:
    """Read the server-sent events of an OpenAI-compatible answer to their end; `clock` and `began` are alike."""
    seen, last, is_done, is_visible = AnswerTimes(), began, False, False
    for line in lines:
        data = line.removeprefix(b"data:").strip()
        if not line.startswith(b"data:"):
            continue
        if data == b"[DONE]":
            is_done = True
            continue
        event = json.loads(data)
        if "error" in event:
            seen.error = f"error event: {event['error'].get('type') or event['error'].get('code')}"
        elif content := _content(event):
            is_visible = is_visible or not content.isspace()
            now = clock()
            if seen.first_s is None:
                seen.first_s = now - began
            else:
                seen.gaps_s.append(now - last)
            last = now
        seen.completion_tokens = (event.get("usage") or {}).get("completion_tokens", seen.completion_tokens)
    if seen.error is None and not is_done:
        seen.error = "the stream broke off"
    elif seen.error is None and not is_visible:
        seen.error = "no content"
    return seen


def _content(event: dict[str, Any]) -> str:
    """What one event adds to the answer; empty when nothing. Calls of tools stand as their JSON."""
    choices = event.get("choices") or [{}]
    delta = choices[0].get("delta") or choices[0]
    parts = (delta.get(name) for name in ("content", "text", "reasoning_content", "reasoning", "tool_calls"))
    return "".join(part if isinstance(part, str) else json.dumps(part) for part in parts if part)
