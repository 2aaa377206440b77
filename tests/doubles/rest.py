"""What the doubles of HTTP APIs with several methods share: a server on loopback that keeps what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Self


@dataclass(frozen=True)
class Request:
    """One request as it came in; `path` with its query."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class RestDouble:
    """A server in threads of its own; `with` starts and stops it. Subclasses say what it answers."""

    always: ClassVar[Mapping[str, str]] = {}
    """Headers of every answer."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        double = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = Request(self.command, self.path, headers, body)
                double.requests.append(request)
                status, answer, more = double.answer(request)
                data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                sent = {"Content-Type": "application/json", "Content-Length": str(len(data)), **double.always, **more}
                for name, value in sent.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = _answer  # noqa: N815 - the names that http.server calls

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def answer(self, request: Request) -> tuple[int, Any, Mapping[str, str]]:
        """Status, body (JSON, or bytes as they are), and more headers."""
        raise NotImplementedError

    def sent(self, method: str) -> list[Request]:
        """The requests of one method, in their order."""
        return [request for request in self.requests if request.method == method]

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
