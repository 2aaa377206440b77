"""What was rejected and then mended by a person is fed back by `replay --store`, once, where it belongs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from logproc.settings import Settings
from logproc.stores.backfill import backfill
from logproc.stores.mended import is_rejected_file
from logproc.stores.store import Written
from tests.lines import raw, request
from tests.pipeline import Pipeline
from tests.stores.documents_of import all_in

BROKEN = b'{"time":"2026-03-31T10:00:00Z","method":"POST"\n'


def rejected_line(line: bytes, offset: int) -> dict[str, Any]:
    told = {"time": "2026-03-31T11:00:00.000Z", "file": "/logs/access.jsonl", "offset": offset, "length": len(line)}
    return {**told, "reason": "not_json", "detail": "x", "raw": line.decode().rstrip("\n")}


def settings_in(folder: Path) -> Settings:
    return Settings.model_validate(
        {"logs": {"paths": ["-"]}, "state": str(folder / "state"), "store": {"keep_days": 36500}}
    )


def stored(folder: Path, *entries: Any) -> tuple[Written, list[dict[str, Any]]]:
    path = folder / "mended.jsonl"
    path.write_text("".join(each if isinstance(each, str) else json.dumps(each) + "\n" for each in entries))
    written = backfill([path], settings_in(folder))
    return written, all_in(folder / "state" / "documents")


def test_a_mended_line_becomes_a_document_of_the_place_where_it_stood_and_only_once(tmp_path: Path) -> None:
    entries = [rejected_line(raw(request(client=f"{i}")), 1000 + i) for i in range(3)]
    written, found = stored(tmp_path, *entries, rejected_line(BROKEN, 5))
    assert written == Written(stored=3, rejected=1)
    assert {(each["log.file.path"], each["log.offset"]) for each in found} == {
        ("/logs/access.jsonl", 1000 + i) for i in range(3)
    }
    written, again = stored(tmp_path, *entries)
    assert written == Written(duplicate=3)
    assert again == found


def test_a_mended_document_is_stored_under_its_own_id(tmp_path: Path) -> None:
    _, (document,) = stored(tmp_path / "", rejected_line(raw(request(client="a", ttft_ms=5.5, odd=1)), 7))
    entry = {"time": "x", "file": "/logs/access.jsonl", "offset": 7, "length": 9, "reason": "refused", "detail": "x"}
    mended = {**document, "llm.extra": {"odd": 1}, "source.address": "b"}
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    written, (found,) = stored(
        elsewhere, {**entry, "event_id": document["event.id"], "error_type": "x", "document": mended}
    )
    assert written == Written(stored=1)
    assert found["event.id"] == document["event.id"]
    assert found["source.address"] == "b"
    unchanged = set(document) - {"source.address", "llm.extra"}
    assert {name: found[name] for name in unchanged} == {name: document[name] for name in unchanged}


def test_what_is_no_entry_among_entries_is_rejected_and_stops_nothing(tmp_path: Path) -> None:
    good = rejected_line(raw(request()), 0)
    odd = ["\n", "no json\n", '{"raw": 5}\n', '{"offset": -5, "raw": "x"}\n', '{"offset": 1e400}\n']
    written, found = stored(tmp_path, good, *odd, {**good, "offset": 99, "file": "/other"})
    assert (written.stored, len(found)) == (2, 2)
    assert written.rejected == 4  # a blank line is nothing


def test_only_a_file_of_entries_is_taken_for_one(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    for data, is_one in (
        (raw(request(raw="x")), False),
        (json.dumps(rejected_line(raw(request()), 0)).encode() + b"\n", True),
        (b"", False),
        (b"\xff\n", False),
        (b"[" * 100_000, False),
    ):
        path.write_bytes(data)
        assert is_rejected_file(path) is is_one
    assert not is_rejected_file(tmp_path)


def test_the_rejected_lines_of_a_run_can_be_mended_and_replayed(tmp_path: Path) -> None:
    log = tmp_path / "access.jsonl"
    log.write_bytes(BROKEN)
    pipeline = Pipeline(tmp_path, [str(log)], store={"keep_days": 36500})
    assert pipeline.run("--once").returncode == 0
    rejected = pipeline.state / "rejected" / "measure.jsonl"
    entry = json.loads(rejected.read_text())
    mended = tmp_path / "mended.jsonl"
    mended.write_text(json.dumps({**entry, "raw": raw(request()).decode()}) + "\n")
    command = [sys.executable, "-m", "logproc", "replay", "--store", str(pipeline.file), str(mended)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stderr.strip()) == (0, "")
    assert done.stdout == "documents: 1 stored, 0 duplicate, 0 expired, 0 rejected\n"
    (document,) = all_in(pipeline.state / "documents")
    assert document["log.file.path"] == str(log)
