"""Thresholds fitted to what was seen: how long a first token and a whole answer of its size take, per model. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from logproc.report.scorecard import decodes
from logproc.report.seen import Floats, Seen

LEAST_REQUESTS: Final = 100
"""Fewer say nothing about the one in a hundred that is slow."""
SLOW_RANK: Final = 99
"""The bound is drawn so that of what was seen one request in a hundred is above it ..."""
LEAST_MARGIN: Final = 1.5
"""... but never nearer than this to what is usual."""
MOST_MARGIN: Final = 4.0
"""What took so many times the usual was trouble: it does not tell where the bound is to be."""
MUCH: Final = 0.05
"""With more than so much of what was seen above the bound, it was no quiet time."""
_ROUNDS: Final = 50
_NEARLY: Final = 1e-6


@dataclass(frozen=True)
class Fit:
    """`slow_for_size` of one model, in seconds; None where too few requests told it. `above`: share seen above it."""

    model: str
    requests: int
    ttft_base_s: float | None
    ttft_per_1k_prompt_s: float | None
    s_per_token: float | None
    ttft_above: float | None = None
    decode_above: float | None = None


def calibrate(seen: Seen) -> list[Fit]:
    """A fit for each model, by its requests that went well."""
    well = seen.of(np.isin(seen.outcome, ("ok", "truncated")))
    return [_fit(model, well.of(well.model == model)) for model in well.models]


def _fit(model: str, seen: Seen) -> Fit:
    base = per_1k = ttft_above = None
    known = ~np.isnan(seen.ttft_s) & ~np.isnan(seen.prompt)
    if known.sum() >= LEAST_REQUESTS:
        fresh = np.maximum(seen.prompt[known] - np.nan_to_num(seen.cached[known]), 0.0) / 1000
        ttft = seen.ttft_s[known]
        middle, slope = _median_line(fresh, ttft)
        margin = _margin(ttft / (middle + slope * fresh))
        base, per_1k = _rounded_up(middle * margin), _rounded_up(slope * margin)
        ttft_above = float(np.mean(ttft > base + per_1k * fresh))
    s_per_token = decode_above = None
    decode, completion = decodes(seen)
    if len(decode) >= LEAST_REQUESTS:
        each = decode / completion
        usual = float(np.median(each))
        s_per_token = _rounded_up(usual * _margin(each / usual))
        decode_above = float(np.mean(each > s_per_token))
    return Fit(model, len(seen), base, per_1k, s_per_token, ttft_above, decode_above)


def _margin(times_usual: Floats) -> float:
    return max(LEAST_MARGIN, float(np.percentile(times_usual[times_usual <= MOST_MARGIN], SLOW_RANK)))


def _median_line(x: Floats, y: Floats) -> tuple[float, float]:
    """(at 0, slope) of the line that half of the points lie above: the least sum of absolute distances, found by
    weighting the points of a least-squares line anew, neither of the two below 0. A tenth of outliers do not move it.
    """
    weight = np.ones_like(y)
    at_zero, slope = float(np.median(y)), 0.0
    for _ in range(_ROUNDS):
        total, mean_x, mean_y = weight.sum(), np.average(x, weights=weight), np.average(y, weights=weight)
        spread = float((weight * (x - mean_x) ** 2).sum())
        slope = float((weight * (x - mean_x) * (y - mean_y)).sum()) / spread if spread > _NEARLY * total else 0.0
        slope = max(slope, 0.0)
        at_zero = float(mean_y - slope * mean_x)
        if at_zero <= 0:  # through the origin
            at_zero, slope = _NEARLY, float((weight * x * y).sum() / max((weight * x * x).sum(), _NEARLY))
        weight = 1 / np.maximum(np.abs(y - at_zero - slope * x), 1e-4)
    return at_zero, slope


def _rounded_up(value: float) -> float:
    """To two digits, never 0: a threshold is no measurement."""
    if value <= 0:
        return 0.0001
    step = 10.0 ** (int(np.floor(np.log10(value))) - 1)
    return max(round(float(np.ceil(value / step - _NEARLY) * step), 10), 0.0001)


def as_settings(fits: list[Fit]) -> str:
    """The fits as YAML, to be copied into the pipeline's file; a model without a fit is a comment."""
    lines = ["thresholds:", "  models:"]
    for fit in fits:
        values = {
            "ttft_base_s": fit.ttft_base_s,
            "ttft_per_1k_prompt_s": fit.ttft_per_1k_prompt_s,
            "s_per_token": fit.s_per_token,
        }
        told = {name: value for name, value in values.items() if value is not None}
        name = _quoted(fit.model)
        if not told:
            lines.append(f"    # {name}: {fit.requests} requests went well; {LEAST_REQUESTS} with times are needed")
            continue
        inside = ", ".join(f"{key}: {value:.10g}" for key, value in told.items())
        shares = [f"{share:.1%} of {what}" for share, what in
                  ((fit.ttft_above, "first tokens"), (fit.decode_above, "answers")) if share is not None]  # fmt: skip
        much = max(fit.ttft_above or 0.0, fit.decode_above or 0.0) > MUCH
        advice = "; was there an incident? A quieter range tells more" if much else ""
        lines.append(f"    {name}: # {fit.requests} requests; above it: {', '.join(shares)}{advice}")
        lines.append(f"      slow_for_size: {{{inside}}}")
    return "\n".join(lines) + "\n"


def _quoted(name: str) -> str:
    import json

    return json.dumps(name, ensure_ascii=True)
