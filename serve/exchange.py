"""One request and its response: what passed by of them, and the facts and the access line that they make."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

from logproc.record import GENERATION, OPERATIONS, REQUEST_FIELDS, UNMATCHED
from serve import identity
from serve.answer import Answer
from serve.outcome import Facts, decide
from serve.response_reader import Reader, reader_for
from serve.settings import Settings
from serve.timings import Timings

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]

CLIENT_LEFT: Final = 499
RAISED: Final = 500

_ALWAYS: Final = frozenset({"prompt_tokens", "completion_tokens"})
"""Fields that stand in the line even when they are not known."""
_FIELD_INDEX: Final = {name: index for index, name in enumerate(REQUEST_FIELDS)}
_HEADERS: Final = {
    b"x-request-id": "request_id",
    b"traceparent": "traceparent",
    b"user-agent": "user_agent",
    b"x-forwarded-for": "forwarded_for",
    b"authorization": "authorization",
    b"x-api-key": "x_api_key",
}
_UNREAD: Final = ("/render", "/derender")
"""Endpoints whose answers describe a generation that another request makes."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What is the same in every line of a process."""

    host: str
    pid: int
    service: str


class Exchange:
    """The state of one request, from the moment it was received (seconds, monotonic) until its line is written."""

    __slots__ = (
        "answer",
        "authorization",
        "final_at",
        "forwarded_for",
        "in_flight",
        "left",
        "raised",
        "reader",
        "received_at",
        "request_id",
        "scope",
        "status",
        "stream",
        "traceparent",
        "user",
        "user_agent",
        "written",
        "x_api_key",
    )

    def __init__(self, scope: Scope, received_at: float, user_header: bytes | None) -> None:
        """Take the request's own part, and put our X-Request-Id into its headers where it has none that is safe."""
        self.scope = scope
        self.received_at = received_at
        self.in_flight: int | None = None
        self.answer = Answer()
        self.reader: Reader | None = None
        self.status: int | None = None
        self.stream: bool | None = None
        self.left = False
        self.raised: str | None = None
        """The class of what the app raised before the final body; `""` for a request cut off by the shutdown."""
        self.final_at: float | None = None
        self.written = False
        self.user = self.request_id = self.traceparent = self.user_agent = self.forwarded_for = b""
        self.authorization = self.x_api_key = b""
        headers = scope["headers"]
        for name, value in headers:
            if name in _HEADERS and not getattr(self, attribute := _HEADERS[name]):
                setattr(self, attribute, value)
            if name == user_header and not self.user:
                self.user = value
        given, self.request_id = self.request_id, identity.request_id(self.request_id)
        if given != self.request_id:
            kept = [header for header in headers if header[0] != b"x-request-id"] if given else headers
            scope["headers"] = [*kept, (b"x-request-id", self.request_id)]
        scope.setdefault("state", {})  # where vLLM leaves its own account of the usage

    def start(self, message: Message) -> Message:
        """Take the response start; the message to send in its place, with our X-Request-Id."""
        headers = list(message.get("headers") or ())
        names = {name.lower(): value for name, value in headers}
        if self.status is None and not self.left:
            self.status = status = message["status"]
            self.stream = names.get(b"content-type", b"").lower().startswith(b"text/event-stream")
            if status >= 400 or self._generates():
                self.reader = reader_for(self.answer, status, names)
        if b"x-request-id" not in names:
            headers.append((b"x-request-id", self.request_id))
        return {**message, "headers": headers}

    def _generates(self) -> bool:
        """Whether the answer is this request's own. One that is only shown again was counted when it was made."""
        path: str = self.scope.get("path", "")
        return self.scope.get("method") == "POST" and not path.endswith(_UNREAD) and "/v1/responses/" not in path

    def facts(self, operation: str | None) -> Facts:
        """What the outcome depends on."""
        answer = self.answer
        complete = self.final_at is not None and not self.left
        return Facts(
            status=self.line_status,
            left=self.left,
            started=self.status is not None,
            raised=not complete,
            error=answer.error and self.line_status < 400,
            error_code=answer.error_code,
            content_before_error=answer.content_before_error,
            finish_reason=answer.finish_reason,
            text=answer.text,
            tool_call=answer.tool_call,
            reasoning=answer.reasoning,
            generation=operation in GENERATION and answer.understood,
        )

    @property
    def line_status(self) -> int:
        """The response start that was sent before the client left; 499 when it left first, 500 when there was none."""
        if self.status is not None:
            return self.status
        return CLIENT_LEFT if self.left else RAISED

    def _metadata(self) -> object:
        """The request's account by vLLM itself; no stable interface, so each attribute is looked up by itself."""
        state = self.scope.get("state")
        return state.get("request_metadata") if isinstance(state, dict) else None

    @property
    def engine_id(self) -> str | None:
        """The id under which the engine knows the request, but for its suffixes."""
        if self.answer.id is not None:
            return self.answer.id
        found = getattr(self._metadata(), "request_id", None)
        return found if isinstance(found, str) else None

    def path(self) -> str:
        """The route template."""
        return identity.template_of(self.scope, OPERATIONS) or UNMATCHED

    def minimal_line(self, time: str, line_id: str, duration_ms: float) -> dict[str, object]:
        """The required fields alone: for when the whole line could not be made."""
        return {
            "time": time,
            "id": line_id,
            "method": str(self.scope.get("method")),
            "path": UNMATCHED,
            "status": self.line_status,
            "prompt_tokens": None,
            "completion_tokens": None,
            "duration_ms": duration_ms,
        }

    def line(
        self,
        time: str,
        line_id: str,
        duration_ms: float,
        timings: Timings | None,
        settings: Settings,
        secret: bytes | None,
        origin: Origin,
    ) -> dict[str, object]:
        """The access line, fields in the log's own order, without those that are not known.

        Args:
            time: when the request finished, RFC 3339.
            line_id: see `logproc.record.make_line_id`.
            duration_ms: from the request's receipt to its end.
            timings: what the engine said of it, if anything.
            settings: how the client and the user are found.
            secret: the key of `api_key_id`.
            origin: host, pid and service.
        """
        answer, scope = self.answer, self.scope
        path = self.path()
        operation = OPERATIONS.get(path) or answer.operation
        if timings is not None and answer.finish_reason is None:
            answer.finish(timings.finish_reason)
        outcome = decide(self.facts(operation))
        key = identity.api_key(self.authorization, self.x_api_key)
        values: dict[str, object] = {
            "time": time,
            "id": line_id,
            "method": scope.get("method"),
            "path": path,
            "status": self.line_status,
            **self._tokens(timings),
            "duration_ms": duration_ms,
            "outcome": outcome,
            "request_id": self.request_id.decode("ascii"),
            "response_id": identity.response_id(answer.id),
            "trace_id": identity.trace_id(self.traceparent) if self.traceparent else None,
            "model": answer.model,
            "operation": operation,
            "stream": self.stream,
            "finish_reason": answer.finish_reason,
            **self._times(duration_ms, timings),
            "n": answer.n if answer.n > 1 else None,
            "tool_calls": answer.tool_calls or None,
            "error_type": answer.error_type or (None if self.left else self.raised or None),
            "error_code": answer.error_code,
            "error_param": answer.error_param,
            "client": identity.client_address(scope.get("client"), self.forwarded_for, settings),
            "user_id": identity.shown(self.user, 128) if self.user else None,
            "api_key_id": identity.api_key_id(key, secret) if key else None,
            "user_agent": identity.shown(self.user_agent, 256) if self.user_agent else None,
            "host": origin.host,
            "pid": origin.pid,
            "service": origin.service,
        }
        return {name: values[name] for name in REQUEST_FIELDS if values.get(name) is not None or name in _ALWAYS}

    def _tokens(self, timings: Timings | None) -> dict[str, object]:
        """Token counts: the response's own, else the server's account of the request, else the engine's."""
        answer = self.answer
        told = getattr(self._metadata(), "final_usage_info", None)
        details = getattr(told, "prompt_tokens_details", None)
        reasoning = answer.reasoning_tokens
        if reasoning is None:
            reasoning = _count(getattr(told, "completion_tokens_details", None), "reasoning_tokens")
        if reasoning == 0 and answer.reasoning:
            reasoning = None  # some parsers stream reasoning and count none of it
        return {
            "prompt_tokens": _first(answer.prompt_tokens, _count(told, "prompt_tokens"), timings, "prompt_tokens"),
            "completion_tokens": _first(
                answer.completion_tokens, _count(told, "completion_tokens"), timings, "completion_tokens"
            ),
            "cached_tokens": _first(answer.cached_tokens, _count(details, "cached_tokens"), timings, "cached_tokens"),
            "reasoning_tokens": reasoning,
            "max_tokens": _first(answer.max_tokens, None, timings, "max_tokens"),
        }

    def _times(self, duration_ms: float, timings: Timings | None) -> dict[str, object]:
        """Milliseconds. A time of the engine that exceeds the whole request is wrong, and left out."""
        answer = self.answer
        times: dict[str, object] = {}
        if answer.first_content_at is not None:
            times["ttft_ms"] = round((answer.first_content_at - self.received_at) * 1000, 3)
            if answer.longest_gap is not None:
                times["stall_max_ms"] = round(answer.longest_gap * 1000, 3)
        if timings is None:
            return times
        believable = timings.prefill_ms is None or timings.prefill_ms <= duration_ms
        for name in ("queue_ms", "prefill_ms", "decode_ms", "tpot_ms"):
            value = getattr(timings, name)
            if value is not None and value <= duration_ms and (believable or name in ("decode_ms", "tpot_ms")):
                times[name] = value
        times["preemptions"] = timings.preemptions
        times["corrupted"] = timings.corrupted or None
        return times


def _count(holder: object, name: str) -> int | None:
    value = getattr(holder, name, None)
    return value if isinstance(value, int) and value >= 0 else None


def _first(answer: int | None, server: int | None, timings: Timings | None, name: str) -> int | None:
    if answer is not None:
        return answer
    if server is not None:
        return server
    return None if timings is None else getattr(timings, name)


def excluded(scope: Mapping[str, Any]) -> bool:
    """Requests that get no line unless all are wanted: preflights, and what monitors ask every few seconds."""
    if scope.get("method") == "OPTIONS":
        return True
    path: str = scope.get("path", "")
    root: str = scope.get("root_path", "")
    if root and path.startswith(root):
        path = path[len(root) :]
    return path in ("/health", "/ping", "/load", "/version", "/metrics")
