"""Who is let in: by token or cookie, by the name the browser used, never from a page of another site.

Beyond loopback there is always a token (the settings see to that). On loopback without one, everybody on this machine
is let in, but a browser may be made to ask by a foreign page: the rules here are for that.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from logproc.web.session import Sessions

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}
"""On every answer that does not say otherwise."""

LONGEST_FORM: Final = 4096
_HEALTH: Final = frozenset({"/healthz", "/readyz"})
_OPEN: Final = _HEALTH | {"/", "/login", "/logout"}
"""Without the token: there is nothing in them. So is what lies below `/assets/`."""
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_LOOPBACK: Final = re.compile(r"(localhost|127(\.[0-9]{1,3}){3}|\[::1\])(:[0-9]{1,5})?", re.IGNORECASE)

Refusal = tuple[int, str]


class Door:
    """Middleware: refuses what may not come in, and puts safe headers on every answer."""

    def __init__(self, app: ASGIApp, sessions: Sessions | None, clock: Callable[[], float] = time.time) -> None:
        self._app = app
        self._sessions = sessions
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the refusal, or hand on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refused = self._refusal(scope["method"], scope["path"], Headers(scope=scope))
        if refused is None:
            with suppress(ClientDisconnect):  # it has gone, or was too slow: there is nobody to answer
                await self._app(scope, receive, send_safely)
            return
        status, why = refused
        challenge = {"WWW-Authenticate": "Bearer"} if status == 401 else None
        await JSONResponse({"error": why}, status, headers=challenge)(scope, receive, send_safely)

    def _refusal(self, method: str, path: str, headers: Headers) -> Refusal | None:
        if path in _HEALTH:
            return None
        if self._sessions is None and not _LOOPBACK.fullmatch(host := headers.get("host", "localhost")):
            # The page of another site may have its name lead to this machine, and then it is the same site.
            return 421, (
                f"without http.token_file only localhost, 127.0.0.1 and [::1] are answered, not {host[:100]!r}: "
                "set http.token_file, or let the proxy in front say Host: localhost"
            )
        if comes_from_elsewhere(method, headers):
            return 403, "asked by a page of another site"
        if path in _OPEN or path.startswith("/assets/") or self._sessions is None or self._has_shown_it(headers):
            return None
        return 401, "a token is needed (http.token_file): as Authorization: Bearer TOKEN, or at /login"

    def _has_shown_it(self, headers: Headers) -> bool:
        assert self._sessions is not None
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._sessions.is_token(token.strip().encode("latin-1")):
            return True
        return self._sessions.is_open("; ".join(headers.getlist("cookie")), self._clock())


def comes_from_elsewhere(method: str, headers: Headers) -> bool:
    """Whether a browser says that a page of another site asks. Who types or follows a link asks himself.

    Programs say nothing of the kind, and no page can make a browser leave it out of what changes something.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        opens_it = method in _SAFE and headers.get("sec-fetch-mode") == "navigate"
        return site not in {"same-origin", "none"} and not opens_it
    origin = headers.get("origin")
    return method not in _SAFE and origin is not None and origin.partition("://")[2] != headers.get("host")


def door_routes(sessions: Sessions | None, clock: Callable[[], float] = time.time) -> list[Route]:
    """`/login` and `/logout`."""

    async def login(request: Request) -> Response:
        if sessions is None:
            return Response(status_code=204)
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > LONGEST_FORM:
                return JSONResponse({"error": f"longer than {LONGEST_FORM} bytes"}, 413)
        try:
            form = parse_qs(body.decode("utf-8", "replace"), max_num_fields=10)
        except ValueError:
            return JSONResponse({"error": "expected a form with the field token"}, 400)
        token = form.get("token", [""])[0].strip()
        if not sessions.is_token(token.encode("utf-8", "replace")):
            return JSONResponse({"error": "this is not the token in http.token_file"}, 401)
        cookie = sessions.cookie(clock(), secure=request.url.scheme == "https")
        return Response(status_code=204, headers={"Set-Cookie": cookie})

    def logout(request: Request) -> Response:
        if sessions is None:
            return Response(status_code=204)
        cookie = sessions.farewell(secure=request.url.scheme == "https")
        return Response(status_code=204, headers={"Set-Cookie": cookie})

    return [Route("/login", login, methods=["POST"]), Route("/logout", logout, methods=["POST"])]
