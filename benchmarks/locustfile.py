"""Load on an OpenAI-compatible server, for Locust: whole answers, times to first token and gaps as rows of their own.

pip install '.[load]'
locust -f benchmarks/locustfile.py --host http://localhost:8000 --headless --users 8 --spawn-rate 4 --run-time 60s

An answer counts as failed when it has no content, breaks off, or holds an error event, whatever its HTTP status.
"""

from __future__ import annotations

import random
import time
from argparse import ArgumentParser
from typing import Any

from locust import HttpUser, constant, events, task

from benchmarks.answer_times import read_answer

WORDS = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu")
LONGEST_S = 300


def _options(parser: ArgumentParser) -> None:
    parser.add_argument("--model", default="", help="The model's name; without it the first that the server serves.")
    parser.add_argument("--prompt-words", type=int, default=100, help="About so many tokens.")
    parser.add_argument("--answer-tokens", type=int, default=100, help="The most that one answer may have.")


events.init_command_line_parser.add_listener(_options)


class Chatter(HttpUser):
    """Asks one question after the other, and reads each answer as it comes."""

    wait_time = constant(0)

    def on_start(self) -> None:
        """Find out whom to ask."""
        self.model = self.environment.parsed_options.model
        if not self.model:
            self.model = self.client.get("/v1/models", name="/v1/models").json()["data"][0]["id"]

    @task
    def ask(self) -> None:
        """One streamed answer."""
        options = self.environment.parsed_options
        words = random.choices(WORDS, k=random.randint(1, 2 * options.prompt_words - 1))
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": " ".join(words)}],
            "max_tokens": options.answer_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        path = "/v1/chat/completions"
        began = time.perf_counter()
        with self.client.post(path, json=body, stream=True, catch_response=True, timeout=LONGEST_S) as answer:
            if answer.status_code != 200:
                answer.failure(f"HTTP {answer.status_code}")
                return
            try:
                seen = read_answer(answer.iter_lines(chunk_size=None), began, time.perf_counter)
            except (OSError, ValueError) as error:
                answer.failure(f"unreadable: {type(error).__name__}")
                return
            answer.request_meta["response_time"] = (time.perf_counter() - began) * 1000
            answer.request_meta["response_length"] = seen.completion_tokens or 0
            if seen.error is None:
                answer.success()
            else:
                answer.failure(seen.error)
        if seen.first_s is not None:
            self._row("TTFT", seen.first_s)
        for gap in seen.gaps_s:
            self._row("gap", gap)

    def _row(self, kind: str, seconds: float) -> None:
        more: dict[str, Any] = {"response_length": 0, "exception": None, "context": {}}
        self.environment.events.request.fire(request_type=kind, name="stream", response_time=seconds * 1000, **more)
