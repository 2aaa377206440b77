"""The stand-in server and its clients alone, without a demo around them: `python -m logproc.demo.alone`.

For the stack of containers, where logproc runs beside it. The access log and its settings come from the environment, as
with any server that has the middleware.
"""

from __future__ import annotations

import argparse
import random
import threading
import time

import uvicorn

from logproc.demo.load import Load
from logproc.demo.stand_in import StandIn


def main() -> None:
    """Serve and send until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(description="A stand-in for an inference server, with a load on it; no model.")
    parser.add_argument("--host", default="127.0.0.1", help="The address to listen on; default %(default)s.")
    parser.add_argument("--port", default=8000, type=int, help="Default %(default)s, as vLLM's.")
    chosen = parser.parse_args()
    app = StandIn(time.monotonic(), random.Random()).application()
    config = uvicorn.Config(
        app, chosen.host, chosen.port, log_level="warning", access_log=False, timeout_graceful_shutdown=2
    )
    server = uvicorn.Server(config)
    load = Load("127.0.0.1", chosen.port, random.Random())

    def send_once_it_answers() -> None:
        while not server.started:
            time.sleep(0.05)
        load.start()

    threading.Thread(target=send_once_it_answers, name="load starter", daemon=True).start()
    server.run()
    if server.started:
        load.stop()


if __name__ == "__main__":
    main()
