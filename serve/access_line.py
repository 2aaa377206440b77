"""The access line of a finished request: its fields in the log's own order, and nothing that is not known."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from logproc.record import GENERATION, OPERATIONS, UNMATCHED
from serve import identity
from serve.answer import Answer
from serve.finished import Finished
from serve.identity import ApiKeys
from serve.outcome import Facts, decide
from serve.settings import Settings
from serve.timings import Timings, to_ms


@dataclass(frozen=True, slots=True)
class Process:
    """What is the same in every line of a process."""

    settings: Settings
    host: str
    pid: int
    keys: ApiKeys


class AccessLine(msgspec.Struct, omit_defaults=True, gc=False):
    """One finished request as it is written: `logproc.record.REQUEST_FIELDS`, those that are None left out.

    The first ones are always there; tokens that are not known are `null`.
    """

    time: str
    id: str
    method: str | None
    path: str
    status: int
    prompt_tokens: int | None
    completion_tokens: int | None
    duration_ms: float
    outcome: str | None = None
    request_id: str | None = None
    response_id: str | None = None
    trace_id: str | None = None
    model: str | None = None
    operation: str | None = None
    stream: bool | None = None
    finish_reason: str | None = None
    ttft_ms: float | None = None
    stall_max_ms: float | None = None
    queue_ms: float | None = None
    prefill_ms: float | None = None
    decode_ms: float | None = None
    tpot_ms: float | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    preemptions: int | None = None
    n: int | None = None
    tool_calls: int | None = None
    max_tokens: int | None = None
    corrupted: bool | None = None
    error_type: str | None = None
    error_code: int | None = None
    error_param: str | None = None
    client: str | None = None
    user_id: str | None = None
    api_key_id: str | None = None
    user_agent: str | None = None
    host: str | None = None
    pid: int | None = None
    service: str | None = None


Line = AccessLine | dict[str, object]
"""What is written: of a request, or what the server says of itself."""


def required_fields(time: str, line_id: str, finished: Finished) -> AccessLine:
    """The required fields alone, tokens unknown: for when the whole line could not be made."""
    path, duration_ms = finished.path or UNMATCHED, to_ms(finished.ended_at - finished.received_at)
    return AccessLine(time, line_id, str(finished.method), path, finished.status, None, None, duration_ms)


def access_line(time: str, line_id: str, finished: Finished, answer: Answer, process: Process) -> AccessLine:
    """The whole line. The engine's times are left out where they cannot be true.

    Args:
        time: when the request finished, RFC 3339.
        line_id: see `logproc.record.make_line_id`.
        finished: the request and its response.
        answer: what the response said.
        process: whose line it is.
    """
    settings, response = process.settings, finished.response
    path = finished.path or UNMATCHED
    operation = OPERATIONS.get(path) or answer.operation
    duration_ms, timings = to_ms(finished.ended_at - finished.received_at), finished.timings
    if finished.usage is not None:
        _add_noted(answer, finished.usage)
    queue_ms = prefill_ms = decode_ms = tpot_ms = preemptions = corrupted = None
    if timings is not None:
        _add_counted(answer, timings)
        queue_ms, prefill_ms, decode_ms, tpot_ms = _believed(timings, duration_ms)
        preemptions, corrupted = timings.preemptions, timings.corrupted
    ttft_ms = stall_max_ms = None
    if answer.first_content_at is not None:
        ttft_ms = to_ms(answer.first_content_at - finished.received_at)
        if answer.longest_gap >= 0:
            stall_max_ms = to_ms(answer.longest_gap)
    if answer.reasoning and answer.reasoning_tokens == 0:
        answer.reasoning_tokens = None  # reasoning that was seen, but counted as none, was not counted
    header = dict(reversed(finished.headers)).get  # of several with one name the first
    client = finished.client[0] if finished.client else None
    if not client or not isinstance(client, str):
        client = None  # a Unix socket
    traceparent = header(b"traceparent")
    if settings.trusted_proxies:
        client = identity.client_address(client, header(b"x-forwarded-for"), settings)
    line = AccessLine(  # in the order of its fields: by name it would take twice as long
        time,
        line_id,
        finished.method,
        path,
        finished.status,
        answer.prompt_tokens,
        answer.completion_tokens,
        duration_ms,
        decide(facts_of(finished, answer, operation)),
        finished.request_id.decode(),
        identity.response_id(answer.id),
        None if traceparent is None else identity.trace_id(traceparent),
        answer.model,
        operation,
        None if response is None else response.stream,
        answer.finish_reason,
        ttft_ms,
        stall_max_ms,
        queue_ms,
        prefill_ms,
        decode_ms,
        tpot_ms,
        answer.cached_tokens,
        answer.reasoning_tokens,
        preemptions,
        answer.n if answer.n > 1 else None,
        answer.tool_calls or None,
        answer.max_tokens,
        corrupted,
        None,  # an error's kind follows
        None,
        None,
        client,
        None if settings.user_header is None else identity.shown(header(settings.user_header), 128),
        process.keys.id_of(header(b"authorization"), header(b"x-api-key")),
        identity.shown(header(b"user-agent"), 256),
        process.host,
        process.pid,
        settings.service,
    )
    if answer.error or finished.raised:
        _add_error(line, finished, answer)
    return line


def _add_noted(answer: Answer, usage: object) -> None:
    """Counts that the response did not tell, as the server noted them for itself; no stable interface."""
    if answer.prompt_tokens is None:
        answer.prompt_tokens = _noted(usage, "prompt_tokens")
    if answer.completion_tokens is None:
        answer.completion_tokens = _noted(usage, "completion_tokens")
    if answer.cached_tokens is None:
        answer.cached_tokens = _noted(getattr(usage, "prompt_tokens_details", None), "cached_tokens")
    if answer.reasoning_tokens is None:
        answer.reasoning_tokens = _noted(getattr(usage, "completion_tokens_details", None), "reasoning_tokens")


def _noted(usage: object, name: str) -> int | None:
    count = getattr(usage, name, None)
    return count if isinstance(count, int) and count >= 0 else None


def _add_counted(answer: Answer, timings: Timings) -> None:
    """What neither the response nor the server told, as the engine counted it."""
    if answer.finish_reason is None:
        answer.finish(timings.finish_reason)
    if answer.prompt_tokens is None:
        answer.prompt_tokens = timings.prompt_tokens
    if answer.completion_tokens is None:
        answer.completion_tokens = timings.completion_tokens
    if answer.cached_tokens is None:
        answer.cached_tokens = timings.cached_tokens
    if answer.max_tokens is None:
        answer.max_tokens = timings.max_tokens


def _believed(timings: Timings, longest: float) -> tuple[float | None, float | None, float | None, float | None]:
    """The engine's queue, prefill, decode and tpot (ms). One that exceeds the whole request (`longest`) is wrong; a
    prefill that does takes the queue along, since both come from a clock that the engine never read.
    """
    queue, prefill, decode, tpot = timings.queue_ms, timings.prefill_ms, timings.decode_ms, timings.tpot_ms
    if prefill is not None and prefill > longest:
        queue = prefill = None
    if queue is not None and queue > longest:
        queue = None
    if decode is not None and decode > longest:
        decode = None
    if tpot is not None and tpot > longest:
        tpot = None
    return queue, prefill, decode, tpot


def _add_error(line: AccessLine, finished: Finished, answer: Answer) -> None:
    if answer.error_type is not None:
        line.error_type = answer.error_type
    elif finished.raised and not finished.left:
        line.error_type = finished.raised
    line.error_code = answer.error_code
    line.error_param = answer.error_param


def facts_of(finished: Finished, answer: Answer, operation: str | None) -> Facts:
    """What the outcome of this request depends on."""
    status = finished.status
    return Facts(
        status,
        finished.left,
        finished.response is not None,
        not finished.is_whole,
        answer.error and status < 400,
        answer.error_code,
        answer.content_before_error,
        answer.finish_reason,
        answer.text,
        answer.tool_call,
        answer.reasoning,
        operation in GENERATION and answer.understood,
    )
