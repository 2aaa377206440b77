"""What can still be told of a document that was too large to keep: from its first and its last bytes.

A key cannot be imitated inside a JSON string, where its quotes would be escaped. It can in a document that holds JSON
of the user's own, so only numbers and words from closed lists are taken, and names at the top level alone.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any, Final

from serve.answer import FINISH_ORDER, Answer

_TOKEN: Final = re.compile(rb'"((?:[^"\\]|\\.)*)"(\s*:)?|[{}\[\]]', re.DOTALL)
_USAGE: Final = re.compile(rb'"usage"\s*:\s*\{')
_FINISH: Final = re.compile(rb'"finish_reason"\s*:\s*"(%b)"' % "|".join(filter(None, FINISH_ORDER)).encode())
_STOP: Final = re.compile(rb'"stop_reason"\s*:\s*"(end_turn|max_tokens|tool_use|stop_sequence|refusal)"')
_STATUS: Final = re.compile(rb'"status"\s*:\s*"(completed|incomplete|failed|cancelled)"')
_INCOMPLETE: Final = re.compile(rb'"incomplete_details"\s*:\s*\{\s*"reason"\s*:\s*"(max_output_tokens|content_filter)"')
_STATUS_REASON: Final = {b"completed": "stop", b"failed": "error", b"cancelled": "abort"}


def recover(answer: Answer, head: bytes, tail: bytes, *, whole_body: bool) -> None:
    """Add usage, finish reason, id and model to the answer, as far as the two ends tell them.

    Args:
        answer: what the response has said so far.
        head: the first bytes.
        tail: the last bytes.
        whole_body: it is a JSON body; of an event the id and the model are known from the first events.
    """
    if whole_body:
        names = _top_level_strings(head)
        answer.name(names.get("id"), names.get("model"))
    answer.usage(_last_usage(tail) or _last_usage(head))
    reasons = _FINISH.findall(tail)
    if reasons:
        for reason in reasons:
            answer.finish(reason.decode())
    elif stop := _STOP.findall(tail):
        answer.finish(stop[-1].decode())
    elif status := _STATUS.findall(tail):
        incomplete = _INCOMPLETE.search(head)
        if status[-1] in _STATUS_REASON:
            answer.finish(_STATUS_REASON[status[-1]])
        elif incomplete is not None:
            answer.finish(incomplete[1].decode())


def _top_level_strings(head: bytes) -> dict[str, str]:
    """The string values of the object's own keys, as far as the bytes reach."""
    found: dict[str, str] = {}
    depth, key = 0, None
    for token in _TOKEN.finditer(head):
        text = token[0]
        if text in b"{[":
            depth, key = depth + 1, None
        elif text in b"}]":
            depth, key = depth - 1, None
        elif depth != 1:
            continue
        elif token[2]:
            key = token[1].decode("utf-8", "replace")
        elif key is not None:
            found.setdefault(key, token[1].decode("utf-8", "replace"))
            key = None
    return found


def _last_usage(part: bytes) -> dict[str, Any] | None:
    """The last `usage` object in these bytes that is whole."""
    for match in reversed(list(_USAGE.finditer(part))):
        with suppress(ValueError, RecursionError):
            value, _ = json.JSONDecoder().raw_decode(part[match.end() - 1 :].decode("utf-8", "replace"))
            if isinstance(value, dict):
                return value
    return None
