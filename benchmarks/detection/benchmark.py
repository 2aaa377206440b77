"""Plays whole weeks to all detectors and scores them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from multiprocessing import get_context
from typing import Any, Final

from benchmarks.detection import competitors
from benchmarks.detection.arrivals import DAY_S
from benchmarks.detection.competitors import Signals
from benchmarks.detection.feed import Feed, episodes
from benchmarks.detection.incidents import Incident
from benchmarks.detection.scoring import Score, as_json, score
from benchmarks.detection.week import HOSTS, Week, play

OURS: Final = "logproc"
PLAIN: Final = "logproc, plain log"
"""The same on the log of another tool, see `Feed`."""
RANDOM: Final = "random"
RULES: Final[dict[str, Callable[[Signals], list[tuple[str, competitors.Mask]]]]] = {
    "fixed threshold": competitors.fixed,
    "fixed, for 5 min": competitors.held,
    "rolling mean ± 3σ": competitors.rolling,
    "rolling, for 2 min": competitors.rolling_held,
    "EWMA ± 3σ": competitors.ewma,
}
DETECTORS: Final = (OURS, PLAIN, *RULES, RANDOM)
RANDOM_DRAWS: Final = 20
SMALL_BOUNDS_S: Final = (3.0, 0.8)
LARGE_BOUNDS_S: Final = (20.0, 0.8)
"""What the fixed threshold calls slow (duration, TTFT): the defaults, and what fits a large model. Ours is not told."""

Scores = dict[str, Score]
Results = dict[str, Any]
"""All that was found, as it is written down: see `results`."""


def one_week(week: Week, incidents: list[Incident] | None = None) -> Scores:
    """Simulate a week, and score every detector on it; with the week's own incidents, or those that are given."""
    if incidents is None:
        incidents = week.incidents()
    feeds = {OURS: Feed(), PLAIN: Feed(plain=True)}
    bounds = LARGE_BOUNDS_S if week.is_large else SMALL_BOUNDS_S
    signals = {model: Signals(bounds) for model in week.traffic()}
    begin = 0.0
    for end, parts in play(week, incidents):
        for feed in feeds.values():
            feed.take(end, parts)
        for model, part in parts.items():
            signals[model].take(begin, end, part.requests, part.heartbeats)
        begin = end
    seconds = float(week.days * DAY_S)
    found = {name: episodes(feed.alerts, seconds) for name, feed in feeds.items()}
    for name, rule in RULES.items():
        found[name] = [
            each for model in signals for each in competitors.episodes(rule(signals[model]), model, HOSTS[model])
        ]
    scores = {
        name: score(incidents, each, level=week.level, is_large=week.is_large, days=week.days)
        for name, each in found.items()
    }
    rng = week.rng(30)
    scores[RANDOM] = Score()
    for _ in range(RANDOM_DRAWS):
        drawn = competitors.random(found[OURS], seconds, rng)
        scores[RANDOM].add(score(incidents, drawn, level=week.level, is_large=week.is_large, days=week.days))
    return scores


def run(weeks: Sequence[Week], processes: int) -> Iterator[tuple[Week, Scores]]:
    """The scores of each week, as they are done; the longest first."""
    order = sorted(weeks, key=lambda week: -week.work)
    if processes == 1:
        for week in order:
            yield week, one_week(week)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(one_week, week): week for week in order}
        for future in as_completed(futures):
            yield futures[future], future.result()


def together(found: Sequence[Scores]) -> Scores:
    """The scores of several weeks as one."""
    total = {name: Score() for name in DETECTORS}
    for scores in found:
        for name, each in scores.items():
            total[name].add(each)
    return total


def results(weeks: Sequence[Week], scores: Scores) -> Results:
    """The seeds, the numbers of each detector, and of ours every verdict and the kinds of its false alerts."""
    ours = scores[OURS]
    return {
        "seeds": sorted({week.seed for week in weeks}),
        "detectors": {name: as_json(score) for name, score in scores.items()},
        "incidents": [asdict(each) for each in ours.verdicts],
        "false": ours.false,
        "false_quiet": ours.false_quiet,
    }
