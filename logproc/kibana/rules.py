"""Rules of Kibana's alerting: errors, P99 duration and empty answers, at the thresholds of the settings.

They are rules of the type "custom threshold", which every licence has: it knows ratios and percentiles, and needs no
ES|QL. They have no actions: who is told by Kibana is for people to add there, and stays when the rules are put again.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from logproc.kibana import questions
from logproc.kibana.data_views import DataView, data_views
from logproc.kibana.layers import ns
from logproc.settings import Levels, Thresholds

RULE_TYPE: Final = "observability.rules.custom_threshold"
WINDOW_MINUTES: Final = 5
_MODEL: Final = "gen_ai.request.model"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: `body` is what the alerting API takes to make it; `update` what it takes to change it."""

    id: str
    body: dict[str, Any]

    @property
    def name(self) -> str:
        """What it is called in Kibana."""
        return str(self.body["name"])

    @property
    def update(self) -> dict[str, Any]:
        """What can be changed in a rule that is there; its actions are added by the caller."""
        return {key: value for key, value in self.body.items() if key not in {"rule_type_id", "consumer", "enabled"}}


def rules(index: str, thresholds: Thresholds) -> tuple[Rule, ...]:
    """A rule for each of the three thresholds that is set, at its mildest level."""
    view = data_views(index).requests
    return tuple(_rules(index, view, thresholds))


def _rules(index: str, view: DataView, thresholds: Thresholds) -> Iterator[Rule]:
    errors, duration, empty = thresholds.error_ratio, thresholds.duration_s, thresholds.empty_ratio
    if errors.lowest is not None:
        metrics = _ratio(questions.ERROR, questions.COUNTED_FOR_ERRORS)
        yield _rule(
            index, "errors", f"LLM errors over {errors.lowest:.3g} of requests", view, errors, metrics, errors.lowest
        )
    if duration.lowest is not None:
        p99 = [{"name": "A", "aggType": "p99", "field": "event.duration"}]
        yield _rule(
            index,
            "p99-duration",
            f"LLM P99 duration over {duration.lowest:g} s",
            view,
            duration,
            p99,
            ns(duration.lowest),
            kql=questions.NOT_REJECTED,
            group_by=(_MODEL,),
        )
    if empty.lowest is not None:
        metrics = _ratio(questions.EMPTY, questions.COUNTED_FOR_EMPTY)
        yield _rule(
            index,
            "empty-answers",
            f"LLM empty answers over {empty.lowest:.3g} of generations",
            view,
            empty,
            metrics,
            empty.lowest,
            group_by=(_MODEL,),
        )


def _ratio(part: str, whole: str) -> list[dict[str, Any]]:
    return [{"name": "A", "aggType": "count", "filter": part}, {"name": "B", "aggType": "count", "filter": whole}]


def _rule(
    index: str,
    key: str,
    name: str,
    view: DataView,
    levels: Levels,
    metrics: list[dict[str, Any]],
    threshold: float,
    *,
    kql: str = "",
    group_by: tuple[str, ...] = (),
) -> Rule:
    for field in (*group_by, *(metric["field"] for metric in metrics if "field" in metric)):
        view.type_of(field)
    criterion = {
        "metrics": metrics,
        "equation": "A / B" if len(metrics) == 2 else "A",
        "comparator": ">",
        "threshold": [threshold],
        "timeSize": WINDOW_MINUTES,
        "timeUnit": "m",
    }
    params: dict[str, Any] = {
        "criteria": [criterion],
        "alertOnNoData": False,
        "alertOnGroupDisappear": False,
        "searchConfiguration": {"index": view.id, "query": {"query": kql, "language": "kuery"}},
    }
    if group_by:
        params["groupBy"] = list(group_by)
    body = {
        "name": f"{name} [{index}]",
        "rule_type_id": RULE_TYPE,
        "consumer": "logs",
        "enabled": True,
        "schedule": {"interval": "1m"},
        "alert_delay": {"active": max(1, round(levels.for_s / 60))},
        "tags": ["logproc"],
        "params": params,
        "actions": [],
    }
    return Rule(_rule_id(index, key), body)


def _rule_id(index: str, key: str) -> str:
    """Always the same for the same rule; in the form of a random UUID, for Kibana takes no other id for a rule."""
    octets = hashlib.blake2b(f"{index}\0{key}".encode(), digest_size=16).digest()
    return str(uuid.UUID(bytes=octets, version=4))
