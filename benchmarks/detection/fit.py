"""Fits the parameters of `arrivals.py` to public traces, and prints them; the traces themselves are not needed later.

python -m benchmarks.detection.fit CONVERSATIONS.csv RATES_FOLDER

CONVERSATIONS.csv: the Azure LLM inference trace 2023, conversation (`TIMESTAMP,ContextTokens,GeneratedTokens`): the
lengths of prompts and answers, and how bursty arrivals are within an hour.
RATES_FOLDER: the `*-trace.csv` of one model of ServeGen (each line: seconds, requests a second, … of one client in ten
minutes, over 14 days): the shape of the day, and how much days and ten minutes differ from it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

PARTS = 4
BURST_STEP_S = 10


def mixture(prompt: Floats, completion: Floats, rounds: int = 200) -> list[tuple[float, list[float], list[float]]]:
    """Normal mixture of (log prompt, log completion) by expectation maximisation: (weight, mean, covariance) each."""
    points = np.log(np.stack([prompt, completion], axis=1))
    order = np.argsort(points[:, 0])
    means = np.array([points[part].mean(axis=0) for part in np.array_split(order, PARTS)])
    covariances = np.array([np.cov(points.T)] * PARTS)
    weights = np.full(PARTS, 1 / PARTS)
    for _ in range(rounds):
        density = np.stack([w * _normal(points, m, c) for w, m, c in zip(weights, means, covariances, strict=True)])
        belongs = density / density.sum(axis=0)
        count = belongs.sum(axis=1)
        weights, means = count / len(points), (belongs @ points) / count[:, None]
        for part in range(PARTS):
            away = points - means[part]
            covariances[part] = (belongs[part][:, None] * away).T @ away / count[part] + np.eye(2) * 1e-4
    return [
        (round(float(w), 4), [round(float(x), 4) for x in m], [round(float(c[i]), 4) for i in ((0, 0), (0, 1), (1, 1))])
        for w, m, c in zip(weights, means, covariances, strict=True)
    ]


def _normal(points: Floats, mean: Floats, covariance: Floats) -> Floats:
    away = points - mean
    power = np.einsum("ni,ij,nj->n", away, np.linalg.inv(covariance), away)
    density: Floats = np.exp(-power / 2) / (2 * np.pi * np.sqrt(np.linalg.det(covariance)))
    return density


def burstiness(seconds: Floats) -> tuple[float, float]:
    """(sd, correlation time in s) of the logarithm of the rate about its ten-minute mean, Poisson noise taken off."""
    counts = np.histogram(seconds, np.arange(0, seconds[-1], BURST_STEP_S))[0].astype(float)
    smooth = np.convolve(counts, np.ones(61), "same") / np.convolve(np.ones(len(counts)), np.ones(61), "same")
    away = counts / smooth - 1
    variance = away.var() - (1 / smooth).mean()
    lags = np.array([float(np.mean(away[lag:] * away[:-lag])) for lag in (1, 2, 3)]) / variance
    correlation = float(np.clip(np.mean(lags ** (1 / np.array([1, 2, 3]))), 0.01, 0.99))
    return float(np.sqrt(variance)), -BURST_STEP_S / float(np.log(correlation))


def shape_of_the_day(folder: Path) -> tuple[list[float], float, float, float]:
    """(hourly factors, sd of the logarithm of a day, sd and correlation of the logarithm of ten minutes)."""
    rates: dict[int, float] = {}
    for path in sorted(folder.glob("*-trace.csv")):
        for line in path.read_text().splitlines():
            second, requests = line.split(",")[:2]
            rates[int(float(second))] = rates.get(int(float(second)), 0.0) + float(requests or 0)
    times = np.array(sorted(rates))
    rate = np.array([rates[time] for time in times.tolist()])
    days, hours = times // 86400, times // 3600 % 24
    of_day = np.array([rate[days == day].mean() for day in range(int(days.max()) + 1)])
    flat = rate / of_day[days]
    factors = np.array([np.median(flat[hours == hour]) for hour in range(24)])
    factors /= factors.mean()
    rest = np.log(np.maximum(flat, 0.05) / factors[hours])
    low, high = np.quantile(rest, [0.16, 0.84])  # two sd apart in a normal distribution, whatever the outliers
    inner = np.clip(rest - np.median(rest), low, high)
    correlation = float(np.mean(inner[1:] * inner[:-1]) / inner.var())
    return [round(float(f), 3) for f in factors], float(np.log(of_day).std()), float(high - low) / 2, correlation


def main() -> None:
    """Print the parameters."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("conversations", type=Path)
    parser.add_argument("rates", type=Path)
    given = parser.parse_args()
    if not any(given.rates.glob("*-trace.csv")):
        parser.error(f"{given.rates} holds no file named *-trace.csv")
    table = np.loadtxt(given.conversations, delimiter=",", skiprows=1, dtype=str)
    seconds = table[:, 0].astype("M8[ns]").astype(np.int64) / 1e9
    prompt, completion = table[:, 1].astype(float), table[:, 2].astype(float)
    print("LENGTHS =", mixture(np.maximum(prompt, 1), np.maximum(completion, 1)))
    print("BURST_SD, BURST_S = {:.3f}, {:.1f}".format(*burstiness(seconds - seconds[0])))
    hours, day_sd, ten_sd, ten_correlation = shape_of_the_day(given.rates)
    print("HOURS =", hours)
    print(f"DAY_SD, TEN_MINUTES_SD, TEN_MINUTES_CORRELATION = {day_sd:.3f}, {ten_sd:.3f}, {ten_correlation:.3f}")


if __name__ == "__main__":
    main()
