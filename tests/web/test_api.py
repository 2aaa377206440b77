"""The API finds what `logproc query` finds, page by page, says what it did not understand, and keeps nobody waiting."""

from __future__ import annotations

import base64
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from logproc.query_output import json_line
from logproc.record import DAY_MS
from logproc.settings import Price
from logproc.stores.archive import Found, Position, Question
from logproc.stores.documents import time_text
from logproc.stores.fields import REQUEST_FIELDS
from logproc.stores.sqlite_archive import SqliteArchive
from logproc.stores.store import StoreUnavailableError
from logproc.tailing.once import blocks
from logproc.web.api import AT_ONCE, api_routes
from logproc.web.door import Door
from logproc.web.session import Sessions
from tests.lines import NOW_MS, raw
from tests.stores.documents_of import MIDNIGHT_MS, at, documents, read, store_in
from tests.stores.test_rollups import kept
from tests.test_query import Shelf


@pytest.fixture(scope="module", autouse=True)
def event_loop() -> Iterator[None]:
    """One event loop for all applications of this module, as a server has."""
    with start_blocking_portal() as portal:
        Client.portal = portal
        yield


class Client:
    """Asks an application, from any thread."""

    portal: BlockingPortal

    def __init__(self, routes: Sequence[Route], **more: Any) -> None:
        self._transport = httpx.ASGITransport(Starlette(routes=routes, **more))

    def get(self, path: str, **request: Any) -> httpx.Response:
        answer: httpx.Response = self.portal.call(self._get, path, request)
        return answer

    async def _get(self, path: str, request: dict[str, Any]) -> httpx.Response:
        async with httpx.AsyncClient(transport=self._transport, base_url="http://logproc") as client:
            return await client.get(path, **request)


def client_of(archive: Any, wrapped: Any = None, clock: Callable[[], int] = lambda: NOW_MS) -> Client:
    return Client(api_routes(archive, wrapped, clock))


class Api:
    """Documents of some lines, and the API over them."""

    def __init__(self, folder: Path, *lines: dict[str, Any]) -> None:
        self.shelf = Shelf(folder, *lines)
        self.client = client_of(SqliteArchive(self.shelf.folder))

    def get(self, page: str, **parameters: Any) -> Any:
        answer = self.client.get(f"/api/v1/{page}", params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def refused(self, page: str, **parameters: Any) -> tuple[int, Any]:
        answer = self.client.get(f"/api/v1/{page}", params=parameters)
        return answer.status_code, answer.json()


LINES = [
    at(
        NOW_MS - 700 * i,
        client=f"10.0.0.{i % 4}",
        model=f"m{i % 3}",
        duration_ms=1000 + 100 * i,
        status=503 if i % 5 == 0 else 200,
        ttft_ms=20.0 + i,
        queue_ms=1.5,
        request_id=f"r{i}",
    )
    for i in range(40)
]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Api:
    return Api(tmp_path_factory.mktemp("api"), *LINES)


@pytest.mark.parametrize(
    ("parameters", "options"),
    [
        ({}, {}),
        ({"outcome": ["rejected", "ok"]}, {"outcome": ["rejected", "ok"]}),
        ({"model": "m1", "slower_than": "3s"}, {"model": ["m1"], "slower_than": "3s"}),
        ({"flag": "slow", "client": ["10.0.0.1", "10.0.0.2"]}, {"flag": ["slow"], "client": ["10.0.0.1", "10.0.0.2"]}),
        ({"from": "10s", "to": "5s"}, {"since": "10s", "to": "5s"}),
        ({"id": "r7"}, {"id": ["r7"]}),
        ({"user": "nobody"}, {"user": ["nobody"]}),
    ],
)
def test_requests_are_those_of_the_command_and_pages_make_the_whole_list(
    api: Api, parameters: dict[str, Any], options: dict[str, Any]
) -> None:
    expected = api.shelf.found(limit=0, **options)
    assert api.get("requests", limit=1000, **parameters) == {"items": expected, "next": None}
    found: list[Any] = []
    cursor: dict[str, str] = {}
    while True:
        page = api.get("requests", limit=7, **parameters, **cursor)
        found += page["items"]
        if page["next"] is None:
            break
        assert len(page["items"]) == 7
        cursor = {"cursor": page["next"]}
    assert found == expected


def counted(group: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in group.items() if name not in {"duration_ns", "ttft_ms", "cost"}}


def test_a_group_costs_what_the_tokens_of_its_models_cost(api: Api) -> None:
    prices = {"m0": Price(input=2, output=10), "m1": Price(input=1, output=1)}
    client = Client(api_routes(SqliteArchive(api.shelf.folder), None, lambda: NOW_MS, prices=prices))
    total = client.get("/api/v1/summary").json()["total"]
    models = {each["model"]: each for each in client.get("/api/v1/summary", params={"by": "model"}).json()["items"]}
    first = models["m0"]
    assert first["cost"] == pytest.approx((first["prompt_tokens"] * 2 + first["completion_tokens"] * 10) / 1e6)
    assert models["m2"]["cost"] is None
    assert total["cost"] == pytest.approx(first["cost"] + models["m1"]["cost"])
    assert api.get("summary")["total"]["cost"] is None


def test_a_summary_is_that_of_the_command(api: Api) -> None:
    for by in ("model", "client", "user_id", "api_key_id", "outcome"):
        found = api.get("summary", **{"from": "1h", "by": by})
        expected = api.shelf.found(limit=0, last="1h", by=by)
        assert [counted(each) for each in found["items"]] == [counted(each) for each in expected]
        for ours, exact in zip(found["items"], expected, strict=True):
            assert ours["duration_ns"] == pytest.approx(exact["duration_ns"], rel=0.0101)
    total = api.get("summary")
    assert total["items"] == []
    assert total["total"]["requests"] == 40
    assert api.get("summary", to="5h") == {
        "from": None,
        "to": "2026-03-31T18:33:20.000Z",
        "by": None,
        "total": None,
        "items": [],
        "next": None,
        "percentiles": "exact",
        "rolled_up": None,
        "left_out": None,
    }


def test_groups_come_in_pages_too(api: Api) -> None:
    first = api.get("summary", by="client", limit=3)
    second = api.get("summary", by="client", limit=3, cursor=first["next"])
    assert [len(first["items"]), len(second["items"]), second["next"]] == [3, 1, None]
    assert first["items"] + second["items"] == api.get("summary", by="client")["items"]


def test_a_series_counts_every_request_once_and_says_where_the_time_went(api: Api) -> None:
    found = api.get("series", **{"from": "10m", "step": "1m"})
    assert found["from"] == "2026-03-31T23:23:00.000Z"
    assert sum(step["requests"] for step in found["items"]) == 40
    assert sum(step["outcomes"].get("rejected", 0) for step in found["items"]) == 8
    assert sum(step["queue_ms"] for step in found["items"]) == pytest.approx(60)
    assert all(step["ttft_ms"]["p50"] <= step["ttft_ms"]["p99"] for step in found["items"])
    assert found["percentiles"] == "within 1 %"
    by_model = api.get("series", **{"from": "10m", "step": "1m", "by": "model"})
    assert {step["model"] for step in by_model["items"]} == {"m0", "m1", "m2"}
    assert sum(step["requests"] for step in by_model["items"]) == 40
    one = api.get("series", **{"from": "10m", "model": "m1", "slower_than": "3s"})
    assert sum(step["requests"] for step in one["items"]) == len(api.shelf.found(model=["m1"], slower_than="3s"))


def test_the_slowest_come_first_where_so_asked_and_pages_make_the_whole_list(api: Api) -> None:
    expected = sorted(
        api.shelf.found(limit=0), key=lambda each: (each["event.duration"], each["@timestamp"]), reverse=True
    )
    found: list[Any] = []
    cursor: dict[str, str] = {}
    while page := api.get("requests", sort="duration", limit=9, **cursor):
        found += page["items"]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert found == expected
    some = api.get("requests", sort="duration", limit=3, model="m1", to="5s")
    assert (
        some["items"]
        == [
            each
            for each in expected
            if each["gen_ai.request.model"] == "m1" and each["@timestamp"] < "2026-03-31T23:33:15"
        ][:3]
    )
    other = api.client.get("/api/v1/requests", params={"sort": "time", "cursor": some["next"]})
    assert other.json()["parameter"] == "cursor"


def test_percentiles_of_steps_are_within_one_percent_of_those_of_the_requests_and_never_called_exact(api: Api) -> None:
    for step in ("1m", "1h", "1d"):
        found = api.get("series", **{"from": "10m", "step": step})
        assert found["percentiles"] == "within 1 %"
    (whole,) = api.get("series", **{"from": "10m", "step": "1d"})["items"]
    durations = sorted(each["event.duration"] / 1e6 for each in api.shelf.found(limit=0))
    expected = {f"p{percent}": durations[-(-percent * len(durations) // 100) - 1] for percent in (50, 95, 99)}
    assert whole["duration_ms"] == pytest.approx(expected, rel=0.0101)
    assert whole["duration_ms"] != expected
    assert api.get("series", **{"from": "20s", "step": "5s"})["percentiles"] == "within 1 %"


def test_a_series_of_seconds_counts_what_came_in_each(api: Api) -> None:
    found = api.get("series", **{"from": "20s", "step": "5s"})["items"]
    expected = Counter((NOW_MS - 700 * i) // 5000 * 5000 for i in range(1, 29))
    assert {step["time"]: step["requests"] for step in found} == {
        time_text(time_ms): count for time_ms, count in expected.items()
    }
    assert sum(step["duration_sum_ms"] for step in found) == sum(1000 + 100 * i for i in range(1, 29))


def test_a_heat_map_has_every_request_in_the_cell_of_its_time_and_duration(api: Api) -> None:
    found = api.get("heatmap", **{"from": "10m"})
    assert sum(count for _, _, count in found["cells"]) == 40
    edges, times = found["edges_ms"], found["times"]
    for i in range(3, 40, 7):
        row = max(place for place, edge in enumerate(edges) if edge < 1000 + 100 * i)
        column = times.index(time_text((NOW_MS - 700 * i) // found["step_ms"] * found["step_ms"]))
        assert any(cell[:2] == [column, row] and cell[2] > 0 for cell in found["cells"])
    first_tokens = api.get("heatmap", of="ttft", model="m2")
    assert sum(count for _, _, count in first_tokens["cells"]) == 13


def test_days_that_are_over_answer_from_their_minutes_and_it_is_said(tmp_path: Path) -> None:
    old = at(NOW_MS - 3 * DAY_MS, model="m")
    client = client_of(kept(tmp_path, 1, old, at(NOW_MS - 1, model="m")))
    found = client.get("/api/v1/summary", params={"from": "7d", "by": "model"}).json()
    assert found["items"][0]["requests"] == 2
    assert found["percentiles"] == "within 1 %"
    assert found["rolled_up"] == {"from": "2026-03-28T00:00:00.000Z", "to": "2026-03-29T00:00:00.000Z"}
    found = client.get("/api/v1/summary", params={"from": "7d", "by": "client"}).json()
    assert found["left_out"]["from"] == "2026-03-28T00:00:00.000Z"
    found = client.get("/api/v1/series", params={"from": "7d", "step": "1d"}).json()
    assert [step["requests"] for step in found["items"]] == [1, 1]


@pytest.mark.parametrize(
    ("page", "parameters", "name", "said"),
    [
        ("requests", {"from": "yesterday"}, "from", "expected a time such as"),
        ("requests", {"form": "1h"}, "form", "Did you mean from?"),
        ("requests", {"outcome": "emtpy"}, "outcome", "Did you mean empty?"),
        ("requests", {"limit": "0"}, "limit", "from 1 to 1000"),
        ("requests", {"limit": "1001"}, "limit", "from 1 to 1000"),
        ("requests", {"limit": "²"}, "limit", "from 1 to 1000"),
        ("requests", {"limit": ["1", "2"]}, "limit", "given 2 times"),
        ("requests", {"cursor": "x"}, "cursor", "none that this server gave"),
        ("requests", {"cursor": "kwE"}, "cursor", "none that this server gave"),
        ("requests", {"slower_than": "fast"}, "slower_than", "expected a span"),
        ("requests", {"model": "m" * 2000}, "model", "longer than 1024"),
        ("requests", {"client": ["c"] * 101}, "client", "given 101 times"),
        ("requests", {"from": "1h", "to": "2h"}, "from", "is not before"),
        ("requests", {"sql": "SELECT 1"}, "sql", "there is no parameter 'sql'"),
        ("requests", {"sort": "duration; DROP"}, "sort", "is none of time, duration"),
        ("summary", {"by": "users"}, "by", "Did you mean user_id?"),
        ("series", {"step": "7s"}, "step", "whole minutes"),
        ("series", {"step": "0.5s"}, "step", "whole minutes"),
        ("series", {"step": "30s", "from": "2h"}, "step", "for an hour at most"),
        ("series", {"step": "1s", "from": "30m"}, "step", "at least 2s"),
        ("series", {"step": "90s"}, "step", "whole minutes"),
        ("series", {"step": "1m", "from": "30d"}, "step", "at least 29m"),
        ("series", {"by": "client"}, "by", "is none of model"),
        ("series", {"limit": "5"}, "limit", "there is no parameter"),
        ("requests/abc", {"from": "1h"}, "from", "there are none here"),
        ("heatmap", {"of": "tokens"}, "of", "is none of duration, ttft"),
        ("heatmap", {"step": "1s"}, "step", "there is no parameter"),
    ],
)
def test_what_cannot_be_understood_is_refused_with_the_name_of_the_parameter(
    api: Api, page: str, parameters: dict[str, Any], name: str, said: str
) -> None:
    status, answer = api.refused(page, **parameters)
    assert (status, answer["parameter"]) == (400, name)
    assert said in answer["error"]


def test_a_cursor_of_another_question_is_refused(api: Api) -> None:
    cursor = api.get("requests", limit=3, model="m1")["next"]
    status, answer = api.refused("requests", limit=3, model="m2", cursor=cursor)
    assert (status, answer["parameter"]) == (400, "cursor")
    assert len(api.get("requests", limit=9, model="m1", cursor=cursor)["items"]) == 9


def test_a_range_of_time_means_on_every_page_what_it_meant_on_the_first(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, *(at(NOW_MS - 1000 * i, client=f"{i}") for i in range(10)))
    now = [NOW_MS]
    client = client_of(SqliteArchive(shelf.folder), clock=lambda: now[0])
    first = client.get("/api/v1/requests", params={"from": "9s", "limit": 5}).json()
    now[0] += 60_000
    second = client.get("/api/v1/requests", params={"from": "9s", "limit": 6, "cursor": first["next"]}).json()
    assert len(first["items"]) + len(second["items"]) == 10


@settings(max_examples=150, deadline=None)
@given(text=st.one_of(st.text(max_size=40), st.binary(max_size=60).map(lambda data: data.hex())), place=st.binary())
def test_no_cursor_however_odd_breaks_the_page(
    tmp_path_factory: pytest.TempPathFactory, text: str, place: bytes
) -> None:
    forged = msgspec.msgpack.encode(["x", None, 5, 1 << 47, place, 3, 1 << 63])
    for cursor in (text, base64.urlsafe_b64encode(forged).decode()):
        answer = client_of(SqliteArchive(Path("/nowhere"))).get("/api/v1/requests", params={"cursor": cursor})
        assert answer.status_code == 400


# --- one request -----------------------------------------------------------------------------------------------------


def written(path: Path, data: bytes, wrapped: Any = None) -> list[Found]:
    """Documents of the lines in a file, stored beside it."""
    path.write_bytes(data)
    store = store_in(path.parent / "documents")
    for block in blocks(str(path), wrapped=wrapped):
        store.write(read(block).requests, [])
    store.close()
    return list(SqliteArchive(path.parent / "documents").find(Question(), oldest_first=True))


def one(folder: Path, event_id: str, wrapped: Any = None) -> Any:
    answer = client_of(SqliteArchive(folder / "documents"), wrapped).get(f"/api/v1/requests/{event_id}")
    assert answer.status_code == 200
    return answer.json()


ODD = b'{"time": "2026-03-31T10:00:00.5Z",  "method":"POST","path":"/v1/completions","status":200,"prompt_tokens":1,' \
      b'"completion_tokens":null,"duration_ms":5.25,"odd":[1.50]}\n'  # fmt: skip


def test_one_request_comes_with_its_line_as_it_stands_in_the_log(tmp_path: Path) -> None:
    path = tmp_path / "access.jsonl"
    data = raw(at(NOW_MS, client="a")) + ODD + raw(at(NOW_MS + 5, client="b"))
    for number, found in enumerate(written(path, data)):
        answer = one(tmp_path, found.document["event.id"])
        assert answer["line_source"] == "file"
        assert answer["line"].encode() + b"\n" == data.splitlines(keepends=True)[[1, 0, 2][number]]
        assert answer["document"]["event.id"] == found.document["event.id"]
    path.rename(tmp_path / "access.jsonl.1")
    path.write_bytes(raw(at(NOW_MS, client="another file")) * 5)
    assert one(tmp_path, found.document["event.id"])["line_source"] == "file"


def test_a_line_of_container_output_is_found_in_its_parts(tmp_path: Path) -> None:
    line = raw(at(NOW_MS, client="c"))[:-1]
    data = b"2026-03-31T10:00:00Z stdout F starting\n"
    data += b"2026-03-31T10:00:00Z stdout P " + line[:40] + b"\n2026-03-31T10:00:00Z stdout F " + line[40:] + b"\n"
    (found,) = written(tmp_path / "0.log", data, "cri")
    answer = one(tmp_path, found.document["event.id"], "cri")
    assert (answer["line"].encode(), answer["line_source"]) == (line, "file")


def test_a_line_whose_file_is_gone_is_rebuilt_and_marked_so_and_gives_the_same_document(tmp_path: Path) -> None:
    path = tmp_path / "access.jsonl"
    full = at(NOW_MS, client="a", ttft_ms=81.5, stream=True, finish_reason="stop", model="m", odd={"x": [1]})
    (found,) = written(path, raw(full))
    path.unlink()
    answer = one(tmp_path, found.document["event.id"])
    assert answer["line_source"] == "rebuilt"
    rebuilt = json.loads(answer["line"])
    assert {name: rebuilt[name] for name in full} == full
    (again,) = documents(answer["line"].encode() + b"\n")[0].flat(REQUEST_FIELDS)
    places = {"log.file.path", "log.offset"}
    before, after = (
        {name: value for name, value in json.loads(json_line(each)).items() if name not in places}
        for each in (found.document, again)
    )
    assert after == before


def test_a_document_that_names_another_file_cannot_have_it_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"the key\n" + raw(at(NOW_MS, client="not this one")))
    (found,) = documents(at(NOW_MS, client="a"))[0].flat(REQUEST_FIELDS)

    class Forged:
        def __init__(self, offset: object) -> None:
            self._document = {**found, "log.file.path": str(secret), "log.offset": offset}

        def find(self, *_: object, **__: object) -> Iterator[Found]:
            yield Found(Position(0, b""), self._document)

    for offset in (0, 8, 3, -1, 10**9, "0"):
        answer = client_of(Forged(offset)).get(f"/api/v1/requests/{found['event.id']}").json()
        assert answer["line_source"] == "rebuilt"
        assert "the key" not in answer["line"]


def test_an_id_that_is_not_there_is_404(api: Api) -> None:
    for event_id in ("AAAAAAAAAAAAAAAAAAAAAA", "x", "r7"):
        status, answer = api.refused(f"requests/{event_id}")
        assert (status, answer) == (404, {"error": "no request has this event.id"})


# --- beside the others -----------------------------------------------------------------------------------------------


def test_a_store_that_cannot_be_read_is_503_with_the_reason() -> None:
    class Broken:
        def find(self, *_: object, **__: object) -> Iterator[Found]:
            raise StoreUnavailableError("the disk is gone")

    answer = client_of(Broken()).get("/api/v1/requests")
    assert (answer.status_code, answer.json()) == (503, {"error": "the disk is gone"})


def test_a_question_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.write(documents(*(at(MIDNIGHT_MS + i, client=f"{i}") for i in range(20_000))), [])
    store.close()
    archive = SqliteArchive(tmp_path, longest_s=-1.0)
    answer = client_of(archive).get("/api/v1/summary", params={"from": "7d", "by": "client"})
    assert answer.status_code == 503
    assert "ask for a shorter range of time" in answer.json()["error"]


def test_slow_questions_keep_no_other_page_waiting() -> None:
    begun, go_on = threading.Semaphore(0), threading.Event()

    class Slow:
        def find(self, *_: object, **__: object) -> Iterator[Found]:
            begun.release()
            assert go_on.wait(30)
            return iter(())

    routes = [*api_routes(Slow(), None, lambda: NOW_MS), Route("/metrics", lambda _: PlainTextResponse("up"))]  # type: ignore[arg-type]
    client = Client(routes)
    asking = [threading.Thread(target=client.get, args=("/api/v1/requests",), daemon=True) for _ in range(AT_ONCE * 3)]
    for thread in asking:
        thread.start()
    for _ in range(AT_ONCE):
        assert begun.acquire(timeout=30)
    assert client.get("/metrics").text == "up"
    go_on.set()
    for thread in asking:
        thread.join(30)


def test_without_the_token_nothing_is_answered_but_health(api: Api) -> None:
    routes = [*api_routes(SqliteArchive(api.shelf.folder), None, lambda: NOW_MS)]
    routes += [Route(path, lambda _: PlainTextResponse("up")) for path in ("/healthz", "/readyz", "/metrics")]
    client = Client(routes, middleware=[Middleware(Door, sessions=Sessions("s3cret"))])
    for path in ("/metrics", "/api/v1/requests", "/api/v1/summary", "/api/v1/series", "/api/v1/requests/x", "/none"):
        assert client.get(path).status_code == 401
        assert client.get(path, headers={"Authorization": "Bearer wrong"}).status_code == 401
        assert client.get(path, headers={"Authorization": "Bearer s3cret"}).status_code in {200, 404}
    assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200
