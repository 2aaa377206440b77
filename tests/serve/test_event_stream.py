"""An event stream gives the same facts however it is cut, in bounded memory, and ordinary chunks are not parsed."""

from __future__ import annotations

import json
import tracemalloc
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve import clip, event_stream
from serve.answer import Answer
from serve.event_stream import EventStream

RECORDINGS = Path(__file__).parents[1] / "fixtures" / "vllm-0.32" / "recordings.jsonl"


def _stream_of(recording: dict[str, Any]) -> bytes:
    sent = [step["send"] for step in recording["messages"] if "send" in step]
    return "".join(message.get("body", "") for message in sent).encode()


def _recorded_streams() -> dict[str, bytes]:
    streams = {}
    for line in RECORDINGS.read_text("utf-8").splitlines():
        recording = json.loads(line)
        starts = [step["send"]["headers"] for step in recording["messages"] if "status" in step.get("send", {})]
        if any("event-stream" in value for headers in starts for _, value in headers):
            streams[recording["case"]] = _stream_of(recording)
    return streams


STREAMS = _recorded_streams()
TIMES = {"first_content_at", "last_content_at", "longest_gap"}


def _read(pieces: list[bytes]) -> Answer:
    answer = Answer()
    stream = EventStream(answer)
    for at, piece in enumerate(pieces):
        stream.feed([piece], [float(at)])
    stream.close()
    return answer


def _facts(answer: Answer) -> dict[str, Any]:
    return {name: getattr(answer, name) for name in answer.__struct_fields__ if name not in TIMES}


def _events(stream: bytes) -> list[bytes]:
    return [event + b"\n\n" for event in stream.split(b"\n\n") if event]


def _cut(stream: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    return [stream[start:end] for start, end in pairwise(edges)]


def _chunk(content: str, **more: Any) -> bytes:
    choice = {"index": 0, "delta": {"content": content}, "logprobs": None, "finish_reason": None, "token_ids": None}
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "tiny", "choices": [choice], **more}
    return b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"


def test_there_are_streams_to_read() -> None:
    assert len(STREAMS) > 30


@pytest.mark.parametrize("case", STREAMS)
@given(cuts=st.lists(st.integers(0, 1 << 20), max_size=40))
def test_any_chunking_gives_the_same_facts(case: str, cuts: list[int]) -> None:
    stream = STREAMS[case]
    assert _facts(_read(_cut(stream, cuts))) == _facts(_read([stream]))


@pytest.mark.parametrize("case", STREAMS)
def test_any_line_end_comments_and_split_data_give_the_same_facts(case: str) -> None:
    stream = STREAMS[case]
    facts = _facts(_read(_events(stream)))
    assert _facts(_read([stream[at : at + 1] for at in range(len(stream[:20_000]))] + [stream[20_000:]])) == facts
    for end in (b"\r\n", b"\r"):
        other = stream.replace(b"\n", end)
        assert _facts(_read(_cut(other, list(range(0, len(other), 7))))) == facts
    assert _facts(_read([b": keep-alive\n\n" + event for event in _events(stream)])) == facts
    split = stream.replace(b',"model":', b',\ndata: "model":').replace(b"data: {", b"id: 7\nretry: 3\ndata:{")
    assert _facts(_read(_events(split))) == facts


@pytest.mark.parametrize("case", STREAMS)
def test_a_pattern_changes_no_fact_and_no_time(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    events = _events(STREAMS[case])
    quick = _read(events)
    monkeypatch.setattr(event_stream, "LEARN_AT_MOST", 0)
    assert _read(events) == quick


@given(
    st.lists(
        st.tuples(
            st.text(max_size=12),
            st.sampled_from(["content", "reasoning", "usage", "other", "finish"]),
        ),
        max_size=30,
    )
)
def test_a_pattern_changes_nothing_whatever_the_text_is(parts: list[tuple[str, str]]) -> None:
    pieces = []
    for number, (text, kind) in enumerate(parts):
        if kind == "content":
            pieces.append(_chunk(text))
        elif kind == "reasoning":
            pieces.append(_chunk("").replace(b'"content":""', b'"reasoning":' + json.dumps(text).encode()))
        elif kind == "usage":
            pieces.append(_chunk(text, usage={"prompt_tokens": 3, "completion_tokens": number}))
        elif kind == "other":
            pieces.append(_chunk(text) + _chunk(text + "x"))
        else:
            pieces.append(_chunk(text).replace(b'"finish_reason":null', b'"finish_reason":"stop"'))
    quick = _read(pieces)
    slow = Answer()
    stream = EventStream(slow)
    for at, piece in enumerate(pieces):
        stream._parse(piece, float(at))
    stream.close()
    assert quick == slow


class Counting(EventStream):
    """Counts the chunks that were parsed."""

    parsed = 0

    def _parse(self, body: bytes, at: float) -> None:
        self.parsed += 1
        super()._parse(body, at)


@pytest.mark.parametrize(
    ("case", "text"),
    [
        ("E.D_crash_stream", '"content":"locked"'),
        ("A.cmpl_stream_usage", '"text":" os"'),
        ("B.B_over0", '"reasoning":"locked"'),
        ("E.D_crash_messages_stream", '"text":"locked"'),
        ("E.D_crash_responses_stream", '"delta":"locked"'),
        ("C.C_tool_auto_stream", '"arguments":"it"'),
        ("C.C_responses_tool_auto_stream", '"delta":"it"'),
    ],
)
def test_of_ordinary_chunks_only_the_first_is_parsed(case: str, text: str) -> None:
    event = next(event for event in _events(STREAMS[case]) if text.encode() in event)
    stream = Counting(Answer())
    for at in range(100):
        stream.feed([event], [float(at)])
    assert stream.parsed == 1


def test_chunks_without_text_between_ordinary_ones_are_not_parsed_either() -> None:
    answer = Answer()
    stream = Counting(answer)
    for at, content in enumerate(("a", "", "b", "", "", "c")):
        stream.feed([_chunk(content)], [float(at)])
    assert stream.parsed == 1
    assert (answer.first_content_at, answer.longest_gap, answer.last_content_at) == (0.0, 3.0, 5.0)


def test_role_chunks_empty_deltas_and_comments_are_no_content() -> None:
    role = _chunk("").replace(b'"content":""', b'"role":"assistant","content":""')
    answer = _read(
        [b": keep-alive\n\n", role, _chunk(""), b": keep-alive\n\n", _chunk("\n"), _chunk(" "), _chunk("Hi")]
    )
    assert answer.first_content_at == 4.0
    assert answer.longest_gap == 1.0
    assert answer.text


def test_white_space_is_content_but_not_visible() -> None:
    answer = _read([_chunk(" "), _chunk("\n")])
    assert answer.first_content_at == 0.0
    assert not answer.text
    assert answer.understood


def test_the_longest_gap_is_between_two_contents() -> None:
    answer = Answer()
    stream = EventStream(answer)
    for at, content in ((1.0, "a"), (2.0, "b"), (2.5, ""), (6.0, "c"), (6.5, "d"), (9.0, "")):
        stream.feed([_chunk(content)], [at])
    assert (answer.first_content_at, answer.longest_gap) == (1.0, 4.0)


def test_usage_beside_content_is_the_last_one_told_even_when_the_client_leaves() -> None:
    pieces = [_chunk("a", usage={"prompt_tokens": 5, "completion_tokens": number}) for number in range(1, 50)]
    answer = _read(pieces)
    assert (answer.prompt_tokens, answer.completion_tokens) == (5, 49)


def test_escaped_quotes_do_not_spoil_the_pattern() -> None:
    answer = Answer()
    stream = Counting(answer)
    for at in range(200):
        stream.feed([_chunk('say "' if at % 10 == 0 else "word")], [float(at)])
    assert stream.parsed <= 22
    assert answer.longest_gap == 1.0


def test_two_choices_are_counted_and_the_worst_reason_stays() -> None:
    one, two = _chunk("a"), _chunk("b").replace(b'"index":0', b'"index":1')
    ends = [
        one.replace(b'"finish_reason":null', b'"finish_reason":"length"'),
        two.replace(b'"finish_reason":null', b'"finish_reason":"stop"'),
    ]
    answer = _read([one, two, *ends])
    assert (answer.n, answer.finish_reason) == (2, "length")


def test_an_event_of_any_size_costs_bounded_memory_and_still_tells_its_usage() -> None:
    head = (
        b'event: response.completed\ndata: {"response":{"id":"resp_1",'
        b'"incomplete_details":{"reason":"max_output_tokens"},"output":[{"type":"message","content":['
    )
    part = b'{"type":"output_text","text":"' + b"word " * 1000 + b'"},'
    tail = (
        b'{"text":""}]}],"status":"incomplete","usage":{"input_tokens":7,"output_tokens":9000}},'
        b'"type":"response.completed"}\n\n'
    )
    answer = Answer()
    stream = EventStream(answer)
    stream.feed([head], [0.0])
    tracemalloc.start()
    for _ in range(4000):  # 20 MB
        stream.feed([part], [1.0])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    stream.feed([tail], [2.0])
    stream.close()
    assert peak < 3 * clip.WHOLE
    assert (answer.prompt_tokens, answer.completion_tokens, answer.finish_reason) == (7, 9000, "length")


def test_a_line_without_an_end_costs_bounded_memory() -> None:
    stream = EventStream(Answer())
    tracemalloc.start()
    for _ in range(2000):
        stream.feed([b"x" * 10_000], [0.0])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_nonsense_raises_nothing(noise: bytes, cuts: list[int]) -> None:
    _read([*_cut(noise, cuts), b"data: " + noise + b"\n\n", b"data: {" + noise])


def test_an_event_cut_off_at_the_end_does_not_count() -> None:
    answer = _read([_chunk("a")[:-1]])
    assert answer.first_content_at is None
