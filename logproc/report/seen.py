"""What a report rests on: the requests of a range of time as columns, read from a store once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from logproc.stores.archive import Found

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_NUMBERS: Final = {
    "duration_s": ("event.duration", 1e-9),
    "ttft_s": ("llm.ttft", 1e-9),
    "decode_s": ("llm.decode_time", 1e-9),
    "prompt": ("gen_ai.usage.input_tokens", 1.0),
    "completion": ("gen_ai.usage.output_tokens", 1.0),
    "cached": ("llm.cached_tokens", 1.0),
}
TOLD_EVERY: Final = 1000


@dataclass(frozen=True)
class Seen:
    """n requests; numbers are float64 with NaN for unknown, times are seconds, `time_s` since 1970."""

    model: npt.NDArray[np.str_]
    outcome: npt.NDArray[np.str_]
    status: npt.NDArray[np.int64]
    generates: Bools
    """Whether the operation is one that answers with text."""
    empty: Bools
    """Whether it has the flag `empty_completion`."""
    time_s: Floats
    duration_s: Floats
    ttft_s: Floats
    decode_s: Floats
    prompt: Floats
    completion: Floats
    cached: Floats

    def __len__(self) -> int:
        return len(self.time_s)

    def of(self, chosen: Bools) -> Seen:
        """Those requests alone."""
        return Seen(**{name: getattr(self, name)[chosen] for name in self.__dataclass_fields__})

    @property
    def models(self) -> list[str]:
        """Every model's name, the one with most requests first."""
        names, counts = np.unique(self.model, return_counts=True)
        return [str(names[place]) for place in np.lexsort((names, -counts))]


def read(found: Iterable[Found], generation: frozenset[str], told: Callable[[int], None] = lambda _: None) -> Seen:
    """Documents → columns. `generation` are the operations that answer with text; `told` hears how many were read."""
    models: list[str] = []
    outcomes: list[str] = []
    statuses: list[int] = []
    generates: list[bool] = []
    empties: list[bool] = []
    times: list[float] = []
    numbers: dict[str, list[float]] = {name: [] for name in _NUMBERS}
    for count, (position, document) in enumerate(found, 1):
        get: Callable[[str], Any] = document.get
        models.append(get("gen_ai.request.model") or "unknown")
        outcomes.append(get("llm.outcome") or "unknown")
        statuses.append(get("http.response.status_code") or 0)
        generates.append(get("gen_ai.operation.name") in generation)
        empties.append("empty_completion" in (get("llm.flags") or ()))
        times.append(position.time_ms / 1000)
        for name, (field, scale) in _NUMBERS.items():
            value = get(field)
            numbers[name].append(np.nan if value is None else value * scale)
        if count % TOLD_EVERY == 0:
            told(count)
    return Seen(
        np.array(models, np.str_),
        np.array(outcomes, np.str_),
        np.array(statuses, np.int64),
        np.array(generates, np.bool_),
        np.array(empties, np.bool_),
        np.array(times, np.float64),
        **{name: np.array(values, np.float64) for name, values in numbers.items()},
    )
