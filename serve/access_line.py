"""The access line of a finished request: its fields in the log's own order, and nothing that is not known."""

from __future__ import annotations

from dataclasses import dataclass

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


def required_fields(time: str, line_id: str, duration_ms: float, exchange: Exchange) -> dict[str, object]:
    """The required fields alone, tokens unknown: for when the whole line could not be made."""
    return {
        "time": time,
        "id": line_id,
        "method": str(exchange.scope.get("method")),
        "path": UNMATCHED,
        "status": exchange.line_status,
        "prompt_tokens": None,
        "completion_tokens": None,
        "duration_ms": duration_ms,
    }


def access_line(
    time: str, line_id: str, duration_ms: float, exchange: Exchange, timings: Timings | None, process: Process
) -> dict[str, object]:
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
    line: dict[str, object] = {
        "time": time,
        "id": line_id,
        "method": scope.get("method"),
        "path": path,
        "status": exchange.line_status,
        "prompt_tokens": _known(answer.prompt_tokens, usage, timings, "prompt_tokens"),
        "completion_tokens": _known(answer.completion_tokens, usage, timings, "completion_tokens"),
        "duration_ms": duration_ms,
        "outcome": decide(facts_of(exchange, operation)),
        "request_id": exchange.request_id.decode("ascii"),
    }
    # Filling the dict step by step takes a quarter of the time of a large one that is filtered.
    if answer.id is not None and (response_id := identity.response_id(answer.id)) is not None:
        line["response_id"] = response_id
    traceparent = exchange.headers.get(b"traceparent")
    if traceparent and (trace_id := identity.trace_id(traceparent)) is not None:
        line["trace_id"] = trace_id
    if answer.model is not None:
        line["model"] = answer.model
    if operation is not None:
        line["operation"] = operation
    if exchange.stream is not None:
        line["stream"] = exchange.stream
    if answer.finish_reason is not None:
        line["finish_reason"] = answer.finish_reason
    if answer.first_content_at is not None:
        line["ttft_ms"] = to_ms(answer.first_content_at - exchange.received_at)
    if answer.longest_gap >= 0:
        line["stall_max_ms"] = to_ms(answer.longest_gap)
    if timings is not None:
        _add_engine_times(line, timings, duration_ms)
    _add_counts(line, answer, usage, timings)
    if answer.error or exchange.raised:
        _add_error(line, exchange)
    _add_client(line, exchange, process)
    line["host"] = process.host
    line["pid"] = process.pid
    line["service"] = process.settings.service
    return line


def _add_engine_times(line: dict[str, object], timings: Timings, duration_ms: float) -> None:
    """Queue, prefill, decode and time per token (ms). One that exceeds the whole request is wrong; a prefill that
    does takes the queue along, since both come from a clock that the engine never read.
    """
    prefill = timings.prefill_ms
    if prefill is None or prefill <= duration_ms:
        if timings.queue_ms is not None and timings.queue_ms <= duration_ms:
            line["queue_ms"] = timings.queue_ms
        if prefill is not None:
            line["prefill_ms"] = prefill
    if timings.decode_ms is not None and timings.decode_ms <= duration_ms:
        line["decode_ms"] = timings.decode_ms
    if timings.tpot_ms is not None and timings.tpot_ms <= duration_ms:
        line["tpot_ms"] = timings.tpot_ms


def _add_counts(line: dict[str, object], answer: Answer, usage: object, timings: Timings | None) -> None:
    details = getattr(usage, "prompt_tokens_details", None)
    cached = _known(answer.cached_tokens, details, timings, "cached_tokens")
    if cached is not None:
        line["cached_tokens"] = cached
    details = getattr(usage, "completion_tokens_details", None)
    reasoning = _known(answer.reasoning_tokens, details, None, "reasoning_tokens")
    if reasoning is not None and (reasoning > 0 or not answer.reasoning):
        line["reasoning_tokens"] = reasoning  # reasoning that was seen, but counted as none, was not counted
    if timings is not None and timings.preemptions is not None:
        line["preemptions"] = timings.preemptions
    if answer.n > 1:
        line["n"] = answer.n
    if answer.tool_calls:
        line["tool_calls"] = answer.tool_calls
    max_tokens = _known(answer.max_tokens, None, timings, "max_tokens")
    if max_tokens is not None:
        line["max_tokens"] = max_tokens
    if timings is not None and timings.corrupted is not None:
        line["corrupted"] = timings.corrupted


def _add_error(line: dict[str, object], exchange: Exchange) -> None:
    answer = exchange.answer
    if answer.error_type is not None:
        line["error_type"] = answer.error_type
    elif exchange.raised and not exchange.left:
        line["error_type"] = exchange.raised
    if answer.error_code is not None:
        line["error_code"] = answer.error_code
    if answer.error_param is not None:
        line["error_param"] = answer.error_param


def _add_client(line: dict[str, object], exchange: Exchange, process: Process) -> None:
    header, settings = exchange.headers.get, process.settings
    client = identity.client_address(exchange.scope.get("client"), header(b"x-forwarded-for", b""), settings)
    if client is not None:
        line["client"] = client
    if settings.user_header is not None and (user_id := identity.shown(header(settings.user_header, b""), 128)):
        line["user_id"] = user_id
    key = identity.api_key(header(b"authorization", b""), header(b"x-api-key", b""))
    if (api_key_id := identity.api_key_id(key, process.secret)) is not None:
        line["api_key_id"] = api_key_id
    if user_agent := identity.shown(header(b"user-agent", b""), 256):
        line["user_agent"] = user_agent


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
