"""One request and its response: what is noted of them while they pass."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, MutableMapping
from functools import lru_cache
from typing import Any, Final, Protocol

import msgspec

from serve import identity
from serve.response import BUNDLE, SMALL, Response

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

LONGEST_KEPT: Final = 256
"""Of a longer path it is not remembered what it is: clients choose it, and there is no limit to it."""

_START: Final = "http.response.start"
_BODY: Final = "http.response.body"
_BODIES: Final = (_BODY, "http.response.pathsend", "http.response.zerocopysend")
_MONITORED: Final = ("/health", "/ping", "/load", "/version", "/metrics")
_UNREAD: Final = ("/render", "/derender")
"""Endpoints whose answers describe a generation that another request makes."""


class Log(Protocol):
    """What an exchange needs of `serve.process_log.ProcessLog`."""

    monotonic: Callable[[], float]

    def finish(self, exchange: Exchange) -> None:
        """The request is over."""

    def complain(self, part: str) -> None:
        """A part of the access log failed, with the error at hand."""


class Exchange(msgspec.Struct, eq=False):
    """A request from the moment it was received (seconds, monotonic) until its line is written.

    `receive` and `send` are what the app is given in place of the server's: they look at what passes, never receive
    by themselves, never change or hold back a body, and raise nothing of their own.
    """

    log: Log
    scope: Scope
    server_receive: Receive
    server_send: Send
    received_at: float
    headers: list[tuple[bytes, bytes]] = []
    """The request's, as they came."""
    request_id: bytes = b""
    generates: bool = True
    """The answer is this request's own. One that is only shown again was counted when it was made."""
    response: Response | None = None
    """None before it starts, for a client that is gone, and when the exchange is over."""
    left: bool = False
    raised: str | None = None
    """The class of what the app raised before the final body; `""` for a request cut off by the shutdown."""
    final_at: float | None = None
    written: bool = False
    tells_by_error: bool | None = None
    """The server says by an `OSError` of `send` that the client is gone; None before it mattered."""

    __repr__ = object.__repr__
    """Without the fields: whoever shows `receive` or `send`, as error trackers do, would show the key among them."""

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Nothing, as above."""
        return []

    # --- what passes ---

    async def receive(self) -> Message:
        """Receive for the app."""
        message = await self.server_receive()
        if "body" not in message and message.get("type") == "http.disconnect" and self.final_at is None:
            self.left = True
            self.close()  # what is sent from now on reaches nobody
        return message

    def send(self, message: Message) -> Awaitable[None]:
        """Send for the app. Not a coroutine of its own: for the chunk of a stream that would be half of the cost."""
        is_final = False
        try:
            kind, response = message["type"], self.response
            if kind == _BODY and message.get("more_body"):
                if response is not None and response.is_wanted and (body := message.get("body")):
                    bodies = response.bodies
                    bodies.append(body)
                    response.moments.append(self.log.monotonic())
                    if len(bodies) >= BUNDLE or len(body) > SMALL:
                        response.read()
                if self.tells_by_error is None:
                    self.tells_by_error = _tells_by_error(self.scope)
                return self._watched(message) if self.tells_by_error else self.server_send(message)
            if kind == _START:
                headers = [*message.get("headers", ())]
                message = {**message, "headers": headers}
                self.start(message["status"], headers)
            elif kind in _BODIES and not message.get("more_body"):
                is_final, at = True, self.log.monotonic()
                if response is not None and response.is_wanted and (body := message.get("body")):
                    response.bodies.append(body)
                    response.moments.append(at)
                if self.final_at is None:
                    self.final_at = at  # from here on a client that leaves has its answer
        except Exception:
            self.log.complain("a response")
            if self.response is not None:
                self.response.give_up()
        return self._watched(message, is_final=is_final)

    async def _watched(self, message: Message, *, is_final: bool = False) -> None:
        """Send, and note whether that failed; after the last body the request is over."""
        try:
            await self.server_send(message)
        except OSError:
            if not self.written:
                self.left = True
            raise
        if is_final and not self.written:
            try:
                self.final_at = self.log.monotonic()
            except Exception:
                self.log.complain("the clock")
            self.log.finish(self)

    # --- what is noted of it ---

    def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Take the response start, and add our X-Request-Id to its headers where there is none."""
        response = None
        if self.response is None and not self.left and not self.written:
            response = self.response = Response(status, self.generates or status >= 400)
        content_type = encoding = metadata = b""
        has_id = False
        for given, value in headers:
            name = bytes.lower(given)
            if name == b"content-type":
                content_type = value
            elif name == b"content-encoding":
                encoding = value
            elif name == b"metadata":
                metadata = value
            elif name == b"x-request-id":
                has_id = True
        if not has_id:
            headers.append((b"x-request-id", self.request_id))
        if response is not None:
            response.content_type, response.encoding, response.metadata = content_type, encoding, metadata

    def close(self) -> None:
        """Read the rest of the response, and nothing that is sent from now on."""
        try:
            if self.response is not None:
                self.response.close()
        except Exception:
            self.log.complain("a response")

    # --- what the engine calls it ---

    def metadata(self) -> object:
        """The request's account by vLLM itself; no stable interface, so each attribute is looked up by itself."""
        state = self.scope.get("state")
        return state.get("request_metadata") if isinstance(state, dict) else None

    @property
    def engine_id(self) -> str | None:
        """The id under which the engine knows the request, but for its suffixes."""
        found = getattr(self.metadata(), "request_id", None)
        if isinstance(found, str):
            return found
        self.close()  # then only the response tells it
        answer = self.response and self.response.answer
        return answer.id if answer else None


def received(log: Log, scope: Scope, receive: Receive, send: Send, *, log_all: bool = False) -> Exchange | None:
    """A request as it came in, with our X-Request-Id among its headers where it has none that is safe.

    None for one that gets no line unless all are wanted: preflights, and what monitors ask every few seconds.
    """
    path: str = scope["path"]
    kind_of = _kind if len(path) <= LONGEST_KEPT else _kind.__wrapped__
    is_monitor, generates = kind_of(scope["method"], path, scope.get("root_path", ""))
    if is_monitor and not log_all:
        return None
    at = log.monotonic()
    headers = scope["headers"]
    if not isinstance(headers, list):
        scope["headers"] = headers = [*headers]
    given = None
    for name, value in headers:
        if name == b"x-request-id":
            given = value
            break
    request_id = identity.request_id(given)
    if given == request_id:
        headers = [*headers]  # the app may change its own
    else:
        passed = headers if given is None else [header for header in headers if header[0] != b"x-request-id"]
        scope["headers"] = [*passed, (b"x-request-id", request_id)]
    scope.setdefault("state", {})  # where vLLM leaves its own account of the usage
    return Exchange(log, scope, receive, send, at, headers, request_id, generates)


@lru_cache(maxsize=128)
def _kind(method: object, path: str, root: str) -> tuple[bool, bool]:
    """Whether a request is a monitor's, and whether what it is answered is made for it."""
    generates = method == "POST" and not path.endswith(_UNREAD) and "/v1/responses/" not in path
    if root and path.startswith(root):
        path = path[len(root) :]
    return method == "OPTIONS" or path in _MONITORED, generates


def _tells_by_error(scope: Scope) -> bool:
    """Whether the server speaks version 2.4 of the HTTP spec or later, in which `send` fails for a client that left."""
    asgi = scope.get("asgi")
    numbers = re.findall(r"\d+", str(asgi.get("spec_version"))) if isinstance(asgi, dict) else []
    return [int(number) for number in numbers] >= [2, 4]
