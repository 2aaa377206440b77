"""The access line of a finished request: its fields in the log's own order, and nothing that is not known."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from logproc.record import GENERATION, OPERATIONS, UNMATCHED
from serve import identity
from serve.answer import Answer
from serve.exchange import Exchange
from serve.outcome import Facts, decide
from serve.settings import Settings
from serve.timings import Timings, to_ms


@dataclass(frozen=True, slots=True)
class Process:
    """What is the same in every line of a process. `secret` is the key of `api_key_id`, None where there is none."""

    settings: Settings
    host: str
    pid: int
    secret: bytes | None = None


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
    answer, scope = exchange.answer, exchange.scope
    path = identity.template_of(scope, OPERATIONS) or UNMATCHED
    operation = OPERATIONS.get(path) or answer.operation
    if timings is not None and answer.finish_reason is None:
        answer.finish(timings.finish_reason)
    usage = getattr(exchange.metadata(), "final_usage_info", None)
    line = AccessLine(
        time=time,
        id=line_id,
        method=scope.get("method"),
        path=path,
        status=exchange.line_status,
        prompt_tokens=_known(answer.prompt_tokens, usage, timings, "prompt_tokens"),
        completion_tokens=_known(answer.completion_tokens, usage, timings, "completion_tokens"),
        duration_ms=duration_ms,
        outcome=decide(facts_of(exchange, operation)),
        request_id=exchange.request_id.decode("ascii"),
        response_id=identity.response_id(answer.id),
        model=answer.model,
        operation=operation,
        stream=exchange.stream,
        finish_reason=answer.finish_reason,
        host=process.host,
        pid=process.pid,
        service=process.settings.service,
    )
    if traceparent := exchange.headers.get(b"traceparent"):
        line.trace_id = identity.trace_id(traceparent)
    if answer.first_content_at is not None:
        line.ttft_ms = to_ms(answer.first_content_at - exchange.received_at)
        if answer.longest_gap >= 0:
            line.stall_max_ms = to_ms(answer.longest_gap)
    _add_counts(line, answer, usage, timings)
    if timings is not None:
        _add_engine_facts(line, timings)
    if answer.error or exchange.raised:
        _add_error(line, exchange)
    _add_client(line, exchange, process)
    return line


def _add_engine_facts(line: AccessLine, timings: Timings) -> None:
    """What only the engine knows. A time (ms) that exceeds the whole request is wrong; a prefill that does takes the
    queue along, since both come from a clock that the engine never read.
    """
    longest, prefill = line.duration_ms, timings.prefill_ms
    if prefill is None or prefill <= longest:
        if timings.queue_ms is not None and timings.queue_ms <= longest:
            line.queue_ms = timings.queue_ms
        line.prefill_ms = prefill
    if timings.decode_ms is not None and timings.decode_ms <= longest:
        line.decode_ms = timings.decode_ms
    if timings.tpot_ms is not None and timings.tpot_ms <= longest:
        line.tpot_ms = timings.tpot_ms
    line.preemptions = timings.preemptions
    line.corrupted = timings.corrupted


def _add_counts(line: AccessLine, answer: Answer, usage: object, timings: Timings | None) -> None:
    prompt_details = completion_details = None
    if usage is not None:
        prompt_details = getattr(usage, "prompt_tokens_details", None)
        completion_details = getattr(usage, "completion_tokens_details", None)
    line.cached_tokens = _known(answer.cached_tokens, prompt_details, timings, "cached_tokens")
    reasoning = _known(answer.reasoning_tokens, completion_details, None, "reasoning_tokens")
    if reasoning is not None and (reasoning > 0 or not answer.reasoning):
        line.reasoning_tokens = reasoning  # reasoning that was seen, but counted as none, was not counted
    if answer.n > 1:
        line.n = answer.n
    if answer.tool_calls:
        line.tool_calls = answer.tool_calls
    line.max_tokens = _known(answer.max_tokens, None, timings, "max_tokens")


def _add_error(line: AccessLine, exchange: Exchange) -> None:
    answer = exchange.answer
    if answer.error_type is not None:
        line.error_type = answer.error_type
    elif exchange.raised and not exchange.left:
        line.error_type = exchange.raised
    line.error_code = answer.error_code
    line.error_param = answer.error_param


def _add_client(line: AccessLine, exchange: Exchange, process: Process) -> None:
    header, settings = exchange.headers.get, process.settings
    line.client = identity.client_address(exchange.peer, header(b"x-forwarded-for", b""), settings)
    if settings.user_header is not None:
        line.user_id = identity.shown(header(settings.user_header, b""), 128)
    key = identity.api_key(header(b"authorization", b""), header(b"x-api-key", b""))
    line.api_key_id = identity.api_key_id(key, process.secret)
    line.user_agent = identity.shown(header(b"user-agent", b""), 256)


def facts_of(exchange: Exchange, operation: str | None) -> Facts:
    """What the outcome of this exchange depends on."""
    answer, status = exchange.answer, exchange.line_status
    return Facts(
        status=status,
        left=exchange.left,
        started=exchange.status is not None,
        raised=exchange.final_at is None,
        error=answer.error and status < 400,
        error_code=answer.error_code,
        content_before_error=answer.content_before_error,
        finish_reason=answer.finish_reason,
        text=answer.text,
        tool_call=answer.tool_call,
        reasoning=answer.reasoning,
        generation=operation in GENERATION and answer.understood,
    )


def _known(told: int | None, usage: object, timings: Timings | None, name: str) -> int | None:
    """A count as the response told it, else as the server noted it for itself, else as the engine did."""
    if told is not None:
        return told
    if usage is not None:
        noted = getattr(usage, name, None)
        if isinstance(noted, int) and noted >= 0:
            return noted
    if timings is None:
        return None
    counted: int | None = getattr(timings, name)
    return counted
