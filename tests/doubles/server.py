"""What the HTTP doubles share: a server on loopback that keeps what it was sent, with a clock of the test."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

Clock = Callable[[], float]


@dataclasses.dataclass(frozen=True)
class Post:
    """One request as it came in."""

    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    at: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclasses.dataclass(frozen=True)
class Reply:
    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    delay_s: float = 0.0


def as_json(value: object, status: int = 200) -> Reply:
    body = json.dumps(value, ensure_ascii=False).encode()
    return Reply(status, body, {"Content-Type": "application/json;charset=utf-8"})


class Double:
    """A server in threads of its own; `with` starts and stops it.

    `posts` is everything that came in, `taken` what was truly accepted. `next_replies` are given before anything else,
    whatever came in. `reply` may be replaced for as long as wanted.
    """

    path = "/"

    def __init__(self, clock: Clock = time.time) -> None:
        self.clock = clock
        self.posts: list[Post] = []
        self.taken: list[Post] = []
        self.next_replies: deque[Reply] = deque()
        self.always: Reply | None = None
        self.changed = threading.Condition()
        double = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                double._handle(self)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_: object) -> None:
                """The other side hung up: that is its right."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        return self.base + self.path

    def answer(self, post: Post) -> Reply:
        """What the vendor answers. It adds to `taken` what it accepts."""
        self.taken.append(post)
        return Reply()

    def wait_for(self, condition: Callable[[], bool], timeout_s: float = 10.0) -> bool:
        """Wait until the condition holds; it is looked at after every request."""
        with self.changed:
            return self.changed.wait_for(condition, timeout_s)

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers.get("Content-Length", 0))
        body = handler.rfile.read(length)
        if len(body) < length:
            return  # the sender died while it sent: no server would take that
        parts = urlsplit(handler.path)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        headers = {name.lower(): value for name, value in handler.headers.items()}
        post = Post(parts.path, query, headers, body, self.clock())
        with self.changed:
            self.posts.append(post)
            reply = self.next_replies.popleft() if self.next_replies else self.always or self.answer(post)
            self.changed.notify_all()
        if reply.delay_s:
            time.sleep(reply.delay_s)
        handler.send_response(reply.status)
        for name, value in reply.headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(reply.body)))
        handler.end_headers()
        handler.wfile.write(reply.body)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class Window:
    """Counts what was let through within so many seconds: at most `limit`."""

    def __init__(self, limit: int, seconds: float) -> None:
        self._limit = limit
        self._seconds = seconds
        self._times: deque[float] = deque()

    def is_full(self, now: float) -> bool:
        while self._times and self._times[0] <= now - self._seconds:
            self._times.popleft()
        return len(self._times) >= self._limit

    def add(self, now: float) -> None:
        self._times.append(now)
