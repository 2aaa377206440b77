"""Holds what logproc has against the truth, and names every difference."""

from __future__ import annotations

import json
import sqlite3
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

from tests.pipeline import Samples
from tests.torture.truth import Truth

LABELS: Final = {
    "requests": ("model", "operation", "status", "outcome"),
    "tokens": ("model", "type"),
    "finish_reasons": ("model", "reason"),
    "cached_tokens": ("model",),
    "request_duration_seconds": ("model", "operation"),
    "time_to_first_token_seconds": ("model", "operation"),
    "time_per_output_token_seconds": ("model", "operation"),
    "queue_time_seconds": ("model",),
    "prefill_time_seconds": ("model",),
    "decode_time_seconds": ("model",),
}
SHOWN: Final = 20
"""So many differences of one kind are named."""

Rows = dict[tuple[str, ...], float]


def counter_differences(found: Samples, truth: Truth) -> list[str]:
    """Everything on /metrics that the truth knows: counters, histograms, lines, bytes, documents."""
    return list(_counters(found, truth)) + list(_histograms(found, truth)) + list(_own(found, truth))


def rows(found: Samples, name: str, labels: tuple[str, ...]) -> Rows:
    """One metric's samples by the values of its labels; a sample with other labels is not among them."""
    return {
        tuple(dict(pairs)[label] for label in labels): value
        for (metric, pairs), value in found.items()
        if metric == name and {label for label, _ in pairs} == set(labels)
    }


def _unequal(name: str, found: Mapping[tuple[str, ...], float], expected: Mapping[tuple[str, ...], float]) -> list[str]:
    """Where two tables differ; a row that is missing is 0."""
    return [
        f"{name}{{{', '.join(key)}}}: {found.get(key, 0):.6f}, must be {expected.get(key, 0):.6f}"
        for key in sorted(found.keys() | expected.keys())
        if found.get(key, 0) != expected.get(key, 0)
    ]


def _counters(found: Samples, truth: Truth) -> Iterator[str]:
    for name in ("requests", "tokens", "finish_reasons", "cached_tokens"):
        expected: Rows = {labels: count for (metric, labels), count in truth.counters.items() if metric == name}
        yield from _unequal(name, rows(found, f"llm_{name}_total", LABELS[name]), expected)


def _histograms(found: Samples, truth: Truth) -> Iterator[str]:
    for name in (name for name in LABELS if name.endswith("_seconds")):
        labels = LABELS[name]
        buckets = rows(found, f"llm_{name}_bucket", ("le", *labels))
        values = {key: each for (metric, key), each in truth.values.items() if metric == name}
        edges = sorted({float(edge) for edge, *_ in buckets})
        texts = {float(edge): edge for edge, *_ in buckets}
        edges_ms = [edge * 1000 for edge in edges]
        expected: Rows = {}
        for key, each in values.items():
            counts = [0] * len(edges)
            for value in each:
                counts[bisect_left(edges_ms, value)] += 1
            for edge, count in zip(edges, accumulate(counts), strict=True):
                expected[texts[edge], *key] = count
        yield from _unequal(f"{name}_bucket", buckets, expected)
        counts_of: Rows = {key: len(each) for key, each in values.items()}
        yield from _unequal(f"{name}_count", rows(found, f"llm_{name}_count", labels), counts_of)
        sums: Rows = {key: sum(round(value * 1000) for value in each) / 1e6 for key, each in values.items()}
        yield from _unequal(f"{name}_sum", rows(found, f"llm_{name}_sum", labels), sums)


def _own(found: Samples, truth: Truth) -> Iterator[str]:
    """The counters of both consumers about themselves."""
    lines: Rows = {}
    for consumer in ("measure", "index"):
        lines |= {(consumer, "ok"): truth.good, (consumer, "rejected"): truth.rejected.total()}
    yield from _unequal("lines", rows(found, "logproc_lines_total", ("consumer", "result")), lines)
    read: Rows = {("measure",): truth.bytes, ("index",): truth.bytes}
    yield from _unequal("bytes", rows(found, "logproc_bytes_total", ("consumer",)), read)
    reasons: Rows = {(reason,): count for reason, count in truth.rejected.items()}
    yield from _unequal("lines_rejected", rows(found, "logproc_lines_rejected_total", ("reason",)), reasons)
    lost = found.get(("logproc_file_events_total", (("event", "lost"),)), 0)
    yield from _unequal("file_events", {("lost",): lost}, {})
    stored = len(truth.documents) + len(truth.servers)
    documents: Rows = {("sqlite", "stored"): stored, ("sqlite", "duplicate"): truth.repeats.total()}
    yield from _unequal("documents", rows(found, "logproc_documents_total", ("store", "result")), documents)


def stored_differences(found: Samples, state: Path, truth: Truth) -> list[str]:
    """The documents one by one, the flags on them against the flags counted, and the rejected lines one by one."""
    return [*_documents(found, state / "documents", truth), *_rejected(state / "rejected", truth)]


def _documents(found: Samples, folder: Path, truth: Truth) -> Iterator[str]:
    missing = dict(truth.documents)
    flags: Counter[tuple[str, ...]] = Counter()
    wrong = 0
    for path in sorted(folder.glob("2*.db")):
        for identity, time_ms, status, prompt, completion, model, raised in _read(
            path, "SELECT id, time_ms, status, prompt_tokens, completion_tokens, model, flags FROM requests"
        ):
            facts = (time_ms, status, prompt, completion)
            if missing.pop(identity, None) != facts:
                wrong += 1
                if wrong <= SHOWN:
                    yield f"document {identity.hex()} {facts}: must be {truth.documents.get(identity, 'not there')}"
            for flag in (raised or "").split(","):
                if flag:
                    flags[flag, model or "unknown"] += 1 + truth.repeats[identity]
    for identity, lost in list(missing.items())[:SHOWN]:
        yield f"document {identity.hex()} {lost}: not there"
    if len(missing) > SHOWN or wrong > SHOWN:
        yield f"{len(missing)} documents are not there, {wrong} are wrong or too many"
    servers = {identity for (identity,) in _read(folder / "servers.db", "SELECT id FROM servers")}
    if servers != truth.servers:
        yield f"heartbeats: {len(truth.servers - servers)} are not there, {len(servers - truth.servers)} too many"
    yield from _unequal("flags", rows(found, "llm_flags_total", ("kind", "model")), flags)


def _read(path: Path, query: str) -> Iterator[tuple[Any, ...]]:
    if path.exists():
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        yield from connection.execute(query)
        connection.close()


def _rejected(folder: Path, truth: Truth) -> Iterator[str]:
    found: Counter[tuple[int, int, str, str]] = Counter()
    for path in sorted(folder.glob("measure.jsonl*")):
        for line in path.read_bytes().splitlines():
            entry = json.loads(line)
            found[entry["offset"], entry["length"], entry["reason"], entry["raw"]] += 1
    for what, entries in (("not there", truth.rejected_lines - found), ("too many", found - truth.rejected_lines)):
        for (offset, length, reason, _), count in list(entries.items())[:SHOWN]:
            yield f"rejected line at {offset}, {length} bytes, {reason}: {count} {what}"
