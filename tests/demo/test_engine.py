"""The simulated engine queues, prefills and decodes as its numbers say."""

from __future__ import annotations

import itertools

import pytest

from logproc.demo.engine import BATCH, Engine, Job

STEP_S = 0.025


def work(engine: Engine, jobs: list[Job], *, batch: int = BATCH, until: float = 60.0) -> dict[int, int]:
    """Steps until all jobs are finished; the tokens delivered to each."""
    for job in jobs:
        engine.submit(job)
    delivered = dict.fromkeys(range(len(jobs)), 0)
    now = 0.0
    while any(job.finished is None for job in jobs) and now < until:
        now += STEP_S
        for delivery in engine.step(now, batch):
            delivered[jobs.index(delivery.job)] += delivery.tokens
    return delivered


def test_every_job_gets_exactly_its_tokens_and_leaves_the_engine_empty() -> None:
    engine = Engine()
    jobs = [Job(prompt, answer, 0.0) for prompt, answer in ((10, 1), (1000, 400), (14_050, 1000), (1, 7))]
    assert work(engine, jobs) == {0: 1, 1: 400, 2: 1000, 3: 7}
    assert not engine.running
    assert not engine.waiting
    assert engine.cache_usage == 0.0


def test_the_times_of_a_job_follow_each_other() -> None:
    job = Job(3000, 100, 0.0)
    work(Engine(), [job])
    assert job.admitted is not None
    assert job.first_token is not None
    assert job.finished is not None
    assert job.arrived < job.admitted < job.first_token < job.finished
    assert job.first_token - job.admitted == pytest.approx(0.15, abs=2 * STEP_S)  # 3,000 tokens at 20,000 a second


def test_a_job_decodes_more_slowly_in_a_full_batch() -> None:
    alone, crowd = Job(10, 300, 0.0), [Job(10, 300, 0.0) for _ in range(BATCH)]
    work(Engine(), [alone])
    work(Engine(), crowd)
    assert alone.finished is not None
    assert crowd[0].finished is not None
    assert crowd[0].finished > 1.5 * alone.finished


def test_a_smaller_batch_makes_jobs_wait_in_their_order() -> None:
    jobs = [Job(10, 100, 0.0) for _ in range(4)]
    work(Engine(), jobs, batch=1)
    admitted = [job.admitted or 0.0 for job in jobs]
    assert admitted == sorted(admitted)
    assert all(later.admitted >= earlier.finished for earlier, later in itertools.pairwise(jobs))  # type: ignore[operator]


def test_a_cancelled_job_gives_its_place_to_the_next() -> None:
    engine = Engine()
    first, second = Job(10, 10_000, 0.0), Job(10, 10, 0.0)
    engine.submit(first)
    engine.submit(second)
    engine.step(STEP_S, 1)
    engine.cancel(first)
    engine.step(2 * STEP_S, 1)
    assert engine.running == [second]
    assert second.admitted == 2 * STEP_S
