"""Index names follow from a document's own time alone, and the mapping is the field list's."""

from __future__ import annotations

import fnmatch
import hashlib
import json
from datetime import datetime

import numpy as np
import pytest

from logproc.stores.elasticsearch_names import (
    PERIOD_DAYS,
    TEMPLATE_VERSION,
    Family,
    Names,
    Period,
    delete_after_days,
    first_days,
    mapping,
)
from logproc.stores.fields import ALERT_FIELDS, REQUEST_FIELDS, SERVER_FIELDS

DAY_MS = 86_400_000


def index_of(text: str, period: Period) -> str:
    time_ms = round(datetime.fromisoformat(text).timestamp() * 1000)
    (day,) = first_days(np.array([time_ms], np.int64), period).tolist()
    return Names("llm-access").concrete("requests", day)


@pytest.mark.parametrize(
    ("time", "period", "day"),
    [
        ("2026-11-21T23:59:59.999+00:00", "day", "2026.11.21"),
        ("2026-11-22T00:00:00.000+00:00", "day", "2026.11.22"),
        ("2026-11-22T23:59:59.999+00:00", "week", "2026.11.16"),  # a Sunday
        ("2026-11-23T00:00:00.000+00:00", "week", "2026.11.23"),  # a Monday
        ("2026-01-01T00:00:00.000+00:00", "week", "2025.12.29"),
        ("2026-11-30T23:59:59.999+00:00", "month", "2026.11.01"),
        ("2026-12-01T00:00:00.000+00:00", "month", "2026.12.01"),
    ],
)
def test_a_document_goes_into_the_index_of_the_first_day_of_its_period(time: str, period: Period, day: str) -> None:
    assert index_of(time, period) == f"llm-access-{day}"


@pytest.mark.parametrize("period", ["day", "week", "month"])
def test_periods_neither_overlap_nor_leave_gaps_and_are_as_long_as_said(period: Period) -> None:
    times = np.arange(0, 800 * DAY_MS, DAY_MS // 2, dtype=np.int64) + 1_700_000_000_000
    days = first_days(times, period)
    assert (np.diff(days) >= 0).all()
    age = times // DAY_MS - days
    assert age.min() == 0
    assert age.max() == PERIOD_DAYS[period] - 1
    assert first_days(days * DAY_MS, period).tolist() == days.tolist()


@pytest.mark.parametrize("period", ["day", "week", "month"])
def test_an_index_is_deleted_only_when_everything_in_it_would_be_expired(period: Period) -> None:
    keep_days, today = 30, 20_000
    kept = np.arange(today - keep_days, today + 1, dtype=np.int64)
    oldest_index = first_days(kept * DAY_MS, period).min()
    assert today - oldest_index < delete_after_days(period, keep_days)


def test_the_patterns_of_the_families_match_their_own_indices_only() -> None:
    names = Names("llm-access")
    indices: dict[Family, str] = {
        family: names.concrete(family, 20_000) for family in ("requests", "servers", "alerts")
    }
    assert indices["servers"] == "llm-access-servers-2024.10.04"
    for family, index in indices.items():
        matching = [other for other in indices if fnmatch.fnmatch(index, names.pattern(other))]
        assert matching == [family]
    assert not fnmatch.fnmatch(Names("llm").concrete("requests", 20_000), names.pattern("requests"))
    assert not fnmatch.fnmatch(names.concrete("requests", 20_000), Names("llm").pattern("requests"))


def test_the_mapping_is_explicit_and_a_malformed_number_is_an_error() -> None:
    found = mapping(REQUEST_FIELDS)
    assert found["dynamic"] is False
    properties = found["properties"]
    assert properties["event"]["properties"]["duration"] == {"type": "long", "ignore_malformed": False}
    assert properties["event"]["properties"]["outcome"]["type"] == "keyword"
    assert properties["@timestamp"]["type"] == "date"
    assert properties["llm"]["properties"]["extra"] == {"type": "object", "enabled": False}
    engines = mapping(SERVER_FIELDS)["properties"]["llm"]["properties"]["engines"]
    assert engines["properties"]["kv_cache_usage"]["type"] == "double"


def test_a_changed_mapping_has_a_new_version() -> None:
    text = json.dumps([mapping(fields) for fields in (REQUEST_FIELDS, SERVER_FIELDS, ALERT_FIELDS)], sort_keys=True)
    digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    assert (TEMPLATE_VERSION, digest) == (1, "4481881a2d65f3db"), "a changed mapping needs another TEMPLATE_VERSION"
