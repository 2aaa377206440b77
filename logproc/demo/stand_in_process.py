"""Starts and ends the process of the stand-in server."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final

PATIENCE_S: Final = 8.0


class StandInFailedError(Exception):
    """The stand-in server ended by itself; the message holds its last words."""


class StandInProcess:
    """The stand-in server as a child process that listens on loopback at `port` and writes its access log to `log`.

    The socket is opened here, so clients may connect at once. The child ends when the pipe to it closes: also when
    this process is killed. A session of its own keeps the terminal's Ctrl-C from it.
    """

    def __init__(self, log: Path, began: float) -> None:
        self._words = log.with_name("stand-in.log")
        kept = {name: value for name, value in os.environ.items() if not name.startswith("LOGPROC_")}
        settings = {
            "LOGPROC_ACCESS_LOG": str(log),
            "LOGPROC_SERVICE": "logproc-demo",
            "LOGPROC_USER_HEADER": "x-user-id",
        }
        with socket.create_server(("127.0.0.1", 0), backlog=128) as listening, self._words.open("wb") as words:
            self.port: int = listening.getsockname()[1]
            number = listening.fileno()
            module = "logproc.demo.stand_in"
            command = [sys.executable, "-P", "-m", module, "--socket", str(number), "--began", repr(began)]
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=words,
                stderr=words,
                pass_fds=[number],
                env=kept | settings,
                start_new_session=True,
            )

    def check(self) -> None:
        """Raises StandInFailedError when the server is gone."""
        if self._process.poll() is not None:
            last = "\n".join(self._words.read_text("utf-8", "replace").splitlines()[-5:])
            raise StandInFailedError(f"the stand-in server ended with {self._process.returncode}:\n{last}")

    def stop(self) -> None:
        """Let the server finish and write its last line; one that does not is killed."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
