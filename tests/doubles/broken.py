"""Doubles of what goes wrong on the way: raw sockets that hang, drip, lie, redirect, or never end."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Behaviour = Callable[[socket.socket], None]


def hangs(_: socket.socket) -> None:
    """Accepts, and never answers."""


def drips_headers(client: socket.socket) -> None:
    """A byte now and then, and never the end of the headers."""
    client.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        client.sendall(b"X")
        time.sleep(0.02)


def drips_body(client: socket.socket) -> None:
    """Headers at once, then a byte of the body now and then."""
    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n")
    while True:
        client.sendall(b" ")
        time.sleep(0.02)


def never_ends(client: socket.socket) -> None:
    """A body without end, as fast as it goes."""
    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
    while True:
        client.sendall(b" " * 65536)


def hangs_up(client: socket.socket) -> None:
    """Closes without a word."""
    client.close()


def is_no_http(client: socket.socket) -> None:
    """Answers in another protocol."""
    client.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
    client.close()


def says_much_in_headers(client: socket.socket) -> None:
    """Headers without end."""
    client.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        client.sendall(b"X-Filler: " + b"x" * 1000 + b"\r\n")


def cuts_off(client: socket.socket) -> None:
    """Promises more than it sends."""
    client.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"errcode":0')
    client.close()


def _read_request(client: socket.socket) -> None:
    told = b""
    while b"\r\n\r\n" not in told:
        if not (more := client.recv(65536)):
            return
        told += more
    head, _, body = told.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: *(\d+)", head)
    left = int(length[1]) - len(body) if length else 0
    while left > 0:
        left -= len(client.recv(65536)) or left


@contextmanager
def broken_server(behave: Behaviour) -> Iterator[str]:
    """`HOST:PORT` of a server that does this to everyone who has sent something."""
    clients: list[socket.socket] = []

    def serve(client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            _read_request(client)  # who closes before he has read it all resets the connection, and his answer is lost
            behave(client)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                clients.append(client)
                threading.Thread(target=serve, args=(client,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            for client in clients:
                client.close()
