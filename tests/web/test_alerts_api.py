"""Alerts over HTTP: which there are, one with its life, who sees to it, what is not told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from logproc import settings
from logproc.notify import subjects
from logproc.notify.deliveries import Deliveries
from logproc.stores.documents import time_text
from logproc.web.alerts_api import LONGEST_BODY, alerts_routes
from tests.notify.alerts import NOW_MS, Record, alert
from tests.web.serving import serving


class Api:
    """The pages over a record of alerts."""

    def __init__(self, folder: Path) -> None:
        self.record = Record(folder)
        self.deliveries = Deliveries(folder / "notify.db", settings.Alerts(), {})
        self.changes = 0
        self._serving = serving(alerts_routes(self.record.path, self.deliveries, lambda: NOW_MS, self._changed))
        self.client = httpx.Client(base_url=self._serving.__enter__().address)

    def _changed(self) -> None:
        self.changes += 1

    def close(self) -> None:
        self.client.close()
        self._serving.__exit__(None, None, None)
        self.deliveries.close()
        self.record.close()

    def planned(self, *entries: Any) -> None:
        """`notify` knows of these."""
        with self.deliveries.writing() as connection:
            for each in entries:
                subjects.put(connection, each, NOW_MS)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    made = Api(tmp_path)
    yield made
    made.close()


def test_one_alert_is_told_with_its_whole_life(api: Api) -> None:
    first = alert(1, at_ms=NOW_MS - 50_000, state="pending")
    second = alert(1, at_ms=NOW_MS - 40_000, severity="critical", cause="queue", value=7.5)
    last = alert(1, at_ms=NOW_MS - 1000, state="resolved", until=time_text(NOW_MS - 2000))
    api.record.add(first, alert(2), second, last)

    found = api.client.get(f"/api/v1/alerts/{first.id}").json()

    (item,) = (each for each in api.client.get("/api/v1/alerts").json()["items"] if each["id"] == first.id)
    assert found["alert"] == item
    assert [(each["state"], each["severity"], each["cause"]) for each in found["entries"]] == [
        ("pending", "warning", None),
        ("firing", "critical", "queue"),
        ("resolved", "warning", None),
    ]
    assert found["entries"][1].keys() == {"time", "state", "severity", "value", "n", "cause", "text"}


def test_an_alert_that_never_was_is_404(api: Api) -> None:
    for name in ("0123456789abcdef", "x", "%27%20OR%201=1--", "..%2f..%2fetc%2fpasswd"):
        assert api.client.get(f"/api/v1/alerts/{name}").status_code == 404


def test_alerts_are_found_by_kind_model_state_and_time_and_page_by_page(api: Api) -> None:
    api.record.add(*(alert(number, kind="ttft" if number % 2 else "errors") for number in range(6)))
    api.record.add(alert(0, state="resolved", kind="errors", until=time_text(NOW_MS)))

    def models(**asked: Any) -> list[str]:
        answer = api.client.get("/api/v1/alerts", params=asked)
        assert answer.status_code == 200, answer.text
        return [each["model"] for each in answer.json()["items"]]

    assert models() == ["m0", "m5", "m4", "m3", "m2", "m1"]
    assert models(kind="ttft") == ["m5", "m3", "m1"]
    assert models(model=["m1", "m4"]) == ["m4", "m1"]
    assert models(state="resolved") == ["m0"]
    assert models(to="1h") == []
    page = api.client.get("/api/v1/alerts", params={"limit": 4}).json()
    assert models(limit=4, cursor=page["next"]) == ["m2", "m1"]


def test_who_sees_to_an_alert_is_noted_and_told(api: Api) -> None:
    entry = alert(1)
    api.record.add(entry)
    api.planned(entry)

    answer = api.client.post(f"/api/v1/alerts/{entry.id}/ack", json={"by": "Ann"})

    assert answer.status_code == 200
    assert api.client.get(f"/api/v1/alerts/{entry.id}").json()["alert"]["acknowledged"]["by"] == "Ann"
    assert api.client.post("/api/v1/alerts/none/ack", json={"by": "Ann"}).status_code == 404


def test_a_silence_begins_is_listed_and_ends(api: Api) -> None:
    made = api.client.post("/api/v1/silences", json={"kind": "ttft", "model": "m", "for": "2h", "by": "Ann"})
    assert made.status_code == 201
    assert api.client.get("/api/v1/silences").json()["items"] == [made.json()]
    assert made.json()["until"] == time_text(NOW_MS + 7_200_000)
    path = f"/api/v1/silences/{made.json()['id']}"
    assert (api.client.delete(path).status_code, api.client.delete(path).status_code) == (204, 404)
    assert api.client.get("/api/v1/silences").json()["items"] == []
    assert api.changes > 0


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "no_such", "for": "2h"},
        {"kind": "ttft"},
        {"kind": "ttft", "for": "2h", "until": "2030-01-01"},
        {"kind": "ttft", "for": "60d"},
        {"kind": "ttft", "for": "-1h"},
        {"kind": "ttft", "until": "2001-01-01"},
        {"kind": "ttft", "for": "2h", "comment": "x" * 501},
        {"kind": "ttft", "for": "2h", "by": ["Ann"]},
        {"kind": "ttft", "for": "2h", "other": 1},
        {"kind": None, "for": "2h"},
        [],
        "ttft",
    ],
)
def test_a_silence_that_cannot_be_understood_is_400_with_the_reason(api: Api, body: Any) -> None:
    answer = api.client.post("/api/v1/silences", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert api.client.get("/api/v1/silences").json()["items"] == []


@pytest.mark.parametrize(
    ("content", "media_type", "status"),
    [
        (b'{"kind": "ttft", "for": "2h"}', "text/plain", 415),  # what a form of a foreign page could send
        (b"kind=ttft&for=2h", "application/x-www-form-urlencoded", 415),
        (b"{", "application/json", 400),
        (b"[" * 10_000, "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b'"' + b"x" * LONGEST_BODY + b'"', "application/json", 413),
    ],
)
def test_a_body_that_is_none_of_ours_is_refused(api: Api, content: bytes, media_type: str, status: int) -> None:
    answer = api.client.post("/api/v1/silences", content=content, headers={"Content-Type": media_type})
    assert answer.status_code == status


@pytest.mark.parametrize(
    "asked", ["kind=x", "state=x", "from=never", "limit=0", "limit=501", "limit=x", "cursor=x", "x=1"]
)
def test_a_question_that_cannot_be_understood_is_400(api: Api, asked: str) -> None:
    answer = api.client.get(f"/api/v1/alerts?{asked}")
    assert answer.status_code == 400
    assert answer.json()["parameter"] == asked.partition("=")[0]
