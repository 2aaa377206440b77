"""What the demo's requests look like: lengths and arrivals drawn from distributions fitted to a real trace.

Source: Azure LLM inference trace 2023, conversation (github.com/Azure/AzurePublicDataset, CC-BY): 19,366 requests of
one hour. Only the numbers below come from it. How they were fitted, and how well they fit, stands in
docs/decisions/0003-demo-traffic.md.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Final, NamedTuple

LONGEST_PROMPT: Final = 14_050
"""Tokens; the longest prompt of the trace."""

LONGEST_ANSWER: Final = 1_000
"""Tokens; the longest answer of the trace, which is the limit of the service it was taken from."""

REQUESTS_PER_SECOND: Final = 5.53
"""The trace's mean."""


class Component(NamedTuple):
    """One part of the mixture: logarithms of prompt and answer tokens, normal with this correlation."""

    weight: float
    prompt_mean: float
    prompt_deviation: float
    answer_mean: float
    answer_deviation: float
    correlation: float


LENGTHS: Final = (
    Component(0.2771, 6.978, 0.071, 6.004, 0.049, -0.01),
    Component(0.2444, 5.989, 0.044, 4.538, 0.255, 0.38),
    Component(0.1685, 7.386, 0.567, 4.421, 0.407, 0.08),
    Component(0.0757, 8.316, 0.015, 4.036, 0.499, 0.02),
    Component(0.0593, 5.278, 0.112, 4.783, 0.462, -0.49),
    Component(0.0548, 6.985, 0.071, 6.255, 0.183, 0.08),
    Component(0.0393, 5.318, 0.031, 5.224, 0.129, -0.08),
    Component(0.0345, 7.185, 0.018, 5.179, 0.200, 0.01),
    Component(0.0259, 3.860, 1.174, 4.986, 0.368, 0.31),
    Component(0.0205, 5.331, 0.504, 2.746, 0.201, 0.39),
)
"""A log-normal mixture. Real and drawn tokens at P10, P50, P90, P99:
prompt 207, 1,020, 2,735, 4,142 and 207, 1,018, 2,923, 4,199; answer 54, 129, 424, 601 and 57, 129, 423, 617."""


class Swing(NamedTuple):
    """A factor on the arrival rate: gamma-distributed with mean 1, drawn anew every `every_s` seconds."""

    every_s: float
    variance: float


SWINGS: Final = (Swing(1.5, 0.0263), Swing(300.0, 0.0487))
"""Variance over mean of the arrivals in windows of 1, 5, 30, 120 s (1 would be Poisson):
real 1.39, 2.54, 8.9, 29.5; drawn 1.40, 2.58, 9.5, 31.2."""


def draw_prompt(rng: random.Random) -> int:
    """The length of a prompt, tokens."""
    part = rng.choices(LENGTHS, [each.weight for each in LENGTHS])[0]
    return _tokens(rng.gauss(part.prompt_mean, part.prompt_deviation), LONGEST_PROMPT)


def draw_answer(prompt_tokens: int, rng: random.Random) -> int:
    """How long an answer to a prompt of this length becomes if nothing cuts it short, tokens."""
    length = math.log(max(1, prompt_tokens))
    scores = [(length - each.prompt_mean) / each.prompt_deviation for each in LENGTHS]
    nearest = min(score * score for score in scores)
    odds = [
        each.weight / each.prompt_deviation * math.exp((nearest - score * score) / 2)
        for each, score in zip(LENGTHS, scores, strict=True)
    ]
    chosen = rng.choices(range(len(LENGTHS)), odds)[0]
    part = LENGTHS[chosen]
    mean = part.answer_mean + part.correlation * part.answer_deviation * scores[chosen]
    return _tokens(rng.gauss(mean, part.answer_deviation * math.sqrt(1 - part.correlation**2)), LONGEST_ANSWER)


def arrivals(rng: random.Random, rate: float = REQUESTS_PER_SECOND) -> Iterator[float]:
    """The times of the requests, seconds from the start, rising without end: Poisson, with a rate that swings."""
    now = 0.0
    factors = [1.0] * len(SWINGS)
    ends = [0.0] * len(SWINGS)
    while True:
        for number, swing in enumerate(SWINGS):
            if ends[number] <= now:
                factors[number] = rng.gammavariate(1 / swing.variance, swing.variance)
                ends[number] += swing.every_s
        then = now + rng.expovariate(rate * math.prod(factors))
        end = min(ends)
        if then < end:
            yield then
        now = min(then, end)  # an exponential gap has no memory: it may begin anew with the new rate


def _tokens(logarithm: float, most: int) -> int:
    return max(1, min(most, round(math.exp(logarithm))))
