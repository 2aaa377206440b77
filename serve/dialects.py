"""The dialects of LLM servers: what one JSON document, or one event of a stream, adds to an `Answer`.

Known are OpenAI's chat completions, completions, responses, embeddings and transcriptions, Anthropic's messages, and
vLLM's own score, rerank, pooling and token endpoints. Documents are decoded into a struct that names only what is
needed, so that the rest (log probabilities, vectors) is skipped without making objects of it.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from serve.answer import Answer


class Message(msgspec.Struct, gc=False):
    """A chat message, or a delta of one."""

    content: Any = None
    refusal: Any = None
    audio: Any = None
    function_call: Any = None
    tool_calls: Any = None
    reasoning: Any = None
    reasoning_content: Any = None


class Choice(msgspec.Struct, gc=False):
    """One choice of a completion, whole or streamed."""

    index: Any = None
    message: Message | None = None
    delta: Message | None = None
    text: Any = None
    token_ids: msgspec.Raw = msgspec.Raw(b"null")
    finish_reason: Any = None


class Document(msgspec.Struct, gc=False):
    """A body or an event of any dialect."""

    id: Any = None
    object: Any = None
    type: Any = None
    model: Any = None
    choices: list[Choice] | None = None
    usage: Any = None
    error: Any = None
    output: Any = None
    """responses: the items"""
    status: Any = None
    """responses: completed, incomplete, failed, …"""
    incomplete_details: Any = None
    max_output_tokens: Any = None
    content: Any = None
    """messages: the blocks"""
    stop_reason: Any = None
    request_id: Any = None
    """the id in vLLM's token endpoints"""
    delta: Any = None
    content_block: Any = None
    item: Any = None
    message: Any = None
    code: Any = None
    param: Any = None
    response: Document | None = None


_DECODER: Final = msgspec.json.Decoder(Document)

OPERATION_BY_OBJECT: Final = {
    "chat.completion": "chat",
    "chat.completion.chunk": "chat",
    "response": "chat",
    "text_completion": "text_completion",
}


def decode(raw: bytes) -> Document | None:
    """The document in these bytes, or None for what is no JSON object of a known shape."""
    try:
        return _DECODER.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


# --- whole bodies ----------------------------------------------------------------------------------------------------


def take_body(answer: Answer, body: Document, *, failed: bool) -> None:
    """Add a whole JSON body to the answer; `failed` says that its HTTP status is an error."""
    if failed or (body.error is not None and body.object != "response"):
        _take_error(answer, body)
        return
    answer.name(body.id if body.id is not None else body.request_id, body.model)
    if body.usage is not None:
        answer.usage(body.usage)
    if body.choices is not None:
        answer.operation = OPERATION_BY_OBJECT.get(body.object) if isinstance(body.object, str) else None
        answer.n = len(body.choices)
        for choice in body.choices:
            answer.understood |= _take_choice(answer, choice) is not None
    elif body.object == "response":
        answer.operation = "chat"
        _take_response(answer, body)
    elif body.type == "message" and isinstance(body.content, list):
        answer.operation = "chat"
        answer.understood = True
        for block in body.content:
            _take_block(answer, block)
        answer.finish(body.stop_reason)


def _take_choice(answer: Answer, choice: Choice) -> str | None:
    """The key under which this choice holds content; `""` for none, None for a choice of an unknown shape."""
    if choice.finish_reason is not None:
        answer.finish(choice.finish_reason)
    message = choice.message or choice.delta
    if message is not None:
        return _take_message(answer, message, choice.index)
    if choice.text is not None:
        return "text" if answer.visible(choice.text) else ""
    tokens = bytes(choice.token_ids)
    if tokens == b"null":
        return None
    if tokens == b"[]":
        return ""
    answer.text = True  # tokens in, tokens out: nobody has made text of them here
    return "token_ids"


def _take_message(answer: Answer, message: Message, choice: Any) -> str:
    found, content = "", message.content
    if message.reasoning is not None and answer.thought(message.reasoning):
        found = "reasoning"
    if message.reasoning_content is not None and answer.thought(message.reasoning_content):
        found = "reasoning_content"
    if answer.visible(content) or (message.refusal is not None and answer.visible(message.refusal)):
        found = "content"
    if message.audio is not None or isinstance(content, list):
        answer.text = True
        found = "content"
    if message.tool_calls and isinstance(message.tool_calls, list):
        for call in message.tool_calls:
            answer.called(choice, call.get("index") if isinstance(call, dict) else None)
        found = "arguments"
    if message.function_call is not None:
        answer.called(choice, 0)
        found = "arguments"
    return found


def _take_block(answer: Answer, block: Any) -> None:
    """One content block of the messages dialect, or one content part of the responses dialect."""
    if not isinstance(block, dict):
        return
    kind = block.get("type")
    if kind in ("thinking", "redacted_thinking"):
        answer.thought(block.get("thinking") or block.get("data"))
    elif kind == "tool_use":
        answer.called()
    else:
        answer.visible(block.get("text") or block.get("refusal"))


def _take_response(answer: Answer, response: Document) -> None:
    """A whole `response` object. Its tool calls replace those counted while it was streamed."""
    limit = response.max_output_tokens
    if isinstance(limit, int) and limit >= 0:
        answer.max_tokens = limit
    if response.status in ("queued", "in_progress"):
        return  # a background job: this is not its answer yet
    answer.understood = True
    answer.forget_calls()
    for item in response.output if isinstance(response.output, list) else ():
        kind = item.get("type") if isinstance(item, dict) else None
        if kind == "reasoning":
            for part in [*(item.get("content") or ()), *(item.get("summary") or ())]:
                answer.thought(part.get("text") if isinstance(part, dict) else None)
        elif isinstance(kind, str) and kind.endswith("_call"):
            answer.called()
        elif kind == "message":
            for part in item.get("content") or ():
                _take_block(answer, part)
    if response.status == "completed":
        answer.finish("tool_calls" if answer.tool_calls else "stop")
    elif response.status == "incomplete" and isinstance(response.incomplete_details, dict):
        answer.finish(response.incomplete_details.get("reason"))
    elif response.status == "failed":
        answer.finish("error")
    else:
        answer.finish(response.status)


def _take_error(answer: Answer, body: Document) -> None:
    error = body.error
    if isinstance(error, dict):
        answer.failed(error.get("type"), error.get("code"), error.get("param"))
    else:
        answer.failed(None, body.code, body.param)


# --- events ----------------------------------------------------------------------------------------------------------


def take_event(answer: Answer, event: Document) -> str:
    """Add one event of a stream to the answer.

    Returns the key under which it holds generated content, `""` if it has none. For the `delta` of the responses
    dialect that is `text_delta` or, where it is not text, `delta`.
    """
    if event.error is not None:
        _take_error(answer, event)
        return ""
    if event.choices is not None:
        return _take_chunk(answer, event)
    kind = event.type
    if not isinstance(kind, str):
        answer.name(event.id, event.model)
        answer.usage(event.usage)
        return ""
    if kind.endswith(".delta"):
        return _take_text_delta(answer, kind, event.delta)
    if kind == "content_block_delta":
        return _take_block_delta(answer, event.delta)
    if event.response is not None:
        _take_response_event(answer, kind, event.response)
    elif kind == "response.output_item.added":
        if isinstance(event.item, dict) and str(event.item.get("type")).endswith("_call"):
            answer.called()
    elif kind == "message_start" and isinstance(event.message, dict):
        answer.operation = "chat"
        answer.name(event.message.get("id"), event.message.get("model"))
        answer.usage(event.message.get("usage"), started=True)
    elif kind == "content_block_start":
        block = event.content_block
        if isinstance(block, dict) and block.get("type") == "tool_use":
            answer.called()
    elif kind == "message_delta":
        answer.understood = True
        answer.usage(event.usage)
        if isinstance(event.delta, dict):
            answer.finish(event.delta.get("stop_reason"))
    elif kind == "error":
        answer.failed(None, event.code, event.param)
    return ""


def _take_chunk(answer: Answer, chunk: Document) -> str:
    """A chunk of a chat completion, a completion or a transcription."""
    if answer.id is None or answer.model is None:
        answer.name(chunk.id if chunk.id is not None else chunk.request_id, chunk.model)
    if answer.operation is None and isinstance(chunk.object, str):
        answer.operation = OPERATION_BY_OBJECT.get(chunk.object)
    if chunk.usage is not None:
        answer.usage(chunk.usage)
    found = ""
    for choice in chunk.choices or ():
        key = _take_choice(answer, choice)
        answer.choice(choice.index)
        if key is not None:
            answer.understood = True
            found = key or found
    return found


def _take_text_delta(answer: Answer, kind: str, delta: Any) -> str:
    """A `….delta` event of the responses dialect."""
    if not isinstance(delta, str) or not delta:
        return ""
    if "reasoning" in kind:
        answer.thought(delta)
    elif "arguments" in kind or "_call_" in kind:
        answer.calling()
    else:
        answer.visible(delta)
        return "text_delta"
    return "delta"


def _take_block_delta(answer: Answer, delta: Any) -> str:
    """A `content_block_delta` event of the messages dialect."""
    if not isinstance(delta, dict):
        return ""
    if answer.visible(delta.get("text")):
        return "text"
    if answer.thought(delta.get("thinking")):
        return "thinking"
    if delta.get("partial_json"):
        answer.calling()
        return "partial_json"
    return ""


def _take_response_event(answer: Answer, kind: str, response: Document) -> None:
    """An event that carries the whole `response` object: its first ones tell the id, its last one all the rest."""
    answer.operation = "chat"
    answer.name(response.id, response.model)
    answer.usage(response.usage)
    if kind == "response.failed":
        error = response.error if isinstance(response.error, dict) else {}
        answer.failed(error.get("type") or error.get("code"), error.get("code"), None)
    else:
        _take_response(answer, response)
