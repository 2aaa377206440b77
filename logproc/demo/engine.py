"""A simulated inference engine: a queue, a bounded batch, prefill by prompt length, decode by the batch's load.

It has no clock and no threads: `step` is told the time.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final, NamedTuple

BATCH: Final = 16
"""Requests that are worked on at once."""

PREFILL_PER_S: Final = 20_000.0
"""Prompt tokens a second, one prompt after the other."""

DECODE_PER_S: Final = 300.0
"""Tokens a second of a request that has the engine to itself; in a full batch each gets half of it."""

CACHE_TOKENS: Final = 40_000
"""Tokens, of prompts and answers, that fit into the KV cache: it only shows the load, nothing is turned away."""


@dataclass(slots=True, eq=False)
class Job:
    """One request in the engine; times are seconds of the clock that `step` is told, None for what has not happened."""

    prompt_tokens: int
    answer_tokens: int
    arrived: float
    admitted: float | None = None
    first_token: float | None = None
    finished: float | None = None
    generated: float = 0.0
    prefilled: float = field(default=0.0, repr=False)


class Delivery(NamedTuple):
    """The tokens that one step made for a job."""

    job: Job
    tokens: int


class Engine:
    """Works on jobs a step at a time."""

    def __init__(self) -> None:
        self.waiting: deque[Job] = deque()
        self.running: list[Job] = []
        self._now = 0.0

    def submit(self, job: Job) -> None:
        """Queue a job."""
        self.waiting.append(job)

    def cancel(self, job: Job) -> None:
        """Forget a job. One that is finished or unknown does nothing."""
        if job in self.waiting:
            self.waiting.remove(job)
        elif job in self.running:
            self.running.remove(job)

    @property
    def cache_usage(self) -> float:
        """The share of the KV cache in use, 0 to 1."""
        return min(1.0, sum(job.prefilled + job.generated for job in self.running) / CACHE_TOKENS)

    def step(self, now: float, batch: int = BATCH) -> list[Delivery]:
        """Work from the last step until `now` (seconds); `batch` requests may be taken in. The tokens that were made.

        A job whose `finished` is set has got its last ones.
        """
        elapsed, self._now = now - self._now, now
        decoding = [job for job in self.running if job.first_token is not None]
        made = DECODE_PER_S / (1 + len(self.running) / BATCH) * elapsed
        deliveries = [self._decode(job, made, now) for job in decoding]
        deliveries += self._prefill(PREFILL_PER_S * elapsed, now)
        self.running = [job for job in self.running if job.finished is None]
        while self.waiting and len(self.running) < batch:
            job = self.waiting.popleft()
            job.admitted = now
            self.running.append(job)
        return [each for each in deliveries if each.tokens]

    def _prefill(self, budget: float, now: float) -> list[Delivery]:
        """Spend `budget` prompt tokens on the jobs in their order; each one's first token comes with its last."""
        begun = []
        for job in self.running:
            if job.first_token is None and budget > 0:
                spent = min(budget, job.prompt_tokens - job.prefilled)
                job.prefilled += spent
                budget -= spent
                if job.prefilled >= job.prompt_tokens:
                    job.first_token = now
                    begun.append(self._decode(job, 1.0, now))
        return begun

    def _decode(self, job: Job, tokens: float, now: float) -> Delivery:
        before = int(job.generated)
        job.generated = min(job.generated + tokens, float(job.answer_tokens))
        if job.generated >= job.answer_tokens:
            job.finished = now
        return Delivery(job, int(job.generated) - before)
