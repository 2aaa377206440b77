"""The access line of a finished request: its fields in the log's own order, and nothing that is not known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from logproc.record import GENERATION, OPERATIONS, UNMATCHED
from serve import identity
from serve.answer import Answer
from serve.exchange import Exchange
from serve.outcome import Facts, decide
from serve.settings import Settings
from serve.timings import Timings

_UNKNOWN: Final = Timings()


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
    if timings is None:
        timings = _UNKNOWN
    if answer.finish_reason is None:
        answer.finish(timings.finish_reason)
    usage = getattr(exchange.metadata(), "final_usage_info", None)
    queue_ms, prefill_ms, decode_ms, tpot_ms = _engine_times(timings, duration_ms)
    key = identity.api_key(exchange.authorization, exchange.x_api_key)
    line: dict[str, object] = {
        "time": time,
        "id": line_id,
        "method": scope.get("method"),
        "path": path,
        "status": exchange.line_status,
        "prompt_tokens": _known(answer.prompt_tokens, usage, "prompt_tokens", timings.prompt_tokens),
        "completion_tokens": _known(answer.completion_tokens, usage, "completion_tokens", timings.completion_tokens),
        "duration_ms": duration_ms,
    }
    optional = {
        "outcome": decide(facts_of(exchange, operation)),
        "request_id": exchange.request_id.decode("ascii"),
        "response_id": identity.response_id(answer.id) if answer.id is not None else None,
        "trace_id": identity.trace_id(exchange.traceparent) if exchange.traceparent else None,
        "model": answer.model,
        "operation": operation,
        "stream": exchange.stream,
        "finish_reason": answer.finish_reason,
        "ttft_ms": None if answer.first_content_at is None else _ms(answer.first_content_at - exchange.received_at),
        "stall_max_ms": None if answer.longest_gap < 0 else _ms(answer.longest_gap),
        "queue_ms": queue_ms,
        "prefill_ms": prefill_ms,
        "decode_ms": decode_ms,
        "tpot_ms": tpot_ms,
        "cached_tokens": _known(
            answer.cached_tokens, getattr(usage, "prompt_tokens_details", None), "cached_tokens", timings.cached_tokens
        ),
        "reasoning_tokens": _reasoning_tokens(answer, getattr(usage, "completion_tokens_details", None)),
        "preemptions": timings.preemptions,
        "n": answer.n if answer.n > 1 else None,
        "tool_calls": answer.tool_calls or None,
        "max_tokens": answer.max_tokens if answer.max_tokens is not None else timings.max_tokens,
        "corrupted": timings.corrupted,
        "error_type": answer.error_type or (None if exchange.left else exchange.raised or None),
        "error_code": answer.error_code,
        "error_param": answer.error_param,
        "client": identity.client_address(scope.get("client"), exchange.forwarded_for, process.settings),
        "user_id": identity.shown(exchange.user, 128) if exchange.user else None,
        "api_key_id": identity.api_key_id(key, process.secret) if key else None,
        "user_agent": identity.shown(exchange.user_agent, 256) if exchange.user_agent else None,
        "host": process.host,
        "pid": process.pid,
        "service": process.settings.service,
    }
    line.update({name: value for name, value in optional.items() if value is not None})
    return line


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


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


def _known(told: int | None, usage: object, name: str, by_engine: int | None) -> int | None:
    """A count as the response told it, else as the server noted it for itself, else as the engine did."""
    if told is not None:
        return told
    if usage is None:
        return by_engine
    noted = getattr(usage, name, None)
    return noted if isinstance(noted, int) and noted >= 0 else by_engine


def _reasoning_tokens(answer: Answer, details: object) -> int | None:
    """Reasoning that was seen but counted as none was not counted: its number is not known."""
    tokens = _known(answer.reasoning_tokens, details, "reasoning_tokens", None)
    return None if tokens == 0 and answer.reasoning else tokens


def _engine_times(timings: Timings, duration_ms: float) -> tuple[float | None, ...]:
    """Queue, prefill, decode and time per token (ms). One that exceeds the whole request is wrong; a prefill that
    does takes the queue along, since both come from a clock that the engine never read.
    """
    times = (timings.queue_ms, timings.prefill_ms, timings.decode_ms, timings.tpot_ms)
    if timings is _UNKNOWN:
        return times
    queue, prefill, decode, tpot = (time if time is not None and time <= duration_ms else None for time in times)
    if prefill is None and timings.prefill_ms is not None:
        queue = None
    return queue, prefill, decode, tpot
