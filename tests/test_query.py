"""`logproc query` finds what a plain recount finds, says clearly what it cannot do, and shows texts safely."""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from math import ceil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logproc.ids import id_bytes
from logproc.query import run_query
from logproc.question import Asked, UsageError, moment_ms, span_ms
from logproc.record import DAY_MS, MOST, make_line_id
from logproc.stores.archive import Archive, Position, Question
from logproc.stores.documents import time_text
from logproc.stores.sqlite_archive import SqliteArchive
from tests.lines import NOW_MS, raw
from tests.stores.documents_of import MIDNIGHT_MS, at, documents, read, store_in

LAST_FIVE_DAYS = st.integers(MIDNIGHT_MS - 2 * DAY_MS - 5, NOW_MS)
NAMES = st.sampled_from([None, "a", "b", "it's; --"])


def ask(archive: Archive, **question: Any) -> tuple[int, str, str]:
    """The question as the command line would put it: exit code, output, error output."""
    out, err = io.StringIO(), io.StringIO()
    asked = Asked(**{name: question.pop(name) for name in Asked.__slots__ if name in question})
    code = run_query(archive, asked, out=out, err=err, **{"clock": lambda: NOW_MS, **question})
    return code, out.getvalue(), err.getvalue()


class Shelf:
    """A folder of documents, and the question put to it as the command line would."""

    def __init__(self, folder: Path, *lines: dict[str, Any]) -> None:
        self.folder = folder / "documents"
        self.add(*lines)

    def add(self, *lines: dict[str, Any]) -> None:
        if lines:
            store = store_in(self.folder)
            store.write(documents(*lines), [])
            store.close()

    def ask(self, **question: Any) -> tuple[int, str, str]:
        return ask(SqliteArchive(self.folder), **question)

    def found(self, **question: Any) -> list[dict[str, Any]]:
        code, out, _ = self.ask(form="json", **question)
        assert code == 0
        return [json.loads(line) for line in out.splitlines()]


def line(time_ms: int, id_from: tuple[int, bytes] | None, **fields: Any) -> dict[str, Any]:
    made = {key: value for key, value in at(time_ms, **fields).items() if value is not None or "tokens" in key}
    if id_from is not None:
        skew_ms, tail = id_from
        made["id"] = make_line_id(time_ms + skew_ms, tail)
    return made


LINES = st.lists(
    st.builds(
        line,
        time_ms=LAST_FIVE_DAYS,
        model=NAMES,
        client=NAMES,
        user_id=NAMES,
        api_key_id=NAMES,
        request_id=NAMES,
        trace_id=NAMES,
        status=st.sampled_from([200, 200, 499, 503]),
        finish_reason=st.sampled_from([None, "length"]),
        prompt_tokens=st.sampled_from([None, 0, 7, MOST]),
        completion_tokens=st.sampled_from([None, 0, 20]),
        duration_ms=st.sampled_from([0, 2999.999, 3000, 3000.001, 60_000]),
        id_from=st.one_of(
            st.none(),
            st.tuples(st.integers(-DAY_MS, DAY_MS), st.binary(min_size=10, max_size=10)),
            st.tuples(st.just(0), st.binary(min_size=10, max_size=10)),
        ),
    ),
    max_size=30,
)


def several(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.one_of(st.just([]), st.lists(values, min_size=1, max_size=2))


@settings(max_examples=60, deadline=None)
@given(
    lines=LINES,
    since=st.one_of(st.none(), LAST_FIVE_DAYS),
    until=st.one_of(st.none(), LAST_FIVE_DAYS),
    outcomes=several(st.sampled_from(["ok", "truncated", "client_disconnect", "rejected", "empty"])),
    flags=several(st.sampled_from(["slow", "truncated", "empty_completion", "stall"])),
    models=several(NAMES.filter(bool)),
    clients=several(NAMES.filter(bool)),
    users=several(NAMES.filter(bool)),
    ids=several(NAMES.filter(bool)),
    slower_than=st.sampled_from([None, "3s", "2999ms"]),
    limit=st.integers(0, 5),
    by=st.sampled_from(["model", "client", "user_id", "api_key_id", "outcome"]),
)
def test_answers_are_those_of_a_plain_recount(
    tmp_path_factory: pytest.TempPathFactory,
    lines: list[dict[str, Any]],
    since: int | None,
    until: int | None,
    outcomes: list[str],
    flags: list[str],
    models: list[str],
    clients: list[str],
    users: list[str],
    ids: list[str],
    slower_than: str | None,
    limit: int,
    by: str,
) -> None:
    shelf = Shelf(tmp_path_factory.mktemp("query"), *lines, at(NOW_MS - DAY_MS, client="always there"))
    every = shelf.found(limit=0)
    distinct = {(each.get("id", number), each["time"][:10]) for number, each in enumerate(lines)}
    assert len(every) == len(distinct) + 1
    assert {each["id"] for each in lines if "id" in each} <= {each["event.id"] for each in every}
    if since is not None and until is not None and since >= until:
        since = until = None

    def fits(each: dict[str, Any]) -> bool:
        time_ms = round(datetime.fromisoformat(each["@timestamp"]).timestamp() * 1000)
        bound_ns = {None: -1, "3s": 3e9, "2999ms": 2.999e9}[slower_than]
        return (
            (since is None or time_ms >= since)
            and (until is None or time_ms < until)
            and (not outcomes or each["llm.outcome"] in outcomes)
            and (not flags or bool(set(flags) & set(each.get("llm.flags", ()))))
            and (not models or each.get("gen_ai.request.model") in models)
            and (not clients or each.get("source.address") in clients)
            and (not users or each.get("user.id") in users or each.get("llm.api_key_id") in users)
            and (not ids or each.get("llm.request_id") in ids or each.get("trace.id") in ids)
            and each["event.duration"] > bound_ns
        )

    expected = sorted(filter(fits, every), key=lambda each: (each["@timestamp"], sortable(each)), reverse=True)
    question = {
        "since": None if since is None else time_text(since),
        "to": None if until is None else time_text(until),
        "outcome": outcomes,
        "flag": flags,
        "model": models,
        "client": clients,
        "user": users,
        "id": ids,
        "slower_than": slower_than,
    }
    assert shelf.found(limit=limit, **question) == (expected[:limit] if limit else expected)
    assert shelf.found(limit=0, by=by, **question) == groups_of(expected, by)


def sortable(each: dict[str, Any]) -> bytes:
    return id_bytes(each["event.id"]) or b""


def groups_of(found: list[dict[str, Any]], by: str) -> list[dict[str, Any]]:
    name = {
        "model": "gen_ai.request.model",
        "client": "source.address",
        "user_id": "user.id",
        "api_key_id": "llm.api_key_id",
        "outcome": "llm.outcome",
    }[by]
    groups = []
    for key in {each.get(name) for each in found}:
        members = [each for each in found if each.get(name) == key]
        durations = sorted(each["event.duration"] for each in members)
        groups.append(
            {
                by: key,
                "requests": len(members),
                "outcomes": dict(sorted(Counter(each["llm.outcome"] for each in members).items())),
                "prompt_tokens": sum(each.get("gen_ai.usage.input_tokens", 0) for each in members),
                "completion_tokens": sum(each.get("gen_ai.usage.output_tokens", 0) for each in members),
                "duration_ns": {
                    f"p{percent}": durations[ceil(len(durations) * percent / 100) - 1] for percent in (50, 95, 99)
                },
                "ttft_ms": None,
            }
        )
    return sorted(groups, key=lambda group: (-group["requests"], group[by] is None, group[by] or ""))


@settings(max_examples=30, deadline=None)
@given(lines=LINES, size=st.integers(1, 7), oldest_first=st.booleans())
def test_pages_one_after_the_other_are_the_whole_list(
    tmp_path_factory: pytest.TempPathFactory, lines: list[dict[str, Any]], size: int, oldest_first: bool
) -> None:
    shelf = Shelf(tmp_path_factory.mktemp("pages"), *lines, at(NOW_MS))
    archive = SqliteArchive(shelf.folder)
    whole = list(archive.find(Question(), oldest_first=oldest_first))
    assert whole == sorted(whole, key=lambda each: each.position, reverse=not oldest_first)
    pages: list[Any] = []
    after: Position | None = None
    while page := list(archive.find(Question(), limit=size, after=after, oldest_first=oldest_first)):
        pages += page
        after = page[-1].position
    assert pages == whole


def test_one_request_is_found_by_any_of_its_ids_and_shown_whole(tmp_path: Path) -> None:
    shelf = Shelf(
        tmp_path,
        at(NOW_MS, request_id="req-1", response_id="cmpl-1", trace_id="abc", weather={"rain": True}, ttft_ms=81.5),
        at(NOW_MS - 5, request_id="req-2"),
    )
    (whole,) = shelf.found(id=["req-1"])
    for each in ("cmpl-1", "abc", whole["event.id"]):
        assert shelf.found(id=[each]) == [whole]
    assert len(shelf.found(id=["req-1", "req-2"])) == 2
    _, out, _ = shelf.ask(id=[whole["event.id"]])
    assert "llm.extra" in out
    assert '{"weather":{"rain": true}}' in out
    assert "81500000 ns  (82 ms)" in out


def test_an_id_that_is_known_is_still_held_against_the_other_conditions(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, at(NOW_MS, client="a"))
    event_id = shelf.found()[0]["event.id"]
    assert shelf.found(id=[event_id], client=["b"]) == []
    assert shelf.found(id=[event_id], last="1s") == shelf.found()
    assert shelf.found(id=[event_id], to="1h") == []


def test_the_table_names_its_columns_and_is_newest_first(tmp_path: Path) -> None:
    shelf = Shelf(
        tmp_path,
        at(NOW_MS - 1000, model="first", duration_ms=85),
        at(NOW_MS, model="second", duration_ms=3210, user_id="ann"),
    )
    code, out, err = shelf.ask()
    head, newest, oldest = out.splitlines()
    assert code == 0
    assert head.split("  ")[0] == "time (UTC)"
    assert "second" in newest
    assert "3.21 s" in newest
    assert "slow" in newest
    assert "ann" in newest
    assert "first" in oldest
    assert "85 ms" in oldest
    assert "256 → 128" in oldest
    assert err == ""


def test_a_narrow_terminal_still_says_who_and_where_the_time_went_and_what_it_leaves_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    times = {"queue_ms": 1500.0, "prefill_ms": 20.5, "decode_ms": 700.0}
    shelf = Shelf(tmp_path, at(NOW_MS, model="m" * 40, client="10.0.0.1", user_id="ann", **times))
    out = io.StringIO()
    out.isatty = lambda: True  # type: ignore[method-assign]
    assert run_query(SqliteArchive(shelf.folder), Asked(), out=out, err=io.StringIO()) == 0
    head, row, note = out.getvalue().splitlines()
    assert len(re.sub("\x1b.*?m", "", head)) <= 80
    assert "ann" in row
    assert "queue 1.50 s" in row
    assert "model" not in head
    assert "model" in note
    assert "event.id" not in head
    assert "event.id" in note


def test_the_part_that_took_most_of_the_time_is_shown_and_none_where_the_engine_told_nothing(tmp_path: Path) -> None:
    known = {"queue_ms": 0.0, "prefill_ms": 20.6, "decode_ms": 12.0}
    shelf = Shelf(tmp_path, at(NOW_MS, client="known", **known), at(NOW_MS - 1, client="unknown"))

    _, out, _ = shelf.ask()

    assert "most time" in out
    (row,) = (each for each in out.splitlines() if " known " in each)
    assert "prefill 21 ms" in row
    (row,) = (each for each in out.splitlines() if " unknown " in each)
    assert not any(part in row for part in ("queue", "prefill", "decode"))


def test_more_than_the_limit_is_said(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, *(at(NOW_MS - i, client=f"{i}") for i in range(5)))
    _, out, err = shelf.ask(limit=2)
    assert len(out.splitlines()) == 3
    assert err == "The newest 2 are shown; --limit 0 shows all.\n"
    _, _, err = shelf.ask(limit=2, by="client")
    assert err == "The largest 2 of 5 are shown; --limit 0 shows all.\n"
    assert shelf.ask(limit=0)[2] == ""


HOSTILE = "\x1b]0;owned\x07\x9b31m\u202e\r\n[red]=cmd"


@pytest.mark.parametrize("form", ["table", "json", "csv"])
@pytest.mark.parametrize("question", [{}, {"by": "client"}, {"id": [HOSTILE]}, {"sql": "SELECT * FROM requests"}])
def test_a_hostile_text_cannot_do_anything_to_the_terminal(tmp_path: Path, form: str, question: dict[str, Any]) -> None:
    shelf = Shelf(tmp_path, at(NOW_MS, client=HOSTILE, request_id=HOSTILE, model=HOSTILE, **{HOSTILE: [HOSTILE]}))
    code, out, _ = shelf.ask(form=form, **question)
    assert code == 0
    assert "[red]" in out
    assert not [character for character in out if not character.isprintable() and character != "\n"]
    if form == "json" and not question:
        (document,) = map(json.loads, out.splitlines())
        assert document["source.address"] == HOSTILE
        assert document["llm.extra"] == {HOSTILE: [HOSTILE]}


def test_json_stays_json_when_an_unknown_field_holds_tabs_between_its_tokens(tmp_path: Path) -> None:
    data = raw(at(NOW_MS))[:-2] + b',"odd":{\t"a" :\t[1,\r2] } }\n'
    store = store_in(tmp_path / "documents")
    store.write(read(data).requests, [])
    store.close()
    assert Shelf(tmp_path).found()[0]["llm.extra"] == {"odd": {"a": [1, 2]}}


def test_csv_has_every_field_as_a_column(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, at(NOW_MS, client='a"b,c', duration_ms=5000, stream=True, odd={"x": 1}))
    _, out, _ = shelf.ask(form="csv")
    (row,) = csv.DictReader(io.StringIO(out))
    assert row["source.address"] == 'a"b,c'
    assert row["event.duration"] == "5000000000"
    assert row["llm.flags"] == "slow"
    assert row["llm.stream"] == "true"
    assert json.loads(row["llm.extra"]) == {"odd": {"x": 1}}
    assert row["llm.ttft"] == ""


def test_parquet_has_every_document_with_its_types(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    lines = [at(NOW_MS - i, client=f"{i}", duration_ms=5000, stream=True, odd={"x": [i]}) for i in range(120)]
    shelf = Shelf(tmp_path, *lines, at(NOW_MS, status=503, prompt_tokens=None))
    target = tmp_path / "found.parquet"
    code, out, err = shelf.ask(parquet=target, limit=0, client=[f"{i}" for i in range(100)])
    assert (code, out, err) == (0, "", f"100 requests are in {target}.\n")
    rows = parquet.read_table(target).to_pylist()
    found = list(reversed(shelf.found(limit=0, client=[f"{i}" for i in range(100)])))
    for row, document in zip(rows, found, strict=True):
        assert row["id"] == document["event.id"]
        assert row["time"] == datetime.fromisoformat(document["@timestamp"])
        assert (row["duration_ns"], row["flags"], row["stream"]) == (5_000_000_000, document["llm.flags"], True)
        assert json.loads(row["extra"]) == document["llm.extra"]
        assert row["ttft_ns"] is None
    assert [each.name for each in tmp_path.iterdir() if each.is_file()] == ["found.parquet"]
    code, _, err = shelf.ask(parquet=tmp_path / "missing" / "x.parquet")
    assert code == 1
    assert "cannot be written" in err


def test_parquet_without_its_package_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    code, _, err = Shelf(tmp_path, at(NOW_MS)).ask(parquet=tmp_path / "x")
    assert code == 2
    assert "pip install pyarrow" in err


def test_sql_sees_the_range_and_can_only_read(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, *(at(NOW_MS - DAY_MS * day, client=f"{day}", duration_ms=day) for day in range(4)))
    question = "SELECT client, event_id(id) AS event FROM requests ORDER BY 1"
    everything = shelf.found(sql=question)
    assert [each["client"] for each in everything] == ["0", "1", "2", "3"]
    assert {each["event"] for each in everything} == {each["event.id"] for each in shelf.found()}
    assert [each["client"] for each in shelf.found(sql=question, since="36h", to="12h")] == ["1"]
    assert shelf.found(sql="SELECT percentile(duration_ns, 50) AS p FROM requests") == [{"p": 1e6}]
    assert shelf.found(sql="SELECT count(*) AS n FROM servers") == [{"n": 0}]
    for statement in (
        "DELETE FROM requests",
        "DELETE FROM requests_0.stored_requests",
        "DROP VIEW temp.requests",
        "CREATE TABLE t (a)",
        f"ATTACH '{tmp_path}/new.db' AS new",
        "PRAGMA query_only=0",
        "VACUUM",
        "BEGIN",
        "SELECT 1; SELECT 2",
        "nonsense",
        "SELECT load_extension('x')",
    ):
        code, out, err = shelf.ask(sql=statement)
        assert (code, out) == (2, ""), statement
        assert err.startswith("logproc: --sql: "), statement
    assert not (tmp_path / "new.db").exists()
    assert len(shelf.found()) == 4


def test_sql_over_too_many_days_says_how_many_it_can(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, *(at(NOW_MS - DAY_MS * day) for day in range(15)))
    code, _, err = shelf.ask(sql="SELECT 1")
    assert code == 1
    assert "days at once, and this range has 15" in err
    assert shelf.found(sql="SELECT count(*) AS n FROM requests", last="60h") == [{"n": 3}]


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ({"outcome": ["emtpy"]}, "Did you mean empty?"),
        ({"flag": ["slowish"]}, "--flag 'slowish' is none of empty_completion, slow,"),
        ({"by": "users"}, "Did you mean user_id?"),
        ({"last": "soon"}, "--last 'soon': expected a span such as 250ms, 3s"),
        ({"last": "5"}, "--last '5': expected a span"),
        ({"slower_than": "-3s"}, "--slower-than '-3s'"),
        ({"since": "yesterday"}, "--from 'yesterday': expected a time such as"),
        ({"since": "1h", "to": "2h"}, "is not before --to"),
        ({"last": "1h", "to": "2h"}, "--last says all"),
        ({"by": "model", "follow": True}, "ask one"),
        ({"follow": True, "to": "now"}, "--follow has no end"),
        ({"sql": "SELECT 1", "client": ["a"]}, "--sql brings its own WHERE"),
        ({"limit": -1}, "--limit"),
    ],
)
def test_what_cannot_be_understood_ends_with_2_and_says_what_can(
    tmp_path: Path, question: dict[str, Any], said: str
) -> None:
    code, out, err = Shelf(tmp_path, at(NOW_MS)).ask(**question)
    assert (code, out) == (2, "")
    assert said in err


def test_no_store_yet_is_said_with_what_to_do(tmp_path: Path) -> None:
    code, out, err = Shelf(tmp_path).ask()
    assert (code, out) == (1, "")
    assert f"no documents in {tmp_path / 'documents'} yet: `logproc run` writes them" in err
    assert err.count("\n") == 1


def test_nothing_found_says_what_was_searched_and_what_there_is(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, at(MIDNIGHT_MS), at(MIDNIGHT_MS - DAY_MS))
    code, out, err = shelf.ask(since="2026-03-31T10:00:00Z", to="2026-03-31T11:00:00Z")
    assert (code, out) == (0, "")
    assert err == (
        "No request matches from 2026-03-31T10:00:00.000Z to 2026-03-31T11:00:00.000Z; "
        "the store holds requests from 2026-03-30T00:00:00.000Z to 2026-03-31T00:00:00.000Z.\n"
    )
    (tmp_path / "empty").mkdir()
    out_text, err_text = io.StringIO(), io.StringIO()
    assert run_query(SqliteArchive(tmp_path / "empty"), Asked(), out=out_text, err=err_text) == 0
    assert "the store holds no request yet" in err_text.getvalue()


def test_a_broken_day_is_named_and_other_days_can_be_asked(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, at(NOW_MS))
    (shelf.folder / "2026-03-30.db").write_bytes(b"no database at all" * 50)
    for question in ({}, {"by": "model"}, {"sql": "SELECT 1"}):
        code, _, err = shelf.ask(**question)
        assert code == 1
        assert "2026-03-30.db cannot be read: file is not a database" in err
    assert len(shelf.found(last="1h")) == 1


def test_a_day_file_of_another_program_beside_ours_is_not_looked_at_when_its_name_is_none_of_ours(
    tmp_path: Path,
) -> None:
    shelf = Shelf(tmp_path, at(NOW_MS))
    (shelf.folder / "2026-99-99.db").write_bytes(b"?")
    (shelf.folder / "notes.db").write_bytes(b"?")
    assert len(shelf.found()) == 1


def test_a_folder_that_may_only_be_read_can_be_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf(tmp_path, at(NOW_MS))
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write anywhere
    assert len(shelf.found()) == 1
    assert sorted(path.name for path in shelf.folder.iterdir()) == ["2026-03-31.db"]


class Looks:
    """Stands in for the time between two looks of --follow: does the next thing, and ends after the last."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        self._steps = list(steps)

    def __call__(self, span_s: float) -> bool:
        if not self._steps:
            return False
        self._steps.pop(0)()
        return True


def test_follow_shows_the_last_ones_and_then_each_new_one_once_also_the_late(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, *(at(NOW_MS - 1000 * back, client=f"old-{back}") for back in range(5)))
    looks = Looks(
        lambda: shelf.add(at(NOW_MS + 10, client="new-1"), at(NOW_MS + 5, client="new-0")),
        lambda: None,
        lambda: shelf.add(at(NOW_MS - 30_000, client="late"), at(NOW_MS + 5000, client="new-2")),
        lambda: shelf.add(at(NOW_MS + DAY_MS // 2, client="tomorrow")),
    )
    shown = [each["source.address"] for each in shelf.found(follow=True, limit=2, wait=looks)]
    assert shown == ["old-1", "old-0", "new-0", "new-1", "late", "new-2", "tomorrow"]


def test_follow_begins_before_there_is_any_store_and_keeps_to_its_conditions(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    looks = Looks(lambda: shelf.add(at(NOW_MS, client="a"), at(NOW_MS + 1, client="b")), lambda: None)
    code, out, _ = shelf.ask(follow=True, client=["b"], wait=looks)
    assert code == 0
    head, row = out.splitlines()
    assert head.startswith("time (UTC)")
    assert "  b  " in row


def test_a_pipe_that_is_closed_early_ends_it_quietly(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, *(at(NOW_MS - i, client=f"{i}" * 50) for i in range(2000)))
    program = (
        "import sys; from pathlib import Path; from logproc.query import run_query; "
        "from logproc.stores.sqlite_archive import SqliteArchive; "
        "from logproc.question import Asked; archive = SqliteArchive(Path(sys.argv[1])); "
        "sys.exit(run_query(archive, Asked(), limit=0, form=sys.argv[2], out=sys.stdout, err=sys.stderr))"
    )
    for form in ("table", "json", "csv"):
        command = [sys.executable, "-c", program, str(shelf.folder), form]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.readline()
            process.stdout.close()
            assert process.stderr.read() == b"", form
            assert process.wait(30) in {0, 1}


def test_ctrl_c_is_the_ordinary_end_of_follow(tmp_path: Path) -> None:
    def interrupted(_: float) -> bool:
        raise KeyboardInterrupt

    assert Shelf(tmp_path, at(NOW_MS)).ask(follow=True, wait=interrupted)[0] == 0


def test_spans_and_moments_are_read_as_people_write_them() -> None:
    assert span_ms("1.5h", "--last") == 5_400_000
    assert span_ms("250ms", "--last") == 250
    assert span_ms("3", "--slower-than", bare_unit="s") == 3000
    assert moment_ms("2026-03-31", 0, "--from") == MIDNIGHT_MS
    assert moment_ms("2026-03-31 01:00", 0, "--from") == MIDNIGHT_MS + 3_600_000
    assert moment_ms("2026-03-31T01:00:00+01:00", 0, "--from") == MIDNIGHT_MS
    assert moment_ms("90s", MIDNIGHT_MS, "--from") == MIDNIGHT_MS - 90_000
    assert moment_ms("now", MIDNIGHT_MS, "--to") == MIDNIGHT_MS
    with pytest.raises(UsageError):
        moment_ms("", 0, "--from")


def test_a_reader_that_stays_open_does_not_keep_the_writer_from_writing(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, *(at(NOW_MS - i, client=f"{i}") for i in range(20)))
    half_read = SqliteArchive(shelf.folder).find(Question())
    next(half_read)
    shelf.add(at(NOW_MS + 1, client="new"))
    assert len(list(half_read)) == 19
    with sqlite3.connect(shelf.folder / "2026-03-31.db") as connection:
        assert connection.execute("SELECT count(*) FROM requests").fetchone() == (21,)
