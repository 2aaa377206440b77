"""Requests of every kind that an inference server meets: good, cut short, empty, wrong, and abandoned by the client."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.e2e.client import Answer, HangUp, Request, send
from tests.services.vllm import MODEL_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SENTENCE = "the quick brown fox jumps over a lazy dog and asks how many requests were slow last night"
END_TOKEN = "0"
"""The tiny model's end-of-sequence token: biased up a little it ends answers by chance, biased up much at once."""

LONG_TOKENS = 1800
LONG: dict[str, Any] = {"max_tokens": LONG_TOKENS, "ignore_eos": True}
"""Takes three seconds or more, so that a client can leave while it runs."""

COUNTED: dict[str, Any] = {"stream": True, "return_token_ids": True}
"""A stream without usage, whose tokens a client can count all the same."""


@dataclass(frozen=True)
class Call:
    """A request of a kind; `one_answer` says that it has one prompt and asks for one choice."""

    kind: str
    request: Request
    one_answer: bool


def _chat(rng: random.Random, **more: Any) -> tuple[str, dict[str, Any]]:
    body = {
        "model": MODEL_NAME,
        "messages": [{"role": "user", "content": _text(rng)}],
        "max_tokens": rng.randint(4, 12),
    }
    return "/v1/chat/completions", body | more


def _text_completion(rng: random.Random, **more: Any) -> tuple[str, dict[str, Any]]:
    body = {"model": MODEL_NAME, "prompt": _text(rng), "max_tokens": rng.randint(4, 12)}
    return "/v1/completions", body | more


def _messages(rng: random.Random, **more: Any) -> tuple[str, dict[str, Any]]:
    return "/v1/messages", _chat(rng)[1] | more


def _responses(rng: random.Random, **more: Any) -> tuple[str, dict[str, Any]]:
    return "/v1/responses", {"model": MODEL_NAME, "input": _text(rng), "max_output_tokens": rng.randint(4, 12)} | more


def _text(rng: random.Random) -> str:
    return " ".join(rng.choices(SENTENCE.split(), k=rng.randint(1, 12)))


WITH_USAGE: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
OFTEN_ENDS: dict[str, Any] = {"logit_bias": {END_TOKEN: 4}, "max_tokens": 40}
ENDS_AT_ONCE: dict[str, Any] = {"logit_bias": {END_TOKEN: 100}}
STOPS: dict[str, Any] = {"stop": ["e", "s", " "], "max_tokens": 40}

Body = tuple[str, dict[str, Any]]
ONE_ANSWER: dict[str, Callable[[random.Random], Body]] = {
    "chat": _chat,
    "chat, streamed": lambda rng: _chat(rng, **COUNTED),
    "chat, streamed with usage": lambda rng: _chat(rng, **WITH_USAGE),
    "chat, ended by the model": lambda rng: _chat(rng, **OFTEN_ENDS),
    "chat, streamed, ended by the model": lambda rng: _chat(rng, **OFTEN_ENDS, **COUNTED),
    "chat, ended by a stop string": lambda rng: _chat(rng, **STOPS),
    "chat, streamed, ended by a stop string": lambda rng: _chat(rng, **STOPS, **WITH_USAGE),
    "chat, empty": lambda rng: _chat(rng, **ENDS_AT_ONCE),
    "chat, streamed, empty": lambda rng: _chat(rng, **ENDS_AT_ONCE, **COUNTED),
    "text": _text_completion,
    "text, streamed": lambda rng: _text_completion(rng, **COUNTED),
    "text, streamed with usage": lambda rng: _text_completion(rng, **WITH_USAGE),
    "text, ended by the model": lambda rng: _text_completion(rng, **OFTEN_ENDS),
    "text, ended by a stop string": lambda rng: _text_completion(rng, **STOPS),
    "text, empty": lambda rng: _text_completion(rng, **ENDS_AT_ONCE),
    "text, streamed, empty": lambda rng: _text_completion(rng, **ENDS_AT_ONCE, **WITH_USAGE),
    "messages": _messages,
    "messages, streamed": lambda rng: _messages(rng, stream=True),
    "responses": _responses,
    "responses, streamed": lambda rng: _responses(rng, stream=True),
}
"""Answered with 200, one prompt, one choice: what vLLM's own per-request token sums count once."""

SEVERAL_ANSWERS: dict[str, Callable[[random.Random], Body]] = {
    "chat, two choices": lambda rng: _chat(rng, n=2),
    "chat, streamed, two choices": lambda rng: _chat(rng, n=2, **WITH_USAGE),
    "text, three choices": lambda rng: _text_completion(rng, n=3),
    "text, two prompts": lambda rng: _text_completion(rng, prompt=[_text(rng), _text(rng)]),
    "text, streamed, two prompts": lambda rng: _text_completion(rng, prompt=[_text(rng), _text(rng)], **WITH_USAGE),
}

REFUSED: dict[str, Callable[[random.Random], Body]] = {
    "unknown model": lambda rng: _chat(rng, model="no-such-model"),
    "unknown model, streamed": lambda rng: _chat(rng, model="no-such-model", stream=True),
    "too long": lambda rng: _chat(rng, messages=[{"role": "user", "content": "x" * 3000}]),
    "bad value": lambda rng: _text_completion(rng, temperature=-1),
    "missing field": lambda _rng: ("/v1/chat/completions", {"model": MODEL_NAME}),
    "unknown path": lambda rng: ("/v1/no-such-path", _chat(rng)[1]),
}

ABANDONED: dict[str, tuple[HangUp, Callable[[random.Random], Body]]] = {
    "chat, abandoned at once": ("at_once", lambda rng: _chat(rng, **LONG)),
    "chat, streamed, abandoned at once": ("at_once", lambda rng: _chat(rng, stream=True, **LONG)),
    "chat, abandoned while it is computed": ("after_wait", lambda rng: _chat(rng, **LONG)),
    "text, abandoned while it is computed": ("after_wait", lambda rng: _text_completion(rng, **LONG)),
    "chat, abandoned in mid-stream": ("after_three_chunks", lambda rng: _chat(rng, stream=True, **LONG)),
    "text, abandoned in mid-stream": ("after_three_chunks", lambda rng: _text_completion(rng, stream=True, **LONG)),
}

COUNTED_ONCE = (*ONE_ANSWER, *REFUSED, "bad JSON", "wrong method")
"""Kinds that vLLM's token sums count exactly once, or not at all.

It counts a prompt once for each choice; and an abandoned request only if the engine was done before it heard of that.
"""

KINDS = (*COUNTED_ONCE, *SEVERAL_ANSWERS, *ABANDONED)


def make_call(kind: str, request_id: str, rng: random.Random) -> Call:
    """A request of that kind; what the kind leaves open is drawn from `rng`."""
    if kind == "bad JSON":
        request = Request(request_id, "POST", "/v1/chat/completions", b'{"model": "tiny", "messages": [')
        return Call(kind, request, one_answer=True)
    if kind == "wrong method":
        return Call(kind, Request(request_id, "GET", "/v1/chat/completions"), one_answer=True)
    hang_up, build = ABANDONED.get(kind) or (None, {**ONE_ANSWER, **SEVERAL_ANSWERS, **REFUSED}[kind])
    path, body = build(rng)
    request = Request(request_id, "POST", path, json.dumps(body).encode(), hang_up)
    return Call(kind, request, one_answer=kind not in SEVERAL_ANSWERS)


def make_calls(kinds: Iterable[str], prefix: str, seed: int) -> list[Call]:
    """One call for each of `kinds`, with ids of their own and the same content for the same seed."""
    rng = random.Random(seed)
    return [make_call(kind, f"{prefix}-{number}", rng) for number, kind in enumerate(kinds)]


async def send_all(port: int, calls: Iterable[Call], parallel: int) -> list[tuple[Call, Answer]]:
    """Send `calls` in their order, at most `parallel` at a time; the answers come in the same order."""
    slots = asyncio.Semaphore(parallel)

    async def send_one(call: Call) -> tuple[Call, Answer]:
        async with slots:
            return call, await send(port, call.request)

    return await asyncio.gather(*(send_one(call) for call in calls))
