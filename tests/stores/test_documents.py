"""Lines → documents: every field under its public name, unknown ones exactly as they came, ids that never change."""

from __future__ import annotations

import gzip
import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logproc.ids import id_text
from logproc.record import RequestRecord, ServerRecord, make_line_id
from logproc.settings import Thresholds
from logproc.stores.document_reader import DocumentReader
from logproc.stores.fields import REQUEST_FIELDS, SERVER_FIELDS, Field
from logproc.tailing.block import TooLong
from logproc.tailing.once import blocks
from tests.lines import NOW_MS, block, raw, request
from tests.stores.documents_of import document, flat, read

FULL = {
    "time": "2026-03-30T10:23:45.123Z",
    "id": make_line_id(1_774_866_225_123, b"0123456789"),
    "method": "POST",
    "path": "/v1/chat/completions",
    "status": 200,
    "prompt_tokens": 256,
    "completion_tokens": 128,
    "duration_ms": 4142.7,
    "outcome": "ok",
    "request_id": "req-1",
    "response_id": "chatcmpl-1",
    "trace_id": "0af7651916cd43dd8448eb211c80319c",
    "model": "qwen3",
    "operation": "chat",
    "stream": True,
    "finish_reason": "stop",
    "ttft_ms": 81.5,
    "stall_max_ms": 12.25,
    "queue_ms": 1.001,
    "prefill_ms": 70.0,
    "decode_ms": 4060.0,
    "tpot_ms": 31.9,
    "cached_tokens": 64,
    "reasoning_tokens": 3,
    "preemptions": 0,
    "n": 1,
    "tool_calls": 2,
    "max_tokens": 512,
    "corrupted": False,
    "error_type": "BadRequestError",
    "error_code": 400,
    "error_param": "n",
    "client": "10.0.0.7",
    "user_id": "ann",
    "api_key_id": "0123456789ab",
    "user_agent": "openai/2.1",
    "host": "gpu-1",
    "pid": 4242,
    "service": "chat-prod",
}


def test_a_full_line_is_found_under_the_public_names_with_durations_in_ns() -> None:
    (found,) = flat(read(raw(FULL)))
    assert found == {
        "event.id": FULL["id"],
        "@timestamp": "2026-03-30T10:23:45.123Z",
        "event.duration": 4_142_700_000,
        "event.outcome": "success",
        "http.response.status_code": 200,
        "http.request.method": "POST",
        "url.path": "/v1/chat/completions",
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "qwen3",
        "gen_ai.request.max_tokens": 512,
        "gen_ai.usage.input_tokens": 256,
        "gen_ai.usage.output_tokens": 128,
        "gen_ai.response.finish_reasons": ["stop"],
        "llm.outcome": "ok",
        "llm.flags": ["slow"],
        "llm.request_id": "req-1",
        "llm.response_id": "chatcmpl-1",
        "llm.api_key_id": "0123456789ab",
        "llm.stream": True,
        "llm.ttft": 81_500_000,
        "llm.stall_max": 12_250_000,
        "llm.queue_time": 1_001_000,
        "llm.prefill_time": 70_000_000,
        "llm.decode_time": 4_060_000_000,
        "llm.tpot": 31_900_000,
        "llm.cached_tokens": 64,
        "llm.reasoning_tokens": 3,
        "llm.preemptions": 0,
        "llm.n": 1,
        "llm.tool_calls": 2,
        "llm.corrupted": False,
        "llm.error_code": 400,
        "llm.error_param": "n",
        "error.type": "BadRequestError",
        "trace.id": "0af7651916cd43dd8448eb211c80319c",
        "source.address": "10.0.0.7",
        "user.id": "ann",
        "user_agent.original": "openai/2.1",
        "host.name": "gpu-1",
        "process.pid": 4242,
        "service.name": "chat-prod",
        "log.file.path": "access.jsonl",
        "log.offset": 0,
    }


def test_no_field_of_the_contract_is_missing_from_the_documents() -> None:
    made_otherwise = {"time", "event", "outcome", "operation"}
    assert {field.source for field in REQUEST_FIELDS if field.source} | made_otherwise == set(
        RequestRecord.__struct_fields__
    )
    made_otherwise = {"time", "startup_s", "engines", "gpus"}
    assert {field.source for field in SERVER_FIELDS if field.source} | made_otherwise == set(
        ServerRecord.__struct_fields__
    )


@pytest.mark.parametrize("fields", [REQUEST_FIELDS, SERVER_FIELDS])
def test_names_and_columns_of_a_field_list_are_unique(fields: tuple[Field, ...]) -> None:
    assert len({field.name for field in fields}) == len({field.column for field in fields}) == len(fields)


def test_what_is_unknown_is_not_in_the_document() -> None:
    found = document(prompt_tokens=None, completion_tokens=None)
    assert "gen_ai.usage.input_tokens" not in found
    assert "gen_ai.usage.output_tokens" not in found
    assert "gen_ai.request.model" not in found
    assert "llm.extra" not in found


def test_a_line_that_does_not_say_its_outcome_operation_or_service_gets_them() -> None:
    found = document(completion_tokens=0)
    assert (found["llm.outcome"], found["event.outcome"]) == ("empty", "unknown")
    assert found["gen_ai.operation.name"] == "chat"
    assert found["service.name"] == "vllm"
    assert document(status=499)["llm.outcome"] == "client_disconnect"
    assert "gen_ai.operation.name" not in document(path="/elsewhere")


def test_unknown_fields_are_kept_exactly_as_they_came() -> None:
    line = raw(request())[:-2] + (
        b', "gpu":  {"a": [1, 2.50, 1e999, 123456789012345678901234567890]}, "\xc3\xa9": "\\u00e9", "id": 1e999}\n'
    )
    (found,) = flat(read(line))
    assert bytes(found["llm.extra"]) == (
        '{"gpu":{"a": [1, 2.50, 1e999, 123456789012345678901234567890]},"é":"\\u00e9","id":1e999}'.encode()
    )


def test_an_id_of_anothers_making_is_an_unknown_field_and_one_of_ours_is_not() -> None:
    foreign, ours = document(id="request-17"), document(id=FULL["id"], weather="fine")
    assert bytes(foreign["llm.extra"]) == b'{"id":"request-17"}'
    assert foreign["event.id"] != "request-17"
    assert bytes(ours["llm.extra"]) == b'{"weather":"fine"}'
    assert ours["event.id"] == FULL["id"]


def test_an_integer_beyond_64_bits_is_kept_as_an_unknown_field() -> None:
    found = document(pid=10**30, error_code=-(10**20))
    assert "process.pid" not in found
    assert "llm.error_code" not in found
    assert json.loads(bytes(found["llm.extra"])) == {"pid": 10**30, "error_code": -(10**20)}


LINES = [
    raw(request(client="a")),
    raw(request(client="b", colour="red")),
    b"{not json}\n",
    raw(request(client="ü", time="2026-03-30T10:23:45+02:00")),
    b"\n",
    raw(request(client="c", prompt_tokens=-1)),
    raw(request(client="d"))[:-1] + b"\r\n",
    b'{"time":"2026-03-30T10:23:45.123Z","event":"heartbeat","host":"gpu-1","in_flight":3}\n',
    raw(FULL),
    b'{"time":"2026-03-30T10:23:45.123Z","event":"something_new"}\n',
    raw(request(client="e", note="\xff"))[:-1] + b"\n",
    b'{"bad": "\xff"}\n',
    raw(request(client="f", **{"x" * 3000: "y" * 3000})),
]


@settings(deadline=None)
@given(st.permutations(range(len(LINES))), st.lists(st.integers(1, len(LINES) - 1), max_size=4))
def test_the_same_lines_give_the_same_documents_however_they_are_cut_into_blocks(
    order: list[int], cuts: list[int]
) -> None:
    lines = [LINES[place] for place in order]
    whole = read(b"".join(lines))
    edges = [0, *sorted(set(cuts)), len(lines)]
    pieces, start = [], 0
    for first, last in itertools.pairwise(edges):
        data = b"".join(lines[first:last])
        pieces.append(read(block(data, start)))
        start += len(data)
    assert [each for piece in pieces for each in flat(piece)] == flat(whole)
    assert sum(piece.good_lines for piece in pieces) == whole.good_lines == 9
    assert sum(piece.rejected_lines for piece in pieces) == whole.rejected_lines == 3
    assert sum(len(part) for piece in pieces for part in piece.servers) == 1


def test_one_bad_line_among_many_costs_only_itself() -> None:
    lines = [raw(request(client=f"{i}")) for i in range(500)]
    lines[250] = b"oops\n"
    found = read(b"".join(lines))
    assert [each["source.address"] for each in flat(found)] == [f"{i}" for i in range(500) if i != 250]
    assert (found.good_lines, found.rejected_lines) == (499, 1)


def test_a_line_that_was_too_long_is_rejected_and_the_offsets_after_it_are_right() -> None:
    first, second = raw(request(client="a")), raw(request(client="b"))
    whole = block(first + second)
    skipped = TooLong(offset=len(first), length=2_000_000, head=b"{")
    end = len(first) + 2_000_001 + len(second)
    found = read(type(whole)(whole.source, whole.first_line, 0, end, whole.data, (skipped,)))
    assert [each["log.offset"] for each in flat(found)] == [0, len(first) + 2_000_001]
    assert found.rejected_lines == 1


def test_renamed_packed_and_copied_files_give_the_same_ids(tmp_path: Path) -> None:
    log = tmp_path / "access.jsonl"
    log.write_bytes(b"".join(raw(request(client=f"{i}", id=i)) for i in range(300)))
    before = _ids(log)
    shutil.copy(log, tmp_path / "copy")
    with gzip.open(tmp_path / "access.jsonl.1.gz", "wb") as packed:
        packed.write(log.read_bytes())
    log.rename(tmp_path / "access.jsonl.1")
    assert len(set(before)) == 300
    assert (
        before == _ids(tmp_path / "access.jsonl.1") == _ids(tmp_path / "access.jsonl.1.gz") == _ids(tmp_path / "copy")
    )
    assert before == _ids(tmp_path / "copy", size=1000)


def test_the_same_line_in_another_file_or_at_another_place_has_another_id(tmp_path: Path) -> None:
    line = raw(request())
    for name, first in (("a", b'{"first":1}\n'), ("b", b'{"first":2}\n')):
        (tmp_path / name).write_bytes(first + line + line)
    ids = _ids(tmp_path / "a") + _ids(tmp_path / "b")
    assert len(set(ids)) == len(ids) == 4


def _ids(path: Path, **options: Any) -> list[str]:
    return [each["event.id"] for part in blocks(str(path), **options) for each in flat(read(part))]


def test_heartbeats_are_documents_of_their_own() -> None:
    line = {
        "time": "2026-03-30T10:23:45.123Z",
        "event": "heartbeat",
        "host": "gpu-1",
        "pid": 7,
        "in_flight": 3,
        "oldest_in_flight_ms": 1500.5,
        "lines_lost": 0,
        "engines": [{"engine": 0, "running": 2, "waiting": 0, "kv_cache_usage": 0.5}],
        "gpus": [],
        "mood": "good",
    }
    started = {"time": "2026-03-30T10:00:00Z", "event": "server_started", "version": "0.32", "startup_s": 42.5}
    data = raw(line, request(), started)
    found = read(data)
    assert len(flat(found)) == 1
    beat, start = found.servers[0].flat(SERVER_FIELDS)
    assert json.loads(bytes(beat.pop("llm.engines"))) == line["engines"]
    assert bytes(beat.pop("llm.gpus")) == b"[]"
    assert bytes(beat.pop("llm.extra")) == b'{"mood":"good"}'
    assert len(beat.pop("event.id")) == 22
    assert beat == {
        "@timestamp": "2026-03-30T10:23:45.123Z",
        "event.action": "heartbeat",
        "host.name": "gpu-1",
        "process.pid": 7,
        "service.name": "vllm",
        "llm.in_flight": 3,
        "llm.oldest_in_flight": 1_500_500_000,
        "llm.lines_lost": 0,
        "log.file.path": "access.jsonl",
        "log.offset": 0,
    }
    assert start["llm.startup"] == 42_500_000_000
    assert start["log.offset"] == data.index(raw(started))


@settings(deadline=None)
@given(
    st.dictionaries(
        st.text(max_size=5).map(lambda name: f"x{name}"),
        st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=4),
        max_size=3,
    ),
    st.text(max_size=20),
)
def test_any_text_and_any_unknown_field_comes_through(extra: dict[str, object], client: str) -> None:
    found = document(client=client, **extra)
    assert found["source.address"] == client
    assert msgspec.json.decode(found["llm.extra"]) == extra if extra else "llm.extra" not in found


def test_ids_in_documents_are_the_text_of_their_bytes() -> None:
    found = read(raw(request()))
    assert flat(found)[0]["event.id"] == id_text(found.requests[0].ids[0])


_GOOD = raw(request())


@pytest.mark.parametrize(
    "line",
    [
        _GOOD[:-2] + b',"id":"\xff"}\n',
        _GOOD[:-2] + b',"x":' + b"[" * 5000 + b"]" * 5000 + b"}\n",
        _GOOD[:-2] + b',"id":' + b"[" * 5000 + b"]" * 5000 + b"}\n",
    ],
    ids=["an id that is no UTF-8", "a deep unknown field", "a deep id"],
)
def test_a_line_that_measure_rejects_is_no_document_and_stops_nothing(line: bytes) -> None:
    found = DocumentReader("vllm", Thresholds()).read(block(_GOOD + line + _GOOD), NOW_MS)

    assert (found.good_lines, found.rejected_lines) == (2, 1)


ODD_LINES = st.lists(
    st.builds(
        lambda fields, more: request(**fields, **more),
        fields=st.fixed_dictionaries(
            {},
            optional={
                "id": st.sampled_from([FULL["id"], 5, None, "x", {"a": 1}]),
                "model": st.sampled_from(["a", "b", None]),
                "stream": st.booleans(),
                "ttft_ms": st.sampled_from([1.5, 0.0004, None]),
                "tpot_ms": st.sampled_from([12.25, None]),
                "prompt_tokens": st.sampled_from([None, 3]),
                "pid": st.sampled_from([1, 2**80, None]),
                "service": st.sampled_from(["own", None]),
                "client": st.sampled_from(["ü", "10.0.0.1"]),
            },
        ),
        more=st.dictionaries(st.sampled_from(["odd", "weather", "ids"]), st.sampled_from([1, None, [1, {"a": "ä"}]])),
    ).map(raw)
    | st.sampled_from([b'{"time":"2026-03-31T10:00:00Z","event":"heartbeat","in_flight":3,"gpus":[],"mood":1}\n']),
    min_size=1,
    max_size=12,
)


@settings(max_examples=200, deadline=None)
@given(ODD_LINES)
def test_a_reader_that_knows_the_fields_makes_the_same_documents_as_one_that_sees_them_first(
    lines: list[bytes],
) -> None:
    data = b"".join(lines)
    reader = DocumentReader("vllm", Thresholds())
    first, *others = (reader.read(block(data), NOW_MS) for _ in range(3))
    for other in others:
        assert flat(other) == flat(first)
        assert [part.flat(SERVER_FIELDS) for part in other.servers] == [
            part.flat(SERVER_FIELDS) for part in first.servers
        ]
        assert (other.good_lines, other.rejected_lines) == (first.good_lines, first.rejected_lines)
