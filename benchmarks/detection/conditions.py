"""What is different from the usual at one server, and when: the effects of incidents, asked for by arrays of times."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

What = Literal[
    "rate", "extra", "long_prompts", "giant", "cached_share", "prefill", "decode", "completion", "freeze", "kv_leak",
    "gpu_leak", "down", "empty", "server_error", "stream_error", "rejected", "rejected_200", "client_disconnect",
]  # fmt: skip

COLD_S: Final = 90.0
"""So long after a start the prefix cache is empty."""
RAMP_S: Final = 1800.0
"""Answers grow over so long a time until they are as long as an effect says."""


class Effect(NamedTuple):
    """From `start` to before `end` (s) one thing is different.

    The unit of `value`: `rate`, `prefill`, `decode`, `completion` are factors of the usual; `extra`, `long_prompts`,
    `giant` requests a second that come in addition; `cached_share`, `kv_leak` and the outcomes shares; `freeze`
    seconds, every `every` seconds; `gpu_leak` bytes a second.
    """

    what: What
    start: float
    end: float
    value: float = 0.0
    every: float = 0.0


class Conditions:
    """All effects at one server; times are seconds since the week began."""

    def __init__(self, effects: Iterable[Effect]) -> None:
        self._by: dict[str, list[Effect]] = {}
        for effect in sorted(effects, key=lambda each: each.start):
            self._by.setdefault(effect.what, []).append(effect)
        self.downs = [(each.start, each.end) for each in self._by.get("down", ())]
        self.heard_until = 0.0
        self.freezes = [
            (begin, effect.value)
            for effect in self._by.get("freeze", ())
            for begin in np.arange(effect.start, effect.end, effect.every).tolist()
        ]
        self._froze = np.array([begin for begin, _ in self.freezes])
        self._frozen = np.concatenate([[0.0], np.cumsum([length for _, length in self.freezes])])

    def of(self, what: What) -> list[Effect]:
        """The effects of one sort, in order."""
        return self._by.get(what, [])

    def _value(self, what: What, at: Floats, usual: float) -> Floats:
        found = np.full(len(at), usual)
        for effect in self.of(what):
            found[(at >= effect.start) & (at < effect.end)] = effect.value
        return found

    def rate_factor(self, at: Floats) -> Floats:
        """By what the usual traffic is multiplied."""
        return self._value("rate", at, 1.0)

    def cached_share(self, at: Floats, usual: float) -> Floats:
        """The mean share of a prompt that is in the prefix cache."""
        share = self._value("cached_share", at, usual)
        for _, up in self.downs:
            share[(at >= up) & (at < up + COLD_S)] = 0.0
        return share

    def prefill_factor(self, at: Floats) -> Floats:
        """By what the time of a prefill is multiplied."""
        return self._value("prefill", at, 1.0)

    def decode_factor(self, at: Floats) -> Floats:
        """By what the time of a token is multiplied."""
        return self._value("decode", at, 1.0)

    def completion_factor(self, at: Floats) -> Floats:
        """By what the length of an answer is multiplied: it grows over half an hour."""
        found = np.ones(len(at))
        for effect in self.of("completion"):
            within = (at >= effect.start) & (at < effect.end)
            found[within] += (effect.value - 1) * np.minimum(1.0, (at[within] - effect.start) / RAMP_S)
        return found

    def kv_leaked(self, at: Floats) -> Floats:
        """The share of the KV cache that is lost."""
        return self._value("kv_leak", at, 0.0)

    def kv_free(self, at: Floats) -> Floats:
        """The share of the KV cache that can be used."""
        found: Floats = 1.0 - self.kv_leaked(at)
        return found

    def gpu_leaked(self, at: Floats) -> Floats:
        """Bytes of GPU memory that leaked so far."""
        found = np.zeros(len(at))
        for effect in self.of("gpu_leak"):
            within = (at >= effect.start) & (at < effect.end)
            found[within] = (at[within] - effect.start) * effect.value
        return found

    def share(self, outcome: What | str, at: Floats, usual: float) -> Floats:
        """The share of requests that end so."""
        return self._value(outcome, at, usual)  # type: ignore[arg-type]

    def is_down(self, at: Floats) -> npt.NDArray[np.bool_]:
        """Whether there is no server."""
        found = np.zeros(len(at), np.bool_)
        for begin, end in self.downs:
            found |= (at >= begin) & (at < end)
        return found

    def born(self, at: Floats) -> Floats:
        """When the server process began that is there."""
        found = np.zeros(len(at))
        for _, up in self.downs:
            found[at >= up] = up
        return found

    def work_time(self, wall: Floats) -> Floats:
        """The clock of the engine, which stands still while it is frozen."""
        if not self.freezes:
            return wall
        place = np.searchsorted(self._froze, wall, "right")
        before = np.where(place > 0, place - 1, 0)
        length = self._frozen[place] - self._frozen[before]
        into = np.minimum(wall - self._froze[before], length)
        found: Floats = wall - self._frozen[before] - np.where(place > 0, into, 0.0)
        return found

    def wall_time(self, work: Floats) -> Floats:
        """When the engine's clock shows this; the end of a freeze where it stands still."""
        if not self.freezes:
            return work
        froze_at = self._froze - self._frozen[:-1]
        found: Floats = work + self._frozen[np.searchsorted(froze_at, work, "right")]
        return found

    def longest_freeze(self, begin: Floats, end: Floats) -> Floats:
        """The longest freeze that began between two times; 0 where none did."""
        found = np.zeros(len(begin))
        for froze, length in self.freezes:
            hit = (begin <= froze) & (end > froze)
            found[hit] = np.maximum(found[hit], length)
        return found
