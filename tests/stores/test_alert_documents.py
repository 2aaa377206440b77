"""The document of an alert says all that the alert says, under public names, with the same id at every writing."""

from __future__ import annotations

import json
from datetime import datetime

import msgspec

from logproc.alerts.alert import Alert, entry_id
from logproc.record import line_id_bytes
from logproc.stores.alert_documents import alert_document
from logproc.stores.fields import ALERT_FIELDS

ALERT = Alert(
    id="0123456789abcdef",
    kind="latency_p99",
    severity="warning",
    state="firing",
    time="2026-11-21T14:02:05.000Z",
    since="2026-11-21T14:01:00.000Z",
    model="tiny",
    value=4.1,
    bound=3.0,
    n=812,
    cause="queue",
    shares={"queue": 0.8, "prefill": 0.2},
    facts={"clients": ["10.0.0.7"]},
    examples=["AaH9xHl95yrCw5drt8_aGA", "AaH9xHmhUKtIQbIB9rKUfw"],
    text={"en": "P99 is 4.1 s.", "zh": "P99 为 4.1 秒。"},
)


def test_a_document_says_what_the_alert_says_and_leaves_out_what_it_does_not_know() -> None:
    document = alert_document(ALERT, "vllm")

    assert document == {
        "event.id": entry_id(ALERT),
        "@timestamp": "2026-11-21T14:02:05.000Z",
        "event.kind": "alert",
        "service.name": "vllm",
        "llm.alert.id": "0123456789abcdef",
        "llm.alert.kind": "latency_p99",
        "llm.alert.severity": "warning",
        "llm.alert.state": "firing",
        "llm.alert.since": "2026-11-21T14:01:00.000Z",
        "gen_ai.request.model": "tiny",
        "llm.alert.value": 4.1,
        "llm.alert.bound": 3.0,
        "llm.alert.n": 812,
        "llm.alert.cause": "queue",
        "llm.alert.shares": {"queue": 0.8, "prefill": 0.2},
        "llm.alert.facts": {"clients": ["10.0.0.7"]},
        "llm.alert.examples": ["AaH9xHl95yrCw5drt8_aGA", "AaH9xHmhUKtIQbIB9rKUfw"],
        "llm.alert.behind": False,
        "message": "P99 is 4.1 s.",
        "llm.alert.message_zh": "P99 为 4.1 秒。",
    }
    assert json.loads(json.dumps(document)) == document


def test_every_change_of_an_alert_is_a_document_of_its_own_and_every_writing_of_it_the_same() -> None:
    again = msgspec.json.decode(msgspec.json.encode(ALERT), type=Alert)
    resolved = msgspec.structs.replace(ALERT, state="resolved", time="2026-11-21T14:09:00.000Z")

    assert alert_document(again, "vllm") == alert_document(ALERT, "vllm")
    assert alert_document(resolved, "vllm")["event.id"] != alert_document(ALERT, "vllm")["event.id"]


def test_the_id_begins_with_the_time_of_the_change_as_every_id_does() -> None:
    document = alert_document(ALERT, "vllm")

    milliseconds = int(datetime.fromisoformat(ALERT.time).timestamp() * 1000)
    own = line_id_bytes(document["event.id"], milliseconds)
    assert own is not None
    assert own[:6] == milliseconds.to_bytes(6, "big")


def test_no_field_of_an_alert_is_missing_among_the_fields_of_its_document() -> None:
    assert {each.source for each in ALERT_FIELDS if each.source} | {"text"} == set(Alert.__struct_fields__)
