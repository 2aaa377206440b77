"""A socket that is cut off at a deadline, whatever the other side does: hang, drip a byte at a time, never end."""

from __future__ import annotations

import contextlib
import socket
import threading
import time


class Deadline:
    """So many seconds from now for everything that is done within a `with`. Sockets are put under it with `connect`.

    Timeouts of a socket are for one read each, which a server that drips bytes never meets. So a timer shuts the
    connection down, and whoever waits for it gets an error or an end.
    """

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds
        self._handle: socket.socket | None = None
        self._timer: threading.Timer | None = None
        self.has_passed = False

    @property
    def left_s(self) -> float:
        """Seconds that are left, never quite 0: that would mean for ever."""
        return max(0.001, self._until - time.monotonic())

    def connect(self, host: str, port: int) -> socket.socket:
        """A TCP connection that ends at the deadline. Raises OSError."""
        made = socket.create_connection((host, port), timeout=self.left_s)
        self._handle = made.dup()  # stays valid, whatever TLS makes of the socket
        self._timer = threading.Timer(self.left_s, self._cut)
        self._timer.daemon = True
        self._timer.start()
        return made

    def _cut(self) -> None:
        self.has_passed = True
        if self._handle is not None:
            with contextlib.suppress(OSError):
                self._handle.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Deadline:
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._handle is not None:
            with contextlib.suppress(OSError):
                self._handle.close()
