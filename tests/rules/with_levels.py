"""Settings with every threshold set, at several levels, and with models that have their own."""

from __future__ import annotations

from typing import Any, Final

from logproc.settings import Settings

THRESHOLDS: Final[dict[str, Any]] = {
    "duration_s": {"warning": 3, "critical": 10, "disaster": 30},
    "duration_p95_s": {"warning": 5, "for": "2m"},
    "ttft_s": {"warning": 0.8, "critical": 2.5},
    "tokens_per_second": {"warning": 20, "critical": 7},
    "error_ratio": {"warning": 0.05, "critical": 0.1, "disaster": 0.5},
    "empty_ratio": {"warning": 0.01, "critical": 0.2},
    "gpu_memory_ratio": {"warning": 0.9, "critical": 0.97},
    "gpu_memory_bytes": 18e9,
    "silent_s": {"warning": 300, "critical": 900},
    "server_gone_s": {"warning": 30, "critical": 90},
    "startup_s": {"warning": 60, "critical": 300},
    "queue_growth": {"warning": 2, "critical": 5},
    "drift": {"warning": 2, "critical": 4},
    "models": {
        'odd "name"\\': {"duration_s": 30, "ttft_s": None},
        "some-model": {"ttft_s": {"warning": 2, "for": "90s"}, "tokens_per_second": 8},
    },
}


def settings(*, decide: str = "prometheus", namespace: str = "llm", **thresholds: Any) -> Settings:
    """Settings with these thresholds; all of THRESHOLDS where none is given."""
    return Settings.model_validate(
        {
            "logs": {"paths": ["-"]},
            "metrics": {"namespace": namespace},
            "alerts": {"decide": decide},
            "thresholds": thresholds or THRESHOLDS,
        }
    )
