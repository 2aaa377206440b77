"""Whether the alerts keep silent while a real vLLM is healthy: traffic that it can well take, and its log replayed.

    python -m benchmarks.detection.healthy                     # an hour
    python -m benchmarks.detection.healthy --minutes 10 --requests-per-second 2
    python -m benchmarks.detection.healthy --log access.jsonl  # judge a log that is there already

Needs vLLM for the CPU and its tiny model: `python tests/services/install_vllm.py` first. The requests come as those of
the simulated weeks do, but shorter, since the tiny model takes no more. Some are wrong, and some clients leave: that is
healthy too. The thresholds are the default ones.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.progress import Progress

from benchmarks.detection.arrivals import STEP_S, Traffic, arrivals, lengths, rates
from tests.e2e.client import HangUp, Request, send
from tests.e2e.traffic import SENTENCE
from tests.services.vllm import MODEL_NAME, VllmServer

PROMPTS_SHORTER: Final = 16
ANSWERS_SHORTER: Final = 8
"""By so much prompts and answers are shorter than in the trace."""
WRONG: Final = 0.02
LEAVE: Final = 0.01
STREAMED: Final = 0.7
FIRST_HOUR: Final = 10
"""The traffic begins at this hour of the simulated day: a quiet flank of it."""


def request(number: int, prompt: float, completion: float, rng: np.random.Generator) -> Request:
    """One request of so many prompt and completion tokens in the trace."""
    words = rng.choice(SENTENCE.split(), max(1, round(prompt / PROMPTS_SHORTER)))
    body: dict[str, Any] = {"model": MODEL_NAME, "max_tokens": max(4, round(completion / ANSWERS_SHORTER))}
    if rng.random() < STREAMED:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    path = "/v1/chat/completions" if rng.random() < 0.8 else "/v1/completions"
    text = " ".join(words.tolist())
    body |= {"prompt": text} if path == "/v1/completions" else {"messages": [{"role": "user", "content": text}]}
    if rng.random() < WRONG:
        body["model"] = "no-such-model"
    hang_up: HangUp | None = "after_wait" if rng.random() < LEAVE else None
    return Request(f"healthy-{number}", "POST", path, json.dumps(body).encode(), hang_up)


async def drive(port: int, seconds: float, per_s: float, seed: int, bar: Progress) -> int:
    """Send requests for so long; how many."""
    rng = np.random.default_rng(seed)
    traffic = Traffic(per_s)
    first = FIRST_HOUR * 3600 // STEP_S
    rate = rates(traffic, 1, rng)[first : first + int(seconds) // STEP_S]
    times = arrivals(rate, 0, rng)
    prompts, completions = lengths(len(times), traffic, rng)
    task = bar.add_task("requests", total=len(times))
    begin = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for number, (at, prompt, completion) in enumerate(zip(times, prompts, completions, strict=True)):
            await asyncio.sleep(max(0.0, begin + float(at) - time.monotonic()))
            tasks.create_task(send(port, request(number, float(prompt), float(completion), rng)))
            bar.advance(task)
    return len(times)


def judged(log: Path) -> dict[str, Any]:
    """What `logproc replay` says of a log."""
    command = [sys.executable, "-m", "logproc", "replay", "--json", str(log)]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return found


def main() -> None:
    """Record, replay, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--requests-per-second", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("var/healthy"), help="Where log and numbers are written.")
    parser.add_argument("--log", type=Path, help="Judge this log; start no server.")
    given = parser.parse_args()
    log = given.log
    if log is None:
        given.out.mkdir(parents=True, exist_ok=True)
        for old in given.out.glob("access*.jsonl"):
            old.unlink()
        with VllmServer(given.out.resolve()) as server, Progress(console=Console(stderr=True)) as bar:
            seconds = given.minutes * 60
            asyncio.run(drive(server.port, seconds, given.requests_per_second, given.seed, bar))
            log = server.access_log
    found = judged(log)
    print(json.dumps(found, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
