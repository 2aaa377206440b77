"""The same questions to a real Elasticsearch and to SQLite, over the same log: the same documents and the same sums."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from logproc.record import DAY_MS
from logproc.settings import Settings
from logproc.stores import elasticsearch_archive, elasticsearch_servers
from logproc.stores.archive import Position, Question
from logproc.stores.archives import open_archive
from logproc.stores.elasticsearch_archive import ElasticsearchArchive
from logproc.stores.elasticsearch_names import mapping
from logproc.stores.fields import REQUEST_FIELDS, SERVER_FIELDS
from logproc.stores.rollup import MINUTE_MS
from logproc.stores.sqlite_archive import SqliteArchive
from logproc.stores.store import StoreUnavailableError
from tests.lines import NOW_MS, raw
from tests.services.elasticsearch import call
from tests.stores.documents_of import at, read, store_in
from tests.stores.test_servers import SERVER_LINES, SERVER_TIMES, beat, gpu
from tests.test_query import LINES, NAMES, ask, several

pytestmark = [pytest.mark.service, pytest.mark.timeout(300)]
_numbers = itertools.count()
_FIELD_OF = {field.column: field.name for field in REQUEST_FIELDS}


def archive_at(url: str, index: str) -> ElasticsearchArchive:
    given_settings = Settings.model_validate(
        {"logs": {"paths": ["-"]}, "store": {"kind": "elasticsearch", "urls": [url], "index": index}}
    )
    archive = open_archive(given_settings)
    assert isinstance(archive, ElasticsearchArchive)
    return archive


class Both:
    """The same documents in both stores; in Elasticsearch in an index for each day, behind the alias."""

    def __init__(self, url: str, folder: Path) -> None:
        self._url = url
        self._index = f"both-{next(_numbers)}"
        self._folder = folder
        self.sqlite = SqliteArchive(folder)
        self.elasticsearch = archive_at(url, self._index)

    def add(self, *lines: dict[str, Any]) -> None:
        found = read(raw(*lines))
        store = store_in(self._folder, keep_days=100)
        store.write(found.requests, found.servers)
        store.close()
        actions = b""
        for alias, fields, parts in (
            (self._index, REQUEST_FIELDS, found.requests),
            (f"{self._index}-servers", SERVER_FIELDS, found.servers),
        ):
            for document in itertools.chain.from_iterable(part.flat(fields) for part in parts):
                day = document["@timestamp"][:10].replace("-", ".")
                action = {"create": {"_index": f"{alias}-{day}", "_id": document["event.id"]}}
                actions += msgspec.json.encode(action) + b"\n" + msgspec.json.encode(document) + b"\n"
            template = {
                "index_patterns": [f"{alias}-2*"],
                "template": {
                    "aliases": {alias: {}},
                    "mappings": mapping(fields),
                    "settings": {"index": {"number_of_replicas": 0}},
                },
            }
            assert call(self._url, "PUT", f"/_index_template/{alias}", template)["acknowledged"]
        if actions:
            call(self._url, "POST", "/_bulk?refresh=true", actions)

    def gone(self) -> None:
        for alias in (self._index, f"{self._index}-servers"):
            call(self._url, "DELETE", f"/{alias}-2*")
            call(self._url, "DELETE", f"/_index_template/{alias}")


@pytest.fixture
def both(elasticsearch: str, tmp_path: Path) -> Iterator[Both]:
    made = Both(elasticsearch, tmp_path)
    yield made
    made.gone()


def ordered(found: list[Any]) -> list[dict[str, Any]]:
    return sorted((each.document for each in found), key=lambda each: (each["@timestamp"], each["event.id"]))


TIMES = st.one_of(st.none(), st.integers(NOW_MS - 3 * DAY_MS, NOW_MS))
QUESTIONS = st.builds(
    Question,
    since_ms=TIMES,
    until_ms=TIMES,
    outcomes=several(st.sampled_from(["ok", "truncated", "client_disconnect", "rejected", "empty"])).map(tuple),
    flags=several(st.sampled_from(["slow", "truncated", "empty_completion", "stall"])).map(tuple),
    models=several(NAMES.filter(bool)).map(tuple),
    clients=several(NAMES.filter(bool)).map(tuple),
    users=several(NAMES.filter(bool)).map(tuple),
    ids=several(NAMES.filter(bool)).map(tuple),
    slower_than_ns=st.sampled_from([None, 3_000_000_000, 2_999_000_000]),
)


@settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # to make an example smaller takes minutes here
)
@given(lines=LINES, questions=st.lists(QUESTIONS, min_size=5, max_size=20))
def test_every_question_has_the_same_answer_in_both_stores(
    elasticsearch: str,
    tmp_path_factory: pytest.TempPathFactory,
    lines: list[dict[str, Any]],
    questions: list[Question],
) -> None:
    both = Both(elasticsearch, tmp_path_factory.mktemp("both"))
    both.add(*lines)
    try:
        for question in [Question(), *questions]:
            answers(both, question)
    finally:
        both.gone()


def answers(both: Both, question: Question) -> None:
    ours, theirs = (list(archive.find(question)) for archive in (both.sqlite, both.elasticsearch))
    assert ordered(theirs) == ordered(ours)
    assert [each.position.time_ms for each in theirs] == [each.position.time_ms for each in ours]
    assert [list(each) for each in ordered(theirs)] == [list(each) for each in ordered(ours)]
    slowest, theirs = (list(archive.slowest(question, limit=5)) for archive in (both.sqlite, both.elasticsearch))
    assert [each.document["event.duration"] for each in theirs] == [each.document["event.duration"] for each in slowest]
    by_event_id = Question(ids=tuple(each.document["event.id"] for each in ours[:2]))
    if ours:
        assert ordered(list(both.elasticsearch.find(by_event_id))) == ordered(list(both.sqlite.find(by_event_id)))
    for by in (None, "model", "client", "user_id", "api_key_id", "outcome"):
        exact, near = (archive.summarize(question, by) for archive in (both.sqlite, both.elasticsearch))
        assert [facts(group) for group in near.groups] == [facts(group) for group in exact.groups]
        assert (near.total and facts(near.total)) == (exact.total and facts(exact.total))
        for group in near.groups:
            field = by and _FIELD_OF[by]
            members = [each.document for each in ours if field is None or each.document.get(field) == group.key]
            durations = [each["event.duration"] for each in members if "event.duration" in each]
            assert is_one_of_rank((group.p50_ns, group.p95_ns, group.p99_ns), durations, rel=0.0101)
    for step_ms, by_model in ((MINUTE_MS, True), (DAY_MS, False)):
        whole = Question(**{name: getattr(question, name) for name in ("outcomes", "clients", "models")})
        counted = list(both.sqlite.find(whole))
        heat, other_heat = (archive.heat(whole, "duration", step_ms) for archive in (both.sqlite, both.elasticsearch))
        assert sum(other_heat.counts.values()) == sum(heat.counts.values())
        assert {time for time, _ in other_heat.counts} == {time for time, _ in heat.counts}
        mine, others = (
            archive.series(whole, step_ms, by_model=by_model) for archive in (both.sqlite, both.elasticsearch)
        )
        assert len(mine.steps) == len(others.steps)
        for step, other in zip(mine.steps, others.steps, strict=True):
            for name in (
                "time_ms",
                "model",
                "requests",
                "outcomes",
                "prompt_tokens",
                "completion_tokens",
                "queue_ms",
                "timed_ms",
            ):
                assert getattr(other, name) == getattr(step, name)
            inside = [each.document for each in counted if each.position.time_ms // step_ms * step_ms == step.time_ms]
            members = [each for each in inside if not by_model or each.get(_FIELD_OF["model"]) == step.model]
            durations = [each["event.duration"] / 1e6 for each in members if "event.duration" in each]
            for found in (step.duration_ms, other.duration_ms):
                assert (found is None) == (not durations)
                assert found is None or is_one_of_rank(found, durations, rel=0.0101)
    assert both.elasticsearch.extent() == both.sqlite.extent()


def is_one_of_rank(percentiles: Sequence[float], values: Sequence[float], rel: float) -> bool:
    """Whether P50, P95 and P99 are near the value of their rank: rounded up, or, as Elasticsearch does, to the next.

    Of twelve requests P95 is the slowest (SQLite), or the last but one (Elasticsearch).
    """
    values = sorted(values)
    for percent, found in zip((50, 95, 99), percentiles, strict=True):
        ranks = {-(-percent * len(values) // 100), max(1, (percent * len(values) + 50) // 100)}
        if not any(found == pytest.approx(values[rank - 1], rel=rel, abs=0.001) for rank in ranks):
            return False
    return True


def test_of_few_requests_a_percentile_may_be_that_of_the_neighbour_in_rank(both: Both) -> None:
    both.add(*(at(NOW_MS, request_id=str(place), duration_ms=1000 * place) for place in range(1, 13)))
    exact, near = (archive.summarize(Question(), None).total for archive in (both.sqlite, both.elasticsearch))
    assert exact is not None
    assert near is not None
    assert (exact.p50_ns, exact.p95_ns, exact.p99_ns) == (6 * 10**9, 12 * 10**9, 12 * 10**9)
    assert [round(each / 1e9) for each in (near.p50_ns, near.p95_ns, near.p99_ns)] == [6, 11, 12]


def facts(group: Any) -> tuple[Any, ...]:
    tokens = group.prompt_tokens, group.completion_tokens
    return group.key, group.requests, dict(group.outcomes), tokens, dict(group.by_model), group.ttft_ms is None


def test_what_is_read_back_is_the_document_as_sqlite_gives_it_however_odd(both: Both) -> None:
    both.add(
        at(NOW_MS, client="\x1b[31m", model="", nested={"a": [1, None], "big": 2**70}, error_code=-3, stream=False),
        at(NOW_MS - 5, finish_reason="stop,length", duration_ms=5000, ttft_ms=81.5, corrupted=True),
    )
    ours, theirs = (list(archive.find(Question())) for archive in (both.sqlite, both.elasticsearch))
    assert [each.document for each in theirs] == [each.document for each in ours]


@pytest.mark.parametrize("oldest_first", [False, True])
def test_pages_one_after_the_other_are_the_whole_list(
    both: Both, monkeypatch: pytest.MonkeyPatch, oldest_first: bool
) -> None:
    both.add(*(at(NOW_MS - i // 3, client=f"{i}", model=f"{i % 7}") for i in range(50)))
    whole = list(both.elasticsearch.find(Question(), oldest_first=oldest_first))
    assert len(whole) == 50
    monkeypatch.setattr(elasticsearch_archive, "PAGE", 7)
    assert list(both.elasticsearch.find(Question(), oldest_first=oldest_first)) == whole
    assert list(both.elasticsearch.find(Question(), limit=20, oldest_first=oldest_first)) == whole[:20]
    pages: list[Any] = []
    after: Position | None = None
    while page := list(both.elasticsearch.find(Question(), limit=8, after=after, oldest_first=oldest_first)):
        pages += page
        after = page[-1].position
    assert pages == whole
    assert len(both.elasticsearch.summarize(Question(), "client").groups) == 50
    assert len(both.elasticsearch.series(Question(), MINUTE_MS, by_model=True).steps) == 7


def test_the_command_prints_the_same_for_both_stores(both: Both) -> None:
    both.add(*(at(NOW_MS - i, client=f"{i}", duration_ms=100 + i, odd={"x": [i]}) for i in range(9)))
    for question in (
        {"form": "json"},
        {"form": "csv", "last": "1h"},
        {"limit": 3},
        {"id": ["nothing"]},
        {"last": "1s", "client": ["3", "5"]},
    ):
        assert ask(both.elasticsearch, **question) == ask(both.sqlite, **question)
    code, out, err = ask(both.elasticsearch, by="client", form="json")
    assert [json.loads(line)["client"] for line in out.splitlines()] == [f"{i}" for i in range(9)]
    assert (code, err) == (0, "Percentiles are within 1 %.\n")


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(SERVER_LINES, max_size=40, unique_by=lambda line: line["time"]),
    spans=st.lists(st.tuples(SERVER_TIMES, SERVER_TIMES), max_size=5),
)
def test_both_stores_tell_the_same_of_servers(
    elasticsearch: str,
    tmp_path_factory: pytest.TempPathFactory,
    lines: list[dict[str, Any]],
    spans: list[tuple[int, int]],
) -> None:
    both = Both(elasticsearch, tmp_path_factory.mktemp("both"))
    both.add(*lines)
    try:
        for since, until in [(None, None), *spans]:
            ours, theirs = (archive.servers(since, until) for archive in (both.sqlite, both.elasticsearch))
            assert theirs == ours
    finally:
        both.gone()


def test_the_peak_of_unlike_gpus_is_found_in_every_page_of_heartbeats(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elasticsearch_servers, "PAGE", 2)
    both.add(*(beat(NOW_MS - 1000 * i, gpus=[gpu("0", 7 + i, 10), gpu("1", 8, 90)]) for i in (5, 0, 1, 2, 3, 4)))
    (server,) = both.elasticsearch.servers()
    assert (server.gpu_memory_peak_bytes, server.gpu_memory_peak_ratio) == (12, 1.2)
    assert both.sqlite.servers() == [server]


def test_what_one_gpu_uses_is_no_share_of_another(both: Both) -> None:
    both.add(beat(NOW_MS, gpus=[gpu("0", None, 100), gpu("1", 7, None)]))
    (server,) = both.elasticsearch.servers()
    assert (server.gpu_memory_peak_bytes, server.gpu_memory_peak_ratio) == (7, None)
    assert both.sqlite.servers() == [server]


def test_follow_shows_what_comes(both: Both) -> None:
    both.add(at(NOW_MS - 1000, client="old"))
    steps: list[Callable[[], None]] = [lambda: both.add(at(NOW_MS, client="new")), lambda: None]

    def wait(_: float) -> bool:
        if not steps:
            return False
        steps.pop(0)()
        return True

    _, out, _ = ask(both.elasticsearch, follow=True, form="json", wait=wait)
    assert [json.loads(line)["source.address"] for line in out.splitlines()] == ["old", "new"]


def test_sql_is_refused_with_the_reason(elasticsearch: str) -> None:
    code, out, err = ask(archive_at(elasticsearch, "none"), sql="SELECT 1")
    assert (code, out) == (2, "")
    assert "--sql asks the files of `store.kind: sqlite`" in err


def test_before_there_is_an_index_nothing_is_found_and_said(elasticsearch: str) -> None:
    archive = archive_at(elasticsearch, "none-yet")
    assert ask(archive)[0] == 0
    assert "the store holds no request yet" in ask(archive)[2]
    assert archive.summarize(Question(), "model").groups == []
    assert archive.series(Question(), MINUTE_MS).steps == []


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """A server that answers every request so. (A double: the real one cannot be made to say this.)"""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(status)
            for name, value in (("content-type", "application/json"), ("X-Elastic-Product", "Elasticsearch")):
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (403, b'{"error":{"root_cause":[{"type":"s","reason":"no permission"}]},"status":403}', "403: no permission"),
        (503, b'{"error":{"type":"x","reason":"shards are gone"}}', "503: shards are gone"),
        (502, b"<html>", "502: no reason"),
        (200, b'{"hits": 5}', "cannot be read"),
    ],
)
def test_an_answer_that_is_none_is_an_error_that_says_why(status: int, body: bytes, said: str) -> None:
    with answering(status, body) as url:
        code, out, err = ask(archive_at(url, "x"))
    assert (code, out) == (1, "")
    assert said in err


def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(StoreUnavailableError, match=r"127\.0\.0\.1:9"):
        list(archive_at("http://127.0.0.1:9", "x").find(Question()))
