"""What a document costs us on its way into Elasticsearch, and how near we come to a loop that only sends.

python benchmarks/elasticsearch_store.py                  # both parts, two minutes
python benchmarks/elasticsearch_store.py --part cost      # against an endpoint that answers at once: no server needed
python benchmarks/elasticsearch_store.py --part server    # against a real Elasticsearch
python benchmarks/elasticsearch_store.py --json           # one JSON object

Cost: CPU seconds of this process with all its threads. "reading" makes documents of lines, as for every store; "sink"
makes bodies of them, sends them, and judges the answers. The endpoint is a process of its own that takes a request and
says that all is stored.

Server: a bare loop sends bodies that were made before, with as many connections and documents a request as the sink
has; it looks at nothing but the status. Both take turns, each into an index of its own. The server has one half of the
cores and we have the other, so that what is compared is how busy we keep it, as if it were elsewhere.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import os
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import make_log
from benchmarks.measuring import machine, print_machine, print_table, spread
from logproc.record import DAY_MS
from logproc.settings import ElasticsearchStore as StoreSettings
from logproc.settings import Thresholds
from logproc.stores.bulk_answer import FILTER_PATH
from logproc.stores.document_reader import DocumentReader
from logproc.stores.elasticsearch import ElasticsearchStore
from logproc.stores.elasticsearch_client import NDJSON, Connection
from logproc.stores.elasticsearch_names import meta
from logproc.stores.elasticsearch_setup import install
from logproc.stores.elasticsearch_sink import MOST_UNDER_WAY, Bulk
from logproc.stores.store import StoreBusyError, StoreUnavailableError
from logproc.tailing.once import blocks

START_MS = 1_767_571_200_000  # 2026-01-05, a Monday
NOW_MS = START_MS + DAY_MS
KINDS = ("dozen", "full")


def fill(store: ElasticsearchStore, log: Path) -> float:
    """All lines of a log through the store; the CPU seconds of reading them and making documents."""
    reader, reading = DocumentReader("vllm", Thresholds()), 0.0
    for block in blocks(str(log)):
        before = time.thread_time()
        found = reader.read(block, NOW_MS)
        reading += time.thread_time() - before
        patiently(lambda found=found: store.write(found.requests, found.servers))
    settled = patiently(store.settle)
    assert not settled.written.rejected, settled.refused[:1]
    return reading


def patiently(step: Any) -> Any:
    deadline = time.monotonic() + 120
    while True:
        try:
            return step()
        except StoreBusyError:
            continue
        except StoreUnavailableError:  # a busy machine may look like a silent server
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def written_log(kind: str, count: int, folder: Path) -> Path:
    log = folder / f"{kind}.jsonl"
    with log.open("wb") as out:
        out.writelines(make_log.lines(count, full=kind == "full", start_ms=START_MS))
    return log


# What it costs us


def cost(kind: str, count: int, rounds: int, folder: Path) -> dict[str, Any]:
    """µs of CPU a document against the endpoint."""
    log = written_log(kind, count, folder)
    reading_us, sink_us = [], []
    with subprocess.Popen([sys.executable, __file__, "--endpoint"], stdout=subprocess.PIPE) as endpoint:
        assert endpoint.stdout is not None
        settings = store_settings(endpoint.stdout.readline().decode().strip(), "bench")
        for number in range(rounds + 1):
            store = ElasticsearchStore(settings, lambda: NOW_MS)
            before = time.process_time()
            reading = fill(store, log)
            cpu = time.process_time() - before
            store.close()
            if number:  # the first one warms up
                reading_us.append(reading / count * 1e6)
                sink_us.append((cpu - reading) / count * 1e6)
        endpoint.kill()
    return {"lines": kind, "documents": count, "reading_us": reading_us, "sink_us": sink_us}


def store_settings(url: str, index: str) -> StoreSettings:
    return StoreSettings(kind="elasticsearch", urls=[url], index=index)


class Endpoint(socketserver.StreamRequestHandler):
    """Says that it has stored everything; its templates are always ours."""

    def handle(self) -> None:
        template = {"index_templates": [{"index_template": {"_meta": meta("week")}}]}
        item = b'{"create":{"status":201}}'
        while request := self.rfile.readline():
            length = 0
            while (header := self.rfile.readline()) != b"\r\n":
                if header.lower().startswith(b"content-length:"):
                    length = int(header.split(b":")[1])
            if request.startswith(b"GET"):
                answer = json.dumps(template).encode()
            else:
                count = self.rfile.read(length).count(b"\n") // 2
                answer = b'{"errors":false,"items":[%b]}' % b",".join([item] * count)
            self.wfile.write(
                b"HTTP/1.1 200 OK\r\nX-Elastic-Product: Elasticsearch\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (len(answer), answer)
            )


def serve_endpoint() -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Endpoint) as server:
        print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
        server.serve_forever()


# How near we come to a loop that only sends


def against_server(kind: str, count: int, pairs: int, folder: Path) -> dict[str, Any]:
    """Documents a second of the bare loop and of the store, in turns."""
    from tests.services.elasticsearch import ElasticsearchServer  # not needed for the other part

    log = written_log(kind, count, folder)
    bodies = ready_made(log)
    cores = sorted(os.sched_getaffinity(0))
    half = max(1, len(cores) // 2)
    os.sched_setaffinity(0, cores[:half])  # which its children inherit
    with ElasticsearchServer(quick_start=False) as server:
        os.sched_setaffinity(0, cores[half:] or cores)
        names = (f"bench-{number}" for number in itertools.count())
        bare: list[float] = []
        ours: list[float] = []
        for number in range(pairs + 1):
            ways = [(bare, bare_loop), (ours, through_the_store)]
            for results, way in ways if number % 2 else reversed(ways):
                name = next(names)
                seconds = way(server, name, log, bodies)
                assert server.call("GET", f"/{name}/_count")["count"] + servers(server, name) == count
                server.call("DELETE", f"/{name}-2*")
                server.call("DELETE", f"/{name}-servers-2*")
                if number:  # the first ones warm up
                    results.append(count / seconds)
    os.sched_setaffinity(0, cores)
    return {"lines": kind, "documents": count, "bare": bare, "ours": ours}


def servers(server: Any, name: str) -> int:
    return int(server.call("GET", f"/{name}-servers/_count").get("count", 0))


def ready_made(log: Path) -> list[Bulk]:
    """The requests that the store would send."""
    store = ElasticsearchStore(store_settings("http://127.0.0.1:9", "bench"), lambda: NOW_MS)
    made: list[Bulk] = []
    store._sink.add = made.append  # type: ignore[assignment,method-assign] # they are not to be sent
    store._sink.settled = lambda: None  # type: ignore[assignment,return-value,method-assign]
    reader = DocumentReader("vllm", Thresholds())
    for block in blocks(str(log)):
        found = reader.read(block, NOW_MS)
        store.write(found.requests, found.servers)
    store.settle()
    store.close()
    return made


def set_up(server: Any, name: str) -> None:
    settings = store_settings(server.url, name)
    connection = Connection(settings)
    assert install(connection, settings, "vllm", lambda _: None)
    connection.close()


def bare_loop(server: Any, name: str, _: Path, bodies: list[Bulk]) -> float:
    """Wall seconds until all bodies are stored."""
    set_up(server, name)
    rest, taking = iter(bodies), threading.Lock()

    def send() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        while True:
            with taking:
                bulk = next(rest, None)
            if bulk is None:
                return
            path = f"/{name}{bulk.index.removeprefix('bench')}/_bulk?filter_path={FILTER_PATH}"
            connection.request("POST", path, bulk.body, {"Content-Type": NDJSON})
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200

    threads = [threading.Thread(target=send) for _ in range(MOST_UNDER_WAY)]
    before = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - before
    server.call("POST", f"/{name}*/_refresh")
    return seconds


def through_the_store(server: Any, name: str, log: Path, _: list[Bulk]) -> float:
    """Wall seconds until all lines are stored, reading them included."""
    set_up(server, name)
    store = ElasticsearchStore(store_settings(server.url, name), lambda: NOW_MS)
    before = time.perf_counter()
    fill(store, log)
    seconds = time.perf_counter() - before
    store.close()
    server.call("POST", f"/{name}*/_refresh")
    return seconds


def print_cost(results: list[dict[str, Any]]) -> None:
    rows = [[each["lines"], f"{spread(each['reading_us']):.1f}", f"{spread(each['sink_us']):.1f}"] for each in results]
    print_table(["CPU µs a document", "reading", "sink"], rows)


def print_server(results: list[dict[str, Any]]) -> None:
    rows = []
    for each in results:
        ratios = [ours / bare for ours, bare in zip(each["ours"], each["bare"], strict=True)]
        rates = [f"{spread(value / 1000 for value in each[name]):.1f}" for name in ("bare", "ours")]
        rows.append([each["lines"], *rates, f"{spread(ratios):.2f}"])
    print_table(["k documents/s", "bare loop", "logproc", "ratio"], rows)


def main() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        if given.part in {None, "cost"}:
            yield "cost", [cost(kind, given.lines, given.rounds, folder) for kind in KINDS]
        if given.part in {None, "server"}:
            yield "server", [against_server("full", given.lines, given.rounds, folder)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=["cost", "server"])
    parser.add_argument("--lines", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--endpoint", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.endpoint:
        serve_endpoint()
    elif given.json:
        print(json.dumps({"machine": machine(), **dict(main())}))
    else:
        print_machine(machine())
        for part, found in main():
            print()
            print_cost(found) if part == "cost" else print_server(found)
