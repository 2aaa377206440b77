"""Those who listen hear of each commit within a second, and nobody else pays for it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from logproc.web.server import WebServer
from logproc.web.stream import MOST_LISTENERS, PATH, Stream
from tests.pipeline import Pipeline, until
from tests.test_run import now_line
from tests.web.serving import serving


class World:
    """What a stream tells of: a number of commits, and how logproc is."""

    def __init__(self) -> None:
        self.commits = 0
        self.asked = 0
        self.problem: str | None = None
        self.written_elsewhere = 0
        self.stream = Stream(self.commit, self.state, lambda: self.written_elsewhere, soonest_s=0.01, ping_s=0.2)

    def commit(self) -> dict[str, Any]:
        self.asked += 1
        return {"requests": self.commits}

    def state(self) -> dict[str, Any]:
        consumers = {"index": {"problem": self.problem, "lag_bytes": self.commits}}
        return {"status": "degraded" if self.problem else "ready", "consumers": consumers}

    def changes(self) -> None:
        self.commits += 1
        self.stream.changed()


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[World, WebServer]]:
    world = World()
    with serving(world.stream.routes) as server:
        yield world, server
        world.stream.close()


@contextmanager
def listening(server: WebServer) -> Iterator[Iterator[tuple[str, Any]]]:
    """Events as (name, data); a ping has the name `ping`."""
    with httpx.stream("GET", f"{server.address}{PATH}", timeout=20, headers={"Accept-Encoding": "gzip"}) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert "content-encoding" not in answer.headers
        yield events(answer)


def events(answer: httpx.Response) -> Iterator[tuple[str, Any]]:
    name = ""
    for line in answer.iter_lines():
        if line == ": ping":
            yield "ping", None
        elif line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


def next_of(found: Iterator[tuple[str, Any]], name: str) -> Any:
    return next(data for each, data in found if each == name)


def told_of(found: Iterator[tuple[str, Any]], requests: int) -> Any:
    """The first commit with so many requests; what was so at the beginning may be told twice."""
    return next(data for each, data in found if each == "commit" and data["requests"] >= requests)


def test_who_comes_hears_how_it_is_and_then_of_each_change(served: tuple[World, WebServer]) -> None:
    world, server = served
    with listening(server) as found:
        assert next(found) == ("state", world.state())
        assert next(found) == ("commit", {"requests": world.commits})
        world.changes()
        assert told_of(found, world.commits) == {"requests": world.commits}


def test_commits_of_another_process_are_noticed_too(served: tuple[World, WebServer]) -> None:
    world, server = served
    with listening(server) as found:
        assert next_of(found, "commit") == {"requests": world.commits}
        assert next_of(found, "ping") is None  # by now the stream has looked
        world.commits += 1
        world.written_elsewhere += 1
        assert told_of(found, world.commits) == {"requests": world.commits}


def test_a_problem_is_told_when_it_comes_and_when_it_goes(served: tuple[World, WebServer]) -> None:
    world, server = served
    with listening(server) as found:
        assert next_of(found, "state")["status"] == "ready"
        world.problem = "the disk is full"
        assert next_of(found, "state")["status"] == "degraded"
        world.problem = None
        assert next_of(found, "state")["status"] == "ready"


def test_many_commits_are_told_as_one(served: tuple[World, WebServer]) -> None:
    world, server = served
    with listening(server) as found:
        next_of(found, "commit")
        asked = world.asked
        for _ in range(5000):
            world.changes()
        told_of(found, world.commits)
        assert world.asked - asked < 500


def test_where_nobody_listens_nothing_is_asked(served: tuple[World, WebServer]) -> None:
    world, server = served
    with listening(server) as found:
        next_of(found, "commit")
    until(lambda: world.stream._loop is None, "the stream to notice that its listener has gone")
    asked = world.asked
    for _ in range(100):
        world.changes()
    assert httpx.get(f"{server.address}/healthz").status_code == 200
    assert world.asked == asked


def test_listeners_are_bounded_and_a_place_becomes_free_again(served: tuple[World, WebServer]) -> None:
    world, server = served
    until(lambda: not world.stream._listeners, "the listeners of other tests to be gone")
    limits = httpx.Limits(max_connections=None)
    with httpx.Client(base_url=server.address, limits=limits, timeout=20) as client:
        requests = [client.build_request("GET", PATH) for _ in range(MOST_LISTENERS)]
        answers = [client.send(each, stream=True) for each in requests]
        listeners = [events(each) for each in answers]  # kept: with its iterator a connection is closed
        assert {next(each)[0] for each in listeners} == {"state"}
        refused = client.get(PATH)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "30")
        for each in answers:
            each.close()
        until(lambda: client.send(client.build_request("GET", PATH), stream=True).status_code == 200, "a free place")


def test_the_server_stops_at_once_though_somebody_listens() -> None:
    world = World()
    ended = threading.Event()
    with serving(world.stream.routes) as server:

        def listen() -> None:
            with listening(server) as found:
                for _ in found:
                    pass
            ended.set()

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        until(lambda: bool(world.stream._listeners), "the listener")
        world.stream.close()
        assert ended.wait(10)


def test_a_line_is_told_of_and_can_be_found_by_then(tmp_path: Path) -> None:
    log = tmp_path / "a.jsonl"
    log.touch()
    pipeline = Pipeline(tmp_path, [str(log)])
    pipeline.start()
    until(pipeline.is_up, "the server")
    with httpx.stream("GET", f"http://127.0.0.1:{pipeline.port}{PATH}", timeout=30) as answer:
        found = events(answer)
        first = next_of(found, "commit")
        assert (first["requests"], first["alerts_seq"]) == (0, 0)
        assert {"measure", "index", "notify"} <= first["lag_s"].keys()
        with log.open("ab") as file:
            file.write(now_line(model="m"))
        told_of(found, 1)
        while not json.loads(pipeline.get("/api/v1/requests")[1])["items"]:
            next_of(found, "commit")  # `index` comes later, and is told of too
    assert pipeline.stop() == 0
