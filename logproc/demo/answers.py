"""What the stand-in server understands and answers: the shape of OpenAI's API, filled with filler words."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

MODEL: Final = "stand-in"
"""The served model's name: there is none behind it."""

_TEXT: Final = "This text comes from a stand-in server with no model behind it ."
_WORDS: Final = tuple(f"{word} " for word in _TEXT.split())


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asked for."""

    is_chat: bool
    stream: bool
    include_usage: bool
    prompt_tokens: int
    max_tokens: int | None


class RefusedError(Exception):
    """The request is at fault."""

    def __init__(self, status: int, kind: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = error_body(status, kind, message, param)


def read_request(body: bytes, *, is_chat: bool) -> Request:
    """Understand a request's body; a word counts as a token.

    Raises:
        RefusedError: it is no JSON object, lacks its prompt, or names another model.
    """
    try:
        fields = json.loads(body)
        prompt = fields["messages"][-1]["content"] if is_chat else fields["prompt"]
        options = fields.get("stream_options") or {}
        request = Request(
            is_chat=is_chat,
            stream=bool(fields.get("stream")),
            include_usage=bool(options.get("include_usage")),
            prompt_tokens=max(1, len(prompt.split())),
            max_tokens=None if fields.get("max_tokens") is None else max(1, int(fields["max_tokens"])),
        )
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise RefusedError(400, "BadRequestError", f"the body cannot be understood: {error}") from error
    if fields.get("model") != MODEL:
        raise RefusedError(404, "NotFoundError", f"the model {fields.get('model')!r} does not exist", "model")
    return request


def error_body(status: int, kind: str, message: str, param: str | None = None) -> dict[str, Any]:
    """An error as vLLM words it, in a body or in a stream."""
    return {"error": {"message": message, "type": kind, "param": param, "code": status}}


def words(count: int, offset: int = 0) -> str:
    """So many words of filler text, going on after `offset` words."""
    return "".join(_WORDS[place % len(_WORDS)] for place in range(offset, offset + count))


def usage(request: Request, completion_tokens: int) -> dict[str, int]:
    """The `usage` object."""
    prompt = request.prompt_tokens
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt + completion_tokens,
    }


def whole(request: Request, response_id: str, created: int, text: str, finish_reason: str, tokens: int) -> bytes:
    """The body of an answer that is not streamed; `created` is seconds since 1970, `tokens` those generated."""
    choice: dict[str, Any] = {"index": 0, "finish_reason": finish_reason}
    choice |= {"message": {"role": "assistant", "content": text}} if request.is_chat else {"text": text}
    kind = "chat.completion" if request.is_chat else "text_completion"
    return _json(_head(response_id, kind, created) | {"choices": [choice], "usage": usage(request, tokens)})


def chunk(
    request: Request,
    response_id: str,
    created: int,
    text: str | None,
    *,
    finish_reason: str | None = None,
    role: bool = False,
) -> bytes:
    """One event of a stream; `role` makes it the opening of a chat, which holds no content yet."""
    choice: dict[str, Any] = {"index": 0}
    if request.is_chat:
        choice["delta"] = {"role": "assistant", "content": ""} if role else {"content": text} if text else {}
    else:
        choice["text"] = text or ""
    choice["finish_reason"] = finish_reason
    kind = "chat.completion.chunk" if request.is_chat else "text_completion"
    return event(_head(response_id, kind, created) | {"choices": [choice]})


def usage_chunk(request: Request, response_id: str, created: int, tokens: int) -> bytes:
    """The event that ends a stream whose client asked for the usage."""
    kind = "chat.completion.chunk" if request.is_chat else "text_completion"
    return event(_head(response_id, kind, created) | {"choices": [], "usage": usage(request, tokens)})


def event(body: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + _json(body) + b"\n\n"


DONE: Final = b"data: [DONE]\n\n"


def _head(response_id: str, kind: str, created: int) -> dict[str, Any]:
    return {"id": response_id, "object": kind, "created": created, "model": MODEL}


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
