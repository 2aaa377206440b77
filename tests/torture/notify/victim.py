"""The process that is killed: `notify` and the relay on one state directory, in a time that passes faster.

`python -m tests.torture.notify.victim SETTINGS ORIGIN` loads everything once. For each line on its standard input it
forks a victim, prints its process id, and when it is dead its exit status.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Final

import structlog
from starlette.applications import Starlette

from logproc.notify import notify
from logproc.notify.channels import build
from logproc.notify.notify import Notify
from logproc.settings_file import load
from logproc.web.relay import relay_routes
from logproc.web.server import WebServer

SPEED: Final = 600
"""So many seconds pass in one: pauses and rates are those of the real thing, and a round is a tenth of a second."""


class FastClock:
    """The wall clock, but faster. `origin` is when it began, in seconds since 1970."""

    def __init__(self, origin: float) -> None:
        self.origin = origin

    def seconds(self) -> float:
        """Seconds since 1970."""
        return self.origin + (time.time() - self.origin) * SPEED

    def ms(self) -> int:
        """Milliseconds since 1970."""
        return round(self.seconds() * 1000)


def live(file: Path, clock: FastClock, torturer: int) -> None:
    """Deliver until killed, or until the torturer is no more."""
    notify.POLL_S = notify.RETRY_S = notify.LONGEST_WAIT_S = 0.01  # type: ignore[misc] # they are in real seconds
    settings = load(file, {})
    consumer = Notify(settings, settings.state, build(settings), clock.ms)
    relay = WebServer(
        Starlette(routes=relay_routes(consumer.deliveries, settings.alerts.routes, clock.ms)), settings.http
    )
    consumer.start()
    relay.start()
    while Path(f"/proc/{torturer}").exists():
        time.sleep(1)
    os._exit(1)


def main() -> None:
    file, clock = Path(sys.argv[1]), FastClock(float(sys.argv[2]))
    torturer = os.getppid()
    with file.with_name("victim.log").open("a", buffering=1) as said:
        structlog.configure(logger_factory=structlog.WriteLoggerFactory(said))
        for _ in sys.stdin:
            child = os.fork()
            if not child:
                live(file, clock, torturer)
            print(child, flush=True)
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
