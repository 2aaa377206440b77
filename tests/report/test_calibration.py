"""Fitted thresholds: what is usual for a size is found, whatever stands out, and little of it would be flagged."""

from __future__ import annotations

import numpy as np
import pytest
import yaml

from logproc.report.calibration import as_settings, calibrate
from logproc.settings import Settings
from tests.report.test_scorecard import seen


def healthy(count: int, seed: int = 1) -> dict[str, object]:
    """TTFT = 0.2 s + 0.4 s per 1000 fresh prompt tokens, 20 ms a token, both with 10 % of noise."""
    chance = np.random.default_rng(seed)
    prompt, completion = chance.uniform(50, 8000, count), chance.integers(16, 500, count).astype(float)
    cached = np.where(chance.random(count) < 0.3, prompt * 0.5, 0.0)
    ttft = (0.2 + 0.4 * (prompt - cached) / 1000) * chance.lognormal(0, 0.1, count)
    decode = 0.02 * completion * chance.lognormal(0, 0.1, count)
    return {"prompt": prompt, "cached": cached, "completion": completion, "ttft_s": ttft, "decode_s": decode}


def test_the_fit_finds_base_and_slope_and_leaves_one_in_a_hundred_above() -> None:
    (fit,) = calibrate(seen(5000, **healthy(5000)))
    assert fit.ttft_base_s is not None
    assert fit.ttft_per_1k_prompt_s is not None
    assert fit.s_per_token is not None
    assert fit.ttft_per_1k_prompt_s / fit.ttft_base_s == pytest.approx(2.0, rel=0.15)
    assert 0.2 * 1.5 <= fit.ttft_base_s <= 0.2 * 1.8
    assert 0.02 * 1.5 <= fit.s_per_token <= 0.02 * 1.8
    assert fit.ttft_above is not None
    assert fit.ttft_above <= 0.011
    assert fit.decode_above is not None
    assert fit.decode_above <= 0.011


def test_an_incident_in_what_was_seen_hardly_moves_the_fit() -> None:
    columns = healthy(5000)
    ttft = np.array(columns["ttft_s"])
    ttft[:40] += 30.0  # a queue, for less than one request in a hundred
    (calm,), (troubled,) = calibrate(seen(5000, **columns)), calibrate(seen(5000, **{**columns, "ttft_s": ttft}))
    assert calm.ttft_base_s is not None
    assert troubled.ttft_base_s is not None
    assert troubled.ttft_base_s == pytest.approx(calm.ttft_base_s, rel=0.2)


def test_a_long_incident_is_left_out_and_said() -> None:
    columns = healthy(5000)
    ttft = np.array(columns["ttft_s"])
    ttft[::4] += 30.0  # a quarter of all waited in a queue
    calm, troubled = seen(5000, **columns), seen(5000, **{**columns, "ttft_s": ttft})
    (fit,), (usual,) = calibrate(troubled), calibrate(calm)
    assert usual.ttft_base_s is not None
    assert fit.ttft_base_s == pytest.approx(usual.ttft_base_s, rel=0.5)
    assert fit.ttft_above == pytest.approx(0.25, abs=0.02)
    assert "incident?" in as_settings([fit])
    assert "incident?" not in as_settings([usual])


def test_failed_requests_say_nothing_about_what_is_usual() -> None:
    columns = healthy(1000)
    outcome = np.full(1000, "ok", "U20")
    ttft = np.array(columns["ttft_s"])
    outcome[::3], ttft[::3] = "stream_error", 500.0
    (fit,) = calibrate(seen(1000, **{**columns, "ttft_s": ttft, "outcome": outcome}))
    assert fit.ttft_base_s is not None
    assert fit.ttft_base_s < 0.5


def test_prompts_of_one_length_give_a_base_and_next_to_no_slope() -> None:
    (fit,) = calibrate(seen(500, prompt=np.full(500, 1000.0), ttft_s=np.full(500, 0.3), decode_s=np.full(500, 1.0)))
    assert fit.ttft_base_s == pytest.approx(0.45)
    assert fit.ttft_per_1k_prompt_s is not None
    assert fit.ttft_per_1k_prompt_s < 0.001


def test_the_settings_it_prints_are_settings_and_too_few_requests_give_none() -> None:
    columns = healthy(700)
    model = np.array(['a: "b"\n'] * 500 + ["rare"] * 50 + ["other"] * 150)
    text = as_settings(calibrate(seen(700, **{**columns, "model": model})))
    settings = Settings.model_validate({"logs": {"paths": ["x"]}, **yaml.safe_load(text)})
    assert set(settings.thresholds.models) == {'a: "b"\n', "other"}
    assert settings.thresholds.models["other"].slow_for_size is not None
    assert '# "rare": 50 requests went well; 100 with times are needed' in text
