"""The drawn traffic has the shape of the trace it was fitted to; the numbers of the trace stand here as constants."""

from __future__ import annotations

import itertools
import random

import pytest

from logproc.demo.traffic import arrivals, draw_answer, draw_prompt

RANKS = (0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
REAL_PROMPTS = (207, 396, 1020, 1189, 2734, 4083, 4142)
REAL_ANSWERS = (54, 85, 129, 395, 424, 451, 601)
REAL_RANK_CORRELATION = 0.073
REAL_RATE = 5.53
REAL_DISPERSION = {1: 1.385, 5: 2.539, 30: 8.874, 120: 29.54}


@pytest.fixture(scope="module")
def lengths() -> list[tuple[int, int]]:
    rng = random.Random(7)
    prompts = [draw_prompt(rng) for _ in range(40_000)]
    return [(prompt, draw_answer(prompt, rng)) for prompt in prompts]


def quantiles(values: list[int]) -> list[int]:
    ordered = sorted(values)
    return [ordered[int(rank * len(ordered))] for rank in RANKS]


def ranks(values: list[int]) -> list[int]:
    places = [0] * len(values)
    for place, number in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        places[number] = place
    return places


def test_prompts_are_as_long_as_in_the_trace(lengths: list[tuple[int, int]]) -> None:
    # P90 lies where hardly any prompt does, between two humps: there a little more is a lot of tokens.
    assert quantiles([prompt for prompt, _ in lengths]) == pytest.approx(REAL_PROMPTS, rel=0.15)


def test_answers_drawn_from_the_prompt_alone_are_as_long_as_in_the_trace(lengths: list[tuple[int, int]]) -> None:
    assert quantiles([answer for _, answer in lengths]) == pytest.approx(REAL_ANSWERS, rel=0.10)


def test_prompt_and_answer_hang_together_as_weakly_as_in_the_trace(lengths: list[tuple[int, int]]) -> None:
    prompts, answers = (ranks(list(column)) for column in zip(*lengths, strict=True))
    middle = (len(lengths) - 1) / 2
    both = sum((one - middle) * (other - middle) for one, other in zip(prompts, answers, strict=True))
    alone = sum((one - middle) ** 2 for one in prompts)
    assert both / alone == pytest.approx(REAL_RANK_CORRELATION, abs=0.04)


def test_the_longest_prompts_get_short_answers_as_in_the_trace(lengths: list[tuple[int, int]]) -> None:
    longest = [answer for prompt, answer in lengths if 3900 < prompt < 4300]
    middling = [answer for prompt, answer in lengths if 950 < prompt < 1200]
    assert sorted(longest)[len(longest) // 2] == pytest.approx(56, rel=0.2)
    assert sorted(middling)[len(middling) // 2] == pytest.approx(403, rel=0.1)


@pytest.mark.parametrize("window_s", REAL_DISPERSION)
def test_arrivals_come_in_bursts_as_in_the_trace(window_s: int) -> None:
    length = 60_000
    counts = [0] * (length // window_s)
    for at in itertools.takewhile(lambda at: at < length, arrivals(random.Random(1))):
        counts[int(at // window_s)] += 1
    mean = sum(counts) / len(counts)
    variance = sum((count - mean) ** 2 for count in counts) / len(counts)
    assert mean / window_s == pytest.approx(REAL_RATE, rel=0.05)
    assert variance / mean == pytest.approx(REAL_DISPERSION[window_s], rel=0.25)
