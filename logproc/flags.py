"""What is odd about ONE request: a pure function of its record and the thresholds, the same for every consumer."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from logproc.events import LEAST_TOKENS_FOR_SPEED, Events, Floats
from logproc.kinds import Kind, Kinds, label
from logproc.settings import Levels, ModelThresholds, Thresholds

FLAGS: Final = (
    "empty_completion",
    "slow",
    "slow_for_size",
    "slow_first_token",
    "slow_decode",
    "stall",
    "truncated",
    "stream_error",
)
"""The closed list. A flag's place in it is its bit."""

_NAMES: Final = tuple(tuple(name for bit, name in enumerate(FLAGS) if bits >> bit & 1) for bits in range(256))

_BOUNDS: Final = ("duration_ms", "ttft_ms", "tpot_ms", "stall_ms", "base_ms", "per_prompt_token_ms", "per_token_ms")


class Usual(NamedTuple):
    """What a request must not exceed to stay without a flag, ms; None where nothing is judged."""

    ttft_ms: float | None = None
    decode_ms: float | None = None
    """These two are for its size: the prompt that was not cached, the tokens of its answer."""
    duration_ms: float | None = None


class Flagger:
    """Judges requests by the thresholds, those of their model where it has its own."""

    def __init__(self, thresholds: Thresholds) -> None:
        self._common = _bounds(thresholds, None)
        self._own = {model: _bounds(thresholds, own) for model, own in thresholds.models.items()}
        self._bounds: npt.NDArray[np.float64] = np.empty((0, len(_BOUNDS)))
        self._outcomes: npt.NDArray[np.uint8] = np.empty(0, np.uint8)

    def bits(self, events: Events, kinds: Kinds) -> npt.NDArray[np.uint8]:
        """One byte a request: bit i stands for FLAGS[i]."""
        self._learn(kinds)
        duration, ttft, tpot, stall, base, per_prompt, per_token = self._bounds[events.kind].T
        bits: npt.NDArray[np.uint8] = self._outcomes[events.kind]
        if (bits & 1).any():
            bits = np.where(_may_be_empty(events), bits, bits & 0xFE)
        bits = bits | (events.duration_ms > duration).astype(np.uint8) << 1
        if events.ttft_ms is not None:
            cached = 0.0 if events.cached_tokens is None else np.nan_to_num(events.cached_tokens)
            usual = base + per_prompt * np.maximum(events.prompt_tokens - cached, 0.0)
            bits |= (events.ttft_ms > usual).astype(np.uint8) << 2
            bits |= (events.ttft_ms > ttft).astype(np.uint8) << 3
        decode = _decode_ms(events, kinds)
        if decode is not None:
            many = events.completion_tokens >= LEAST_TOKENS_FOR_SPEED
            bits |= (many & (decode > per_token * events.completion_tokens)).astype(np.uint8) << 2
        if events.tpot_ms is not None:
            many = events.completion_tokens >= LEAST_TOKENS_FOR_SPEED
            bits |= (many & (events.tpot_ms > tpot)).astype(np.uint8) << 4
        if events.stall_max_ms is not None:
            bits |= (events.stall_max_ms > stall).astype(np.uint8) << 5
        return bits

    def names(self, events: Events, kinds: Kinds) -> list[tuple[str, ...]]:
        """The flags of each request by name."""
        return [_NAMES[bits] for bits in self.bits(events, kinds).tolist()]

    def usual(
        self,
        *,
        model: str | None,
        outcome: str | None,
        prompt_tokens: int | None,
        cached_tokens: int | None,
        completion_tokens: int | None,
    ) -> Usual:
        """The bounds by which one request is judged: `slow_for_size` (the first two) and `slow`."""
        if outcome == "rejected":
            return Usual()
        duration, _, _, _, base, per_prompt, per_token = self._own.get(label(model or "unknown"), self._common)
        first = math.nan if prompt_tokens is None else base + per_prompt * max(prompt_tokens - (cached_tokens or 0), 0)
        is_long = completion_tokens is not None and completion_tokens >= LEAST_TOKENS_FOR_SPEED
        decode = per_token * completion_tokens if is_long and completion_tokens is not None else math.nan
        return Usual(*(None if math.isnan(bound) else round(bound, 3) for bound in (first, decode, duration)))

    def forget(self) -> None:
        """The kinds will be numbered anew."""
        self._bounds, self._outcomes = self._bounds[:0], self._outcomes[:0]

    def _learn(self, kinds: Kinds) -> None:
        new = kinds.list[len(self._bounds) :]
        if new:
            rows = np.array([self._bounds_of(kind) for kind in new])
            self._bounds = np.concatenate([self._bounds, rows])
            self._outcomes = np.concatenate([self._outcomes, np.array([_by_outcome(k) for k in new], np.uint8)])

    def _bounds_of(self, kind: Kind) -> list[float]:
        """The bounds of one kind in ms."""
        if kind.outcome == "rejected":
            return _OFF
        return self._own.get(kind.model, self._common)


_OFF: Final = [np.nan] * len(_BOUNDS)
"""Nothing is greater than NaN."""


def _bounds(common: Thresholds, own: ModelThresholds | None) -> list[float]:
    """The bounds in ms by the thresholds of a model, those of all where it has none of its own."""

    def lowest(name: str) -> float:
        levels: Levels = getattr(own, name, None) or getattr(common, name)
        return np.nan if levels.lowest is None else levels.lowest

    size = own.slow_for_size if own and "slow_for_size" in own.model_fields_set else common.slow_for_size
    speed = lowest("tokens_per_second")
    return [
        lowest("duration_s") * 1000,
        lowest("ttft_s") * 1000,
        1000 / speed if speed else np.nan,
        lowest("stall_s") * 1000,
        size.ttft_base_s * 1000 if size else np.nan,
        size.ttft_per_1k_prompt_s if size else np.nan,
        size.s_per_token * 1000 if size else np.nan,
    ]


def _by_outcome(kind: Kind) -> int:
    bit = {"empty": 0, "truncated": 6, "stream_error": 7}.get(kind.outcome)
    return 0 if bit is None else 1 << bit


def _may_be_empty(events: Events) -> npt.NDArray[np.bool_]:
    """Odd is an empty answer only where its length is known, two tokens were allowed, and no tool was called."""
    odd = ~np.isnan(events.completion_tokens)
    if events.max_tokens is not None:
        odd &= ~(events.max_tokens <= 1)
    if events.tool_calls is not None:
        odd &= ~(events.tool_calls > 0)
    return odd


def _decode_ms(events: Events, kinds: Kinds) -> Floats | None:
    """Time spent on decoding: the engine's, else from the first content to the end of a stream."""
    if events.ttft_ms is None:
        return events.decode_ms
    seen = np.where(kinds.streams[events.kind], events.duration_ms - events.ttft_ms, np.nan)
    return seen if events.decode_ms is None else np.where(np.isnan(events.decode_ms), seen, events.decode_ms)
