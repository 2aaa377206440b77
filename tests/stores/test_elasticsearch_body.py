"""The body of a bulk request holds the same documents as every other form of them, two lines for each."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from logproc.ids import id_text, id_texts
from logproc.stores.documents import time_text
from logproc.stores.elasticsearch_body import body, time_texts
from logproc.stores.fields import REQUEST_FIELDS, SERVER_FIELDS
from tests.lines import NOW_MS, raw
from tests.stores.documents_of import at, flat, read

MAKES_EVERYTHING = at(
    NOW_MS,
    model='模型 \\ " \u2028',
    completion_tokens=0,
    duration_ms=90_000.25,
    outcome="stream_error",
    stream=True,
    finish_reason="length",
    user_id="a,b",
    error_type="x",
    surplus={"nested": [1, {"deep": "\\n"}], "n": 12345678901234567890},
)


def test_a_document_reads_as_its_flat_form_under_its_own_id() -> None:
    found = read(raw(at(NOW_MS), MAKES_EVERYTHING, at(NOW_MS - 5, status=499, prompt_tokens=None)))
    (documents,) = found.requests
    *lines, end = body(documents, REQUEST_FIELDS).split(b"\n")
    assert end == b""
    assert [json.loads(line) for line in lines[1::2]] == [
        json.loads(json.dumps(each, default=lambda value: json.loads(bytes(value)))) for each in flat(found)
    ]
    assert [json.loads(line) for line in lines[::2]] == [{"create": {"_id": each["event.id"]}} for each in flat(found)]


def test_a_heartbeat_keeps_its_lists() -> None:
    engines = [{"engine": 0, "running": 3, "kv_cache_usage": 0.5}]
    line = {"time": time_text(NOW_MS), "event": "heartbeat", "host": "gpu-1", "engines": engines, "gpus": []}
    (documents,) = read(raw(line)).servers
    document = json.loads(body(documents, SERVER_FIELDS).splitlines()[1])
    assert document["llm.engines"] == engines
    assert document["llm.gpus"] == []
    assert document["event.action"] == "heartbeat"


@given(st.lists(st.binary(min_size=16, max_size=16), min_size=1, max_size=5), st.integers(0, 253_402_300_799_999))
def test_many_ids_and_times_are_written_as_each_alone(ids: list[bytes], time_ms: int) -> None:
    assert id_texts(ids) == [id_text(each) for each in ids]
    assert time_texts(np.array([time_ms], np.int64)) == [time_text(time_ms)]
