"""One simulated week of two model servers, with incidents or quiet, stretch by stretch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from benchmarks.detection.arrivals import DAY_S, STEP_S, Floats, Traffic, arrivals, lengths, rates
from benchmarks.detection.conditions import Conditions, Effect
from benchmarks.detection.incidents import GIANT_COMPLETION, Incident, decoys, schedule
from benchmarks.detection.service import Hardware, Heartbeats, Requests, Server

START_S: Final = 1_767_571_200
"""Monday, 2026-01-05T00:00:00Z."""
MAIN: Final = "chat-large"
SIDE: Final = "chat-small"
HOSTS: Final = {MAIN: "gpu-1", SIDE: "gpu-2"}
SMALL_TOKEN_S: Final = 0.0032
LARGE_TOKEN_S: Final = 0.025
"""Decode time of a token: a small model answers 99 in 100 requests within 2 s, a large one within 18 s."""
SIDE_SHARE: Final = 0.3
STRETCH_S: Final = 6 * 3600
LEVELS: Final = (0.2, 1.0, 4.0, 20.0)
"""Requests a second, mean of the week, both models together."""
LONG_CONTEXT_BELOW: Final = 2.0
"""Services with little traffic have prompts four times as long: agents and documents, not chat."""


@dataclass(frozen=True)
class Week:
    """What is simulated: the same values give the same week."""

    seed: int
    with_incidents: bool
    days: int = 7

    @property
    def level(self) -> float:
        """Requests a second: four seeds cover all levels."""
        return LEVELS[self.seed // 2 % len(LEVELS)]

    @property
    def work(self) -> float:
        """About how much there is to compute, for the order of weeks and the progress bar."""
        return self.days * (2.0 + self.level)

    @property
    def is_large(self) -> bool:
        """Eight seeds have a small, fast model each, the next eight a large one."""
        return bool(self.seed // 8 % 2)

    @property
    def swing(self) -> float:
        """Those with a large model have a deep night: the measured shape of the day to the third power."""
        return 3.0 if self.is_large else 1.0

    def traffic(self) -> dict[str, Traffic]:
        """What comes to each model."""
        scale = 4.0 if self.level < LONG_CONTEXT_BELOW else 1.0
        shares = {MAIN: 1 - SIDE_SHARE, SIDE: SIDE_SHARE}
        return {name: Traffic(self.level * share, self.swing, scale) for name, share in shares.items()}

    def hardware(self) -> dict[str, Hardware]:
        """The server of each model."""
        return {
            name: Hardware.fitting(traffic, LARGE_TOKEN_S if self.is_large else SMALL_TOKEN_S)
            for name, traffic in self.traffic().items()
        }

    def rng(self, purpose: int) -> np.random.Generator:
        """Random numbers of their own for each purpose."""
        return np.random.default_rng([self.seed, int(self.with_incidents), purpose])

    def incidents(self) -> list[Incident]:
        """What goes wrong, in order of time."""
        return schedule(self.days, self.hardware(), self.rng(0)) if self.with_incidents else []


@dataclass(frozen=True)
class Part:
    """What one model and its server did in a stretch of time."""

    requests: Requests
    heartbeats: Heartbeats
    started: tuple[tuple[float, float], ...]
    """(time, seconds that the start took) of each `server_started`."""
    started_before: int
    """How many there were in earlier stretches."""


def play(week: Week, incidents: Sequence[Incident]) -> Iterator[tuple[float, dict[str, Part]]]:
    """(end of the stretch in seconds since the week began, by model what happened in it), in order of time."""
    effects: dict[str, list[Effect]] = {name: [] for name in week.traffic()}
    if not week.with_incidents:
        effects = decoys(week.days, week.hardware(), week.rng(1))
    for incident in incidents:
        for name, found in incident.effects.items():
            effects[name] += found
    models = {name: _Model(week, name, place, effects[name]) for place, name in enumerate(week.traffic())}
    for begin in range(0, week.days * DAY_S, STRETCH_S):
        end = min(begin + STRETCH_S, week.days * DAY_S)
        yield float(end), {name: model.until(float(begin), float(end)) for name, model in models.items()}


class _Model:
    """One model, its traffic and its server."""

    def __init__(self, week: Week, name: str, place: int, effects: list[Effect]) -> None:
        self._traffic = week.traffic()[name]
        self._rng = week.rng(10 + place)
        # Both models follow the same days: users come and go together.
        common = rates(Traffic(1.0, self._traffic.swing), week.days, week.rng(2))
        self._rates = common * self._traffic.requests_per_s
        self._conditions = Conditions(effects)
        self._hardware = week.hardware()[name]
        self._server = Server(self._hardware, self._conditions, week.rng(20 + place))

    def until(self, begin: float, end: float) -> Part:
        first, last = int(begin) // STEP_S, int(end) // STEP_S
        usual = arrivals(self._rates[first:last], first, self._rng)
        usual = usual[self._rng.random(len(usual)) < np.minimum(self._conditions.rate_factor(usual), 1.0)]
        prompt, completion = lengths(len(usual), self._traffic, self._rng)
        prompt = np.minimum(prompt, self._hardware.flood_prompt)
        times, prompts, completions, fresh = [usual], [prompt], [completion], [np.zeros(len(usual), np.bool_)]
        for what in ("extra", "long_prompts", "giant"):
            for effect in self._conditions.of(what):
                time = self._more(max(begin, effect.start), min(end, effect.end), effect.value)
                prompt, completion = lengths(len(time), self._traffic, self._rng)
                if what == "long_prompts":
                    prompt = np.full(len(time), self._hardware.flood_prompt)
                if what == "giant":
                    completion = np.full(len(time), float(GIANT_COMPLETION))
                times.append(time)
                fresh.append(np.full(len(time), what == "long_prompts"))
                prompts.append(prompt)
                completions.append(completion)
        arrival = np.concatenate(times)
        order = np.argsort(arrival, kind="stable")
        arrival = arrival[order]
        completion = np.concatenate(completions)[order] * self._conditions.completion_factor(arrival)
        started = tuple((up, min(60.0, up - down)) for down, up in self._conditions.downs if begin <= up < end)
        requests, heartbeats = self._server.serve(
            arrival, np.concatenate(prompts)[order], np.ceil(completion), np.concatenate(fresh)[order], end
        )
        return Part(requests, heartbeats, started, sum(up < begin for _, up in self._conditions.downs))

    def _more(self, begin: float, end: float, per_s: float) -> Floats:
        if end <= begin:
            return np.empty(0)
        times: Floats = begin + self._rng.random(int(self._rng.poisson(per_s * (end - begin)))) * (end - begin)
        times.sort()
        return times
