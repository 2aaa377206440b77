"""`rejected/measure.jsonl`: every line that is no record, with its reason; as exact as the counters."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import msgspec

from logproc.decode import Rejection
from logproc.exact_file import ExactFile

RAW_LIMIT: Final = 4096


class RejectedFile(ExactFile):
    """The lines that are no records."""

    def add(self, source: str, rejected: list[Rejection], now_ms: int) -> None:
        """Keep lines to be written with the next commit."""
        time = datetime.fromtimestamp(now_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        for each in rejected:
            entry = {
                "time": time,
                "file": source,
                "offset": each.offset,
                "length": each.length,
                "reason": each.reason,
                "detail": each.detail,
                "raw": each.raw[:RAW_LIMIT].decode("utf-8", "replace"),
            }
            self.append(msgspec.json.encode(entry))
