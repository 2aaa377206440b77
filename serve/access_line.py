"""The access line of a finished request: its fields in the log's own order, and nothing that is not known."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from logproc.record import GENERATION, OPERATIONS, UNMATCHED
from serve import identity
from serve.answer import Answer
from serve.exchange import Exchange
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


def required_fields(time: str, line_id: str, duration_ms: float, exchange: Exchange) -> AccessLine:
    """The required fields alone, tokens unknown: for when the whole line could not be made."""
    method = str(exchange.scope.get("method"))
    return AccessLine(time, line_id, method, UNMATCHED, exchange.line_status, None, None, duration_ms)


def access_line(
    time: str, line_id: str, duration_ms: float, exchange: Exchange, timings: Timings | None, process: Process
) -> AccessLine:
    """The whole line.

    Args:
        time: when the request finished, RFC 3339.
        line_id: see `logproc.record.make_line_id`.
        duration_ms: from the request's receipt to its end.
        exchange: the request and its response.
        timings: what the engine said of it, if anything. Its times are left out where they cannot be true.
        process: whose line it is.
    """
    answer, scope, settings = exchange.answer, exchange.scope, process.settings
    path = identity.template_of(scope, OPERATIONS) or UNMATCHED
    operation = OPERATIONS.get(path) or answer.operation
    status = exchange.line_status
    metadata = exchange.metadata()
    if metadata is not None:
        _add_noted(answer, getattr(metadata, "final_usage_info", None))
    queue_ms = prefill_ms = decode_ms = tpot_ms = preemptions = corrupted = None
    if timings is not None:
        _add_counted(answer, timings)
        queue_ms, prefill_ms, decode_ms, tpot_ms = _believed(timings, duration_ms)
        preemptions, corrupted = timings.preemptions, timings.corrupted
    ttft_ms = stall_max_ms = None
    if answer.first_content_at is not None:
        ttft_ms = to_ms(answer.first_content_at - exchange.received_at)
        if answer.longest_gap >= 0:
            stall_max_ms = to_ms(answer.longest_gap)
    if answer.reasoning and answer.reasoning_tokens == 0:
        answer.reasoning_tokens = None  # reasoning that was seen, but counted as none, was not counted
    header = exchange.headers.get
    client, traceparent = exchange.peer, header(b"traceparent")
    if settings.trusted_proxies:
        client = identity.client_address(client, header(b"x-forwarded-for"), settings)
    line = AccessLine(  # in the order of its fields: by name it would take twice as long
        time,
        line_id,
        scope.get("method"),
        path,
        status,
        answer.prompt_tokens,
        answer.completion_tokens,
        duration_ms,
        decide(facts_of(exchange, status, operation)),
        exchange.request_id.decode(),
        identity.response_id(answer.id),
        None if traceparent is None else identity.trace_id(traceparent),
        answer.model,
        operation,
        exchange.stream,
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
    if answer.error or exchange.raised:
        _add_error(line, exchange)
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


def _add_error(line: AccessLine, exchange: Exchange) -> None:
    answer = exchange.answer
    if answer.error_type is not None:
        line.error_type = answer.error_type
    elif exchange.raised and not exchange.left:
        line.error_type = exchange.raised
    line.error_code = answer.error_code
    line.error_param = answer.error_param


def facts_of(exchange: Exchange, status: int, operation: str | None) -> Facts:
    """What the outcome of this exchange depends on."""
    answer = exchange.answer
    return Facts(
        status,
        exchange.left,
        exchange.status is not None,
        exchange.final_at is None,
        answer.error and status < 400,
        answer.error_code,
        answer.content_before_error,
        answer.finish_reason,
        answer.text,
        answer.tool_call,
        answer.reasoning,
        operation in GENERATION and answer.understood,
    )
