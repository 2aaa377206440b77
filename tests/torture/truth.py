"""What must have been counted: every line of the ledger recounted, with no code of logproc."""

from __future__ import annotations

import base64
import json
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import datetime
from hashlib import blake2b

from tests.oracle import recount
from tests.torture.ledger import Written

MANY = 5000
LONGEST = 1 << 20
RAW_KEPT = 4096
COUNTERS = {"requests": "requests", "tokens": "tokens", "finish_reasons": "finish", "cached_tokens": "cached"}
"""Counter → its counts in a `Recount`."""
HISTOGRAMS = {
    "request_duration_seconds": "durations",
    "time_to_first_token_seconds": "ttft",
    "time_per_output_token_seconds": "per_token",
    "queue_time_seconds": "queue",
    "prefill_time_seconds": "prefill",
    "decode_time_seconds": "decode",
}
"""Histogram → its values in a `Recount`."""


class Truth:
    """Running sums over all lines; documents and rejected lines one by one."""

    def __init__(self) -> None:
        self.bytes = 0
        self.good = 0
        self.rejected: Counter[str] = Counter()
        self.counters: Counter[tuple[str, tuple[str, ...]]] = Counter()
        """(metric without namespace, label values in the order of the metric) → count."""
        self.values: dict[tuple[str, tuple[str, ...]], array[float]] = defaultdict(lambda: array("d"))
        """(histogram, label values) → every value, ms."""
        self.documents: dict[bytes, tuple[int, int, int | None, int | None]] = {}
        """Id → time (ms since 1970), status, prompt tokens, completion tokens."""
        self.servers: set[bytes] = set()
        self.repeats: Counter[bytes] = Counter()
        """Id → how often its line came again."""
        self.rejected_lines: Counter[tuple[int, int, str, str]] = Counter()
        """(offset, length, reason, beginning of the line)."""
        self._first_lines: dict[int, bytes] = {}

    @property
    def lines(self) -> int:
        """Lines that are not blank."""
        return self.good + self.rejected.total()

    def add(self, lines: Iterable[Written]) -> None:
        """Count lines, which come in the order of their streams."""
        pending: list[bytes] = []
        for line in lines:
            self.bytes += len(line.raw)
            if not line.offset:
                self._first_lines[line.stream] = blake2b(line.raw[:-1][:LONGEST], digest_size=16).digest()
            if line.reason == "blank":
                continue
            pending.append(line.raw)
            if line.reason in ("good", "repeated"):
                self.good += 1
                self._document(line)
            else:
                self.rejected[line.reason] += 1
                raw = line.raw[:-1]
                entry = (line.offset, len(raw), line.reason, raw[:RAW_KEPT].decode("utf-8", "replace"))
                self.rejected_lines[entry] += 1
            if len(pending) == MANY:
                self._count(pending)
                pending = []
        self._count(pending)

    def _document(self, line: Written) -> None:
        record = json.loads(line.raw)
        time_ms = round(datetime.fromisoformat(record["time"]).timestamp() * 1000)
        if "id" in record:
            identity = base64.urlsafe_b64decode(record["id"] + "==")
        else:
            place = self._first_lines[line.stream] + line.offset.to_bytes(8, "big")
            identity = time_ms.to_bytes(6, "big") + blake2b(place + line.raw[:-1], digest_size=10).digest()
        if "event" in record:
            assert identity not in self.servers
            self.servers.add(identity)
        elif identity in self.documents:
            assert line.reason == "repeated"
            self.repeats[identity] += 1
        else:
            facts = (time_ms, record["status"], record["prompt_tokens"], record["completion_tokens"])
            self.documents[identity] = facts

    def _count(self, raw: list[bytes]) -> None:
        found = recount(raw)
        assert found.lines + found.rejected == len(raw)
        for name, field in COUNTERS.items():
            for labels, count in getattr(found, field).items():
                self.counters[name, _tuple(labels)] += count
        for name, field in HISTOGRAMS.items():
            for labels, values in getattr(found, field).items():
                self.values[name, _tuple(labels)].extend(values)


def _tuple(labels: str | tuple[str, ...]) -> tuple[str, ...]:
    return (labels,) if isinstance(labels, str) else labels
