"""The examples of an alert: the clearest requests, by the ids of their documents, however the log was cut."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from logproc.alerts.alert import Alert
from logproc.alerts.clearest import Slots
from logproc.ids import derived_ids, id_text
from logproc.measure.servers import Servers
from logproc.measure.tally import tally
from logproc.measure.totals import Totals
from logproc.record import make_line_id
from logproc.settings import Settings
from logproc.tailing.once import blocks
from tests.alerts.play import (
    BEGIN,
    DAY,
    FAILED,
    MINUTE,
    SLOW,
    Log,
    Said,
    alerts,
    firing,
    heartbeats,
    requests,
    second_of,
    settings,
)
from tests.lines import block

BAD, END = 10 * MINUTE, 15 * MINUTE


def test_the_examples_are_the_slowest_for_their_size_since_it_began() -> None:
    log = requests(0, BAD) + requests(BAD, END, **SLOW)
    worst = [said for said in log if BAD + 8.5 <= said.second < BAD + 11]
    for number, said in enumerate(worst):
        said.line["duration_ms"] = 20_000.0 + number
    said = log[BAD * 2 + 2]
    said.line.update(duration_ms=90_000.0, completion_tokens=2000)  # long, but not slow for its size

    alert = firing(alerts(log, {"ttft_s": None}), "latency_p99")

    assert second_of(alert.time) >= BAD + 30
    assert alert.examples == [each.line["id"] for each in reversed(worst)]


@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        ("errors", FAILED),
        ("empty", {"outcome": "empty", "completion_tokens": 1}),
        ("ttft", {"ttft_ms": 2500.0, "duration_ms": 2900.0}),
        ("tokens_per_second", {"tpot_ms": 100.0, "decode_ms": 2500.0, "duration_ms": 2700.0}),
    ],
)
def test_each_kind_names_requests_that_show_it(kind: str, bad: dict[str, Any]) -> None:
    log = requests(0, BAD) + requests(BAD, END, bad=4, **bad)
    wrong = {said.line["id"] for said in log if said.second >= BAD and bad.items() <= said.line.items()}

    found = firing(alerts(log), kind)

    assert len(found.examples) == 5
    assert set(found.examples) <= wrong


def test_the_diagnosis_says_whose_the_requests_are_where_most_are_of_one() -> None:
    log = requests(0, BAD) + requests(BAD, END, **SLOW)
    for said in log[BAD * 2 :: 3]:
        said.line["user_id"] = "robot"

    clients = firing(alerts(log), "latency_p99").facts["clients"]

    assert set(clients) == {"robot", "10.0.0.1"}
    assert sum(clients.values()) == pytest.approx(1.0, abs=0.01)


def test_a_line_without_an_id_is_named_by_the_id_of_its_document(tmp_path: Path) -> None:
    """A bad line and server lines between them, and no `id` in any: the ids are made of the lines' bytes and places."""
    log = requests(0, BAD) + requests(BAD, END, bad=3, **FAILED) + heartbeats(0, END)
    for said in log:
        said.line.pop("id", None)
        if said.line.get("status") == 200 and int(said.second) % 3:
            said.line["id"] = 17  # another's
    raws = [said.raw for said in sorted(log, key=lambda said: said.second)]
    raws.insert(700, b"no json\n")
    path = tmp_path / "access.jsonl"
    path.write_bytes(b"".join(raws))

    [whole] = blocks(str(path), size=1 << 22)
    documents, offset = set(), 0
    for raw in raws:
        if b'"status": 500' in raw:
            millisecond = (BEGIN + second_of(raw.split(b'"')[3].decode())) * 1000 + int(raw.split(b'"')[3][20:23])
            [made] = derived_ids(whole.first_line, [offset], [raw.rstrip(b"\n")], _times(millisecond))
            documents.add(id_text(made))
        offset += len(raw)

    found: set[str] = set()
    for size in (1 << 14, 1 << 22):
        found = {pick.id for sorts in _slots(path, size).values() for pick in sorts.get("error", ())}
        assert found
        assert found <= documents


@pytest.mark.parametrize(
    "odd",
    [
        {"status": 400, "outcome": "rejected", "model": "m", "completion_tokens": None},  # has no bound of its own
        {"model": "patient"},  # a higher one
    ],
)
def test_a_long_request_that_is_within_its_own_bounds_shows_nothing(odd: dict[str, Any]) -> None:
    plain = requests(0, 1, 1.0)[0].line
    quick = {**plain, "duration_ms": 400.0, "stream": False}
    for name in ("ttft_ms", "tpot_ms", "queue_ms", "prefill_ms", "decode_ms"):
        quick.pop(name, None)
    long = {**quick, "duration_ms": 4000.0, **odd}
    totals = Totals(settings({"models": {"patient": {"duration_s": 10}}}))
    for line in (quick, long):
        tally(totals, Servers(), block(Said(1.0, line).raw), lambda: (BEGIN + DAY) * 1000, None)
        totals.fold()
    assert totals.buckets.clearest == {}


@pytest.mark.parametrize("seed", range(5))
def test_however_the_log_was_cut_the_same_requests_are_the_clearest(seed: int) -> None:
    rng = random.Random(seed)
    log: Log = []
    for number in range(800):
        bad: dict[str, Any] = rng.choice(
            [{}, {}, SLOW, FAILED, {"ttft_ms": 4000.0}, {"outcome": "empty", "completion_tokens": 0}]
        )
        line = {**requests(0, 1, 1.0)[0].line, **bad, "model": rng.choice("ab"), "id": f"{number}"}
        if "duration_ms" in bad:
            line["duration_ms"] = 9000.0 + rng.random() * 5000
        log.append(Said(number * 0.07, line))

    whole = _of(log, [len(log)])
    assert {sort for sorts in whole.values() for sort in sorts} == {"slow", "first_token", "error", "empty"}
    assert max(len(picks) for sorts in whole.values() for picks in sorts.values()) == 3
    assert _by_value(_of(log, [rng.randrange(1, 60) for _ in range(100)])) == _by_value(whole)


def _of(log: Log, sizes: list[int]) -> Slots:
    """The slots of a log that is read in pieces of so many lines; lines have no ids, so these differ by the cut."""
    totals, place = Totals(settings()), 0
    for size in sizes:
        data = b"".join(said.raw for said in log[place : place + size])
        if data:
            tally(totals, Servers(), block(data), lambda: (BEGIN + DAY) * 1000, None)
        place += size
    assert place >= len(log)
    totals.fold()
    return totals.buckets.clearest


def _by_value(slots: Slots) -> dict[Any, Any]:
    return {key: {sort: [pick[:2] for pick in picks] for sort, picks in sorts.items()} for key, sorts in slots.items()}


def _slots(path: Path, size: int) -> Slots:
    totals = Totals(Settings.model_validate({"logs": {"paths": ["-"]}}))
    for each in blocks(str(path), size=size):
        tally(totals, Servers(), each, lambda: (BEGIN + DAY) * 1000, None)
    totals.fold()
    return totals.buckets.clearest


def _times(millisecond: int) -> Any:
    return np.array([millisecond])


def test_an_alert_about_a_server_names_no_requests() -> None:
    log = requests(0, END) + heartbeats(0, BAD)
    found: Alert = firing(alerts(log), "server_gone")

    assert found.examples == []


def test_of_equally_clear_requests_the_same_are_named_however_they_were_added_up() -> None:
    said = requests(0, 1, every_s=1.0, **FAILED)[0]
    log = [Said(0.0, {**said.line, "id": make_line_id(BEGIN * 1000, bytes([number]) * 10)}) for number in range(8)]

    def named(pieces: int) -> set[str]:
        totals = Totals(settings())
        for start in range(0, 8, 8 // pieces):
            data = b"".join(each.raw for each in log[start : start + 8 // pieces])
            tally(totals, Servers(), block(data), lambda: (BEGIN + DAY) * 1000, None)
            totals.fold()
        return {pick.id for sorts in totals.buckets.clearest.values() for pick in sorts["error"]}

    assert len(named(1)) == 3
    assert named(1) == named(2) == named(8)
