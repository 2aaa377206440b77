"""What each step of the access log takes inside a real vLLM at full load, where the processor has forgotten its code.

    python benchmarks/vllm_steps.py                    # a minute and a half
    python benchmarks/vllm_steps.py --json

The load is that of `vllm_throughput.py`: many small streams at once, on a server whose HTTP process is the narrow
place.
The same steps in a loop of their own (`serve_overhead.py`) take a third: there nothing else runs in between.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.measuring import cpu_seconds
from benchmarks.vllm_throughput import CHECKOUT, SwitchedServer, make_load, send
from tests.services import install_vllm


class TimedServer(SwitchedServer):
    """A server whose access log has a stopwatch."""

    def _log_arguments(self) -> list[str]:
        return ["--middleware", "timed_log.TimedLog"]

    def times(self) -> dict[str, tuple[int, int]]:
        """Calls and nanoseconds of each step since the last time."""
        with urllib.request.urlopen(f"{self.base_url}/times", timeout=30) as answer:
            return {step: (calls, ns) for step, (calls, ns) in json.load(answer).items()}


def measure(folder: Path, *, requests: int, parallel: int) -> dict[str, Any]:
    """Play one round after a warm-up; the result as `--json` prints it."""
    load = make_load(requests, parallel)
    with TimedServer(folder) as server:
        server.settle()
        asyncio.run(send(load, server.port))
        server.times()
        cpu = cpu_seconds(server.pid)
        asyncio.run(send(load, server.port))
        cpu = cpu_seconds(server.pid) - cpu
        times = server.times()
    steps = {
        step: {
            "calls_a_request": round(calls / requests, 2),
            "us_a_call": round(ns / calls / 1e3, 2),
            "us_a_request": round(ns / requests / 1e3, 1),
        }
        for step, (calls, ns) in times.items()
    }
    return {"requests": requests, "server_cpu_us_a_request": round(cpu / requests * 1e6), "steps": steps}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--requests", type=int, default=1500, help="requests of the round (1500)")
    parser.add_argument("--parallel", type=int, default=64, help="streams at once (64)")
    parser.add_argument("--json", action="store_true", help="one JSON object in place of the table")
    arguments = parser.parse_args()
    if reason := install_vllm.why_missing():
        sys.exit(reason)
    install_vllm.install_checkout(CHECKOUT)
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), requests=arguments.requests, parallel=arguments.parallel)
    if arguments.json:
        print(json.dumps(result))
    else:
        show(result)


def show(result: dict[str, Any]) -> None:
    table = Table(title=f"The access log in a real vLLM, {result['requests']:,} streams")
    table.add_column("step")
    for heading in ("calls a request", "µs a call", "µs a request"):
        table.add_column(heading, justify="right")
    for step, found in result["steps"].items():
        table.add_row(step, f"{found['calls_a_request']}", f"{found['us_a_call']}", f"{found['us_a_request']}")
    total = sum(found["us_a_request"] for found in result["steps"].values())
    table.add_row("all of it", "", "", f"{total:.0f}")
    console = Console()
    console.print(table)
    console.print(f"The process that serves HTTP took {result['server_cpu_us_a_request']:,} µs of CPU a request.")


if __name__ == "__main__":
    main()
