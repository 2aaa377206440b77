"""When requests come and how long they are: fitted to public traces by `fit.py`, whose output the numbers here are.

Lengths and bursts: Azure LLM inference trace 2023, conversation (19,366 requests in 58 minutes). The shape of the day,
and how much days and ten minutes differ from it: ServeGen's rates of one model (`m-small`, 14 days).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

DAY_S: Final = 86_400
STEP_S: Final = 10
"""The rate is constant for so long."""

HOURS: Final = (0.826, 0.696, 0.723, 0.695, 0.663, 0.678, 0.742, 0.836, 1.016, 1.127, 1.107, 1.122,
                1.054, 1.059, 1.061, 1.057, 1.052, 1.024, 1.027, 1.191, 1.413, 1.417, 1.332, 1.083)  # fmt: skip
"""The rate of each hour, in parts of the day's mean."""
DAY_SD: Final = 0.124
TEN_MINUTES_SD: Final = 0.150
TEN_MINUTES_CORRELATION: Final = 0.769
BURST_SD: Final = 0.116
BURST_S: Final = 29.4
"""Standard deviations of the logarithm of the rate, and how long it keeps."""

LENGTHS: Final = (
    (0.2952, (5.9499, 4.6854), (1.2254, -0.2287, 0.2092)),
    (0.2292, (6.0900, 4.6448), (0.2111, 0.3864, 0.8431)),
    (0.2922, (6.9787, 6.0094), (0.0044, 0.0000, 0.0030)),
    (0.1834, (7.8617, 4.4454), (0.2296, -0.1726, 0.3827)),
)
"""Normal mixture of (log prompt, log completion): weight, mean, covariance (pp, pc, cc)."""
LONGEST_PROMPT: Final = 14_050
LONGEST_COMPLETION: Final = 1_000
MEAN_PROMPT: Final = 1_155
MEAN_COMPLETION: Final = 211


@dataclass(frozen=True)
class Traffic:
    """What comes to one model. `swing` is the power to which the shape of the day is raised: 1 is as measured."""

    requests_per_s: float
    swing: float = 1.0
    prompt_scale: float = 1.0
    """Prompts are so many times as long as in the trace: services with long contexts."""

    @property
    def peak_per_s(self) -> float:
        """The rate in the hour in which most requests come."""
        return self.requests_per_s * float(max(_shape(self.swing)))


def _shape(swing: float) -> Floats:
    shape: Floats = np.array(HOURS) ** swing
    shape /= shape.mean()
    return shape


def rates(traffic: Traffic, days: int, rng: np.random.Generator) -> Floats:
    """Requests a second in each step of `STEP_S`, from midnight; shape (days · steps a day,)."""
    steps = days * DAY_S // STEP_S
    at = np.arange(steps) * STEP_S
    shape = _shape(traffic.swing)
    hour = at / 3600 % 24
    log_rate = np.log(np.interp(hour, np.arange(25) + 0.5, [*shape, shape[0]], period=24))
    log_rate += _normals(rng, days, DAY_SD)[at // DAY_S]
    ten = _series(rng, steps * STEP_S // 600 + 2, TEN_MINUTES_SD, TEN_MINUTES_CORRELATION)
    log_rate += np.interp(at, np.arange(len(ten)) * 600, ten)
    log_rate += _series(rng, steps, BURST_SD, math.exp(-STEP_S / BURST_S))
    found: Floats = traffic.requests_per_s * np.exp(log_rate)
    return found


def arrivals(rate: Floats, first_step: int, rng: np.random.Generator) -> Floats:
    """Times of arrival (s) of a Poisson process with these rates, in order; `first_step` is the step of `rate[0]`."""
    counts = rng.poisson(rate * STEP_S)
    times = (np.repeat(np.arange(len(rate)) + first_step, counts) + rng.random(int(counts.sum()))) * STEP_S
    times.sort()
    return times


def lengths(count: int, traffic: Traffic, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """(prompt tokens, completion tokens) of so many requests."""
    part = rng.choice(len(LENGTHS), count, p=np.array([weight for weight, _, _ in LENGTHS]) / _WEIGHT)
    means = np.array([mean for _, mean, _ in LENGTHS])[part]
    factors = np.array([np.linalg.cholesky([[pp, pc], [pc, cc]]) for _, _, (pp, pc, cc) in LENGTHS])[part]
    logs = means + np.einsum("nij,nj->ni", factors, rng.standard_normal((count, 2)))
    prompt = np.clip(np.exp(logs[:, 0]), 1, LONGEST_PROMPT) * traffic.prompt_scale
    return np.ceil(prompt), np.ceil(np.clip(np.exp(logs[:, 1]), 1, LONGEST_COMPLETION))


_WEIGHT: Final = sum(weight for weight, _, _ in LENGTHS)


def _normals(rng: np.random.Generator, count: int, sd: float) -> Floats:
    """The logarithms of factors whose mean is 1."""
    found: Floats = rng.normal(-sd * sd / 2, sd, count)
    return found


def _series(rng: np.random.Generator, count: int, sd: float, correlation: float) -> Floats:
    """The same, each like the one before."""
    fresh = rng.standard_normal(count) * math.sqrt(1 - correlation * correlation)
    fresh[0] = rng.standard_normal()
    weights = correlation ** np.arange(min(count, math.ceil(-12 / math.log(correlation))))
    found: Floats = np.convolve(fresh, weights)[:count] * sd - sd * sd / 2
    return found
