"""One request and its response: what is noted of them while they pass."""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from functools import lru_cache
from typing import Any, Final

import msgspec

from serve import identity
from serve.answer import Answer
from serve.response_reader import EVENT_STREAM, Reader, reader_for

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]

BUNDLE: Final = 64
"""So many chunks are read in one go: each of them then costs a third, for a server at work has long forgotten the
reader's code between two of them."""
SMALL: Final = 4096
"""A larger chunk is not kept, bytes."""
CLIENT_LEFT: Final = 499
RAISED: Final = 500

_MONITORED: Final = ("/health", "/ping", "/load", "/version", "/metrics")
_UNREAD: Final = ("/render", "/derender")
"""Endpoints whose answers describe a generation that another request makes."""


class Exchange(msgspec.Struct, eq=False):
    """The state of one request, from the moment it was received (seconds, monotonic) until its line is written."""

    scope: Scope
    received_at: float
    answer: Answer
    headers: dict[bytes, bytes] = {}
    """The request's; of several with one name the first."""
    request_id: bytes = b""
    reader: Reader | None = None
    bodies: list[bytes] = []
    """What was sent and not yet read."""
    moments: list[float] = []
    """When each of them was sent."""
    status: int | None = None
    stream: bool | None = None
    tells_by_error: bool = False
    """The server says by an `OSError` of `send` that the client is gone, as since version 2.4 of the HTTP spec."""
    generates: bool = True
    """The answer is this request's own. One that is only shown again was counted when it was made."""
    left: bool = False
    raised: str | None = None
    """The class of what the app raised before the final body; `""` for a request cut off by the shutdown."""
    final_at: float | None = None
    written: bool = False

    @property
    def peer(self) -> str | None:
        """The address at the other end of the connection."""
        client = self.scope.get("client")
        address = client[0] if client else None
        return address if isinstance(address, str) else None

    def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Take the response start, and add our X-Request-Id to its headers where there is none."""
        is_first = self.status is None and not self.left
        if is_first:
            self.status = status
        names = dict(headers)
        if not b"".join(names).islower():
            names = {name.lower(): value for name, value in headers}
        if is_first:
            content_type = names.get(b"content-type", b"").lower()
            self.stream = content_type.startswith(EVENT_STREAM)
            if self.generates or status >= 400:
                self.reader = reader_for(self.answer, status, content_type, names)
        if b"x-request-id" not in names:
            headers.append((b"x-request-id", self.request_id))

    def read(self) -> None:
        """Read what was sent since the last time."""
        try:
            if self.reader is not None:
                self.reader.feed(self.bodies, self.moments)
        finally:
            self.bodies.clear()
            self.moments.clear()

    def read_rest(self) -> None:
        """The response is over: read what was sent since the last time, and come to the reader's end."""
        try:
            if self.reader is not None:
                self.reader.close(self.bodies, self.moments)
        finally:
            self.bodies.clear()
            self.moments.clear()

    @property
    def line_status(self) -> int:
        """The response start that was sent before the client left; 499 when it left first, 500 when there was none."""
        if self.status is not None:
            return self.status
        return CLIENT_LEFT if self.left else RAISED

    def metadata(self) -> object:
        """The request's account by vLLM itself; no stable interface, so each attribute is looked up by itself."""
        state = self.scope.get("state")
        return state.get("request_metadata") if isinstance(state, dict) else None

    @property
    def engine_id(self) -> str | None:
        """The id under which the engine knows the request, but for its suffixes."""
        if self.answer.id is not None:
            return self.answer.id
        found = getattr(self.metadata(), "request_id", None)
        return found if isinstance(found, str) else None


def received(scope: Scope, at: float, *, log_all: bool = False) -> Exchange | None:
    """A request as it came in, with our X-Request-Id among its headers where it has none that is safe.

    None for one that gets no line unless all are wanted: preflights, and what monitors ask every few seconds.
    """
    is_monitor, generates = _kind(scope.get("method"), scope.get("path", ""), scope.get("root_path", ""))
    if is_monitor and not log_all:
        return None
    headers = scope["headers"]
    by_name = dict(reversed(headers))
    given = by_name.get(b"x-request-id", b"")
    request_id = identity.request_id(given)
    if given != request_id:
        if b"x-request-id" in by_name:
            headers = [header for header in headers if header[0] != b"x-request-id"]
        scope["headers"] = [*headers, (b"x-request-id", request_id)]
    scope.setdefault("state", {})  # where vLLM leaves its own account of the usage
    asgi = scope.get("asgi")
    tells_by_error = isinstance(asgi, dict) and _tells_by_error(asgi.get("spec_version"))
    return Exchange(scope, at, Answer(), by_name, request_id, tells_by_error=tells_by_error, generates=generates)


@lru_cache(maxsize=128)
def _kind(method: object, path: str, root: str) -> tuple[bool, bool]:
    """Whether a request is a monitor's, and whether what it is answered is made for it."""
    generates = method == "POST" and not path.endswith(_UNREAD) and "/v1/responses/" not in path
    if root and path.startswith(root):
        path = path[len(root) :]
    return method == "OPTIONS" or path in _MONITORED, generates


@lru_cache(maxsize=8)
def _tells_by_error(spec_version: object) -> bool:
    """Whether this version of the HTTP spec is 2.4 or later."""
    numbers = re.findall(r"\d+", str(spec_version))
    return [int(number) for number in numbers] >= [2, 4]
