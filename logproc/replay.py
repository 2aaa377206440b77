"""Old logs to the end: the same counting as in `run`, without state, on one or several processes."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from logproc.alerts.alert import Alert
from logproc.alerts.buckets import Buckets, Packed
from logproc.alerts.columns import Columns
from logproc.alerts.server_lines import Line
from logproc.batch import read
from logproc.clock import now_ms
from logproc.events import Gathered
from logproc.flags import FLAGS
from logproc.kinds import Kinds
from logproc.measure.servers import Servers
from logproc.measure.tally import tally
from logproc.measure.totals import Totals
from logproc.record import OUTCOMES
from logproc.replay_alerts import Read, ReplayJudge
from logproc.settings import Settings
from logproc.sketch import Bins, quantiles
from logproc.tailing.block import Block
from logproc.tailing.once import blocks
from logproc.tailing.packed import kind_of

LEAST_SHARE: Final = 8 << 20
"""A smaller part of a file is not worth a process of its own, bytes."""

MOST_SHARE: Final = 64 << 20
"""A larger part would hold too many buckets before they can be judged, bytes."""

MOST_BUCKETS: Final = 4096
"""So many buckets are gathered before they are judged, where that can be done at once."""

MOST_SERIES: Final = 100_000

Told = Callable[[int], None]
"""Called with the number of bytes of the file (packed as it lies) that were done since the last call."""


@dataclass(frozen=True)
class Part:
    """A share of the work: one file, or a byte range of one that is not packed."""

    path: Path
    start: int = 0
    end: int | None = None

    @property
    def is_stdin(self) -> bool:
        """Whether it is the standard input."""
        return str(self.path) == "-"


@dataclass
class Result:
    """What a part, or all of them, came to. Adding two results up loses nothing."""

    counts: dict[str, dict[tuple[str, ...], int]] = field(default_factory=dict)
    duration_bins: Bins | None = None
    ttft_bins: Bins | None = None
    longest_ms: dict[str, float] = field(default_factory=lambda: {"duration_ms": 0.0, "ttft_ms": 0.0})
    buckets: Packed | None = None
    lines: list[Line] = field(default_factory=list)
    newest_s: int = -1

    def add(self, other: Result) -> None:
        """Merge another result into this one."""
        for name, rows in other.counts.items():
            mine = self.counts.setdefault(name, {})
            for labels, count in rows.items():
                mine[labels] = mine.get(labels, 0) + count
        for name in ("duration_bins", "ttft_bins"):
            theirs, ours = getattr(other, name), getattr(self, name)
            setattr(self, name, theirs if ours is None else ours if theirs is None else ours + theirs)
        for name, value in other.longest_ms.items():
            self.longest_ms[name] = max(self.longest_ms[name], value)


def check_readable(files: Sequence[Path], *, twice: bool = False) -> None:
    """Raise the OSError of the first file that cannot be opened, or not a second time, before any work is done."""
    for path in files:
        is_pipe = str(path) == "-" or path.is_fifo()
        if is_pipe and twice:
            raise OSError(errno.ESPIPE, "a pipe cannot be read twice, as --store would: write it to a file first", path)
        if not is_pipe:  # whoever writes into a pipe would see its reader go
            path.open("rb").close()


def replay(
    files: Sequence[Path], settings: Settings, *, workers: int = 1, told: Told = lambda _: None
) -> dict[str, Any]:
    """Read files to their end and sum them up; the result is the object that `replay --json` prints.

    Raises:
        OSError: a file cannot be opened.
    """
    began = time.monotonic()
    # No scraper suffers from many series here, and a summary must not hide any under `__other__`.
    settings = settings.model_copy(update={"metrics": settings.metrics.model_copy(update={"max_series": MOST_SERIES})})
    parts_of = [_parts(path, workers if settings.logs.wrapped is None else 1) for path in files]
    parts = [part for each in parts_of for part in each]
    numbers = iter(range(len(parts)))
    judge = ReplayJudge(
        settings, [[next(numbers) for _ in each] for each in parts_of], [_begin(part, settings) for part in parts]
    )
    columns = Columns.of(settings.thresholds)
    total = Result()

    def here(number: int) -> None:
        """Read a part in this process, and judge as it goes."""

        def some(read: Read) -> None:
            judge.add(number, read)

        total.add(_work(parts[number], settings, told, some))

    if workers == 1 or len(parts) == 1:
        for number in range(len(parts)):
            here(number)
    else:
        with ProcessPoolExecutor(workers) as pool:
            futures = {pool.submit(_work, part, settings): n for n, part in enumerate(parts) if not part.is_stdin}
            for number, part in enumerate(parts):
                if part.is_stdin:  # other processes do not have it
                    here(number)
            for future in as_completed(futures):
                found, part = future.result(), parts[futures[future]]
                buckets = Buckets.unpack(columns, found.buckets) if found.buckets else Buckets(columns)
                judge.add(futures[future], Read(buckets, found.lines, found.newest_s, is_all=True))
                total.add(found)
                told((part.end if part.end is not None else part.path.stat().st_size) - part.start)
    return summary(total, judge.alerts, len(files), time.monotonic() - began)


def _parts(path: Path, workers: int) -> list[Part]:
    size = path.stat().st_size if _has_ranges(path) else 0
    count = min(max(workers, size // MOST_SHARE), size // LEAST_SHARE)
    if workers == 1 or count <= 1:
        return [Part(path)]
    edges = [size * place // count for place in range(count + 1)]
    return [Part(path, start, end) for start, end in pairwise(edges)]


def _has_ranges(path: Path) -> bool:
    """Whether it is a plain file; what is packed need not be named so."""
    if str(path) == "-" or not path.is_file():
        return False
    with path.open("rb") as file:
        return kind_of(file.read(4)) is None


def _begin(part: Part, settings: Settings) -> int:
    """The second of the first record of a part; -1 where it cannot be told before the part is read."""
    if part.is_stdin or part.path.is_fifo():
        return -1
    gathered, now = Gathered(Kinds()), now_ms()
    for block in _blocks(part, settings):
        batch = read(block, gathered, now)
        if len(gathered):
            first = int(gathered.take().second[0])
            return first if first <= now // 1000 else -1
        if batch.servers:
            return -1
    return -1


def _blocks(part: Part, settings: Settings) -> Iterator[Block]:
    path = str(part.path)
    if part.end is None:
        return blocks(path, wrapped=settings.logs.wrapped)
    return blocks(path, start=part.start, end=part.end)


def _work(
    part: Part, settings: Settings, told: Told = lambda _: None, judged: Callable[[Read], None] | None = None
) -> Result:
    """Read a part. What its buckets are goes to `judged` in pieces, or else into the result."""
    totals, servers, source = Totals(settings), Servers(), str(part.path)
    for block in _blocks(part, settings):
        tally(totals, servers, block, now_ms, None)
        told(block.end - block.start)
        if judged is not None and len(totals.buckets) > MOST_BUCKETS:
            totals.fold()
            judged(Read(*totals.take_buckets(), totals.newest_s[source], is_all=False))
    totals.fold()
    buckets, lines = totals.take_buckets()
    newest = totals.newest_s.get(source, -1)
    if judged is not None:
        judged(Read(buckets, lines, newest, is_all=True))
        buckets, lines = Buckets(buckets.columns), []
    return Result(
        buckets=buckets.pack(),
        lines=lines,
        newest_s=newest,
        counts={
            name: {labels: int(table.cells[row, 0]) for row, labels in enumerate(table.labels)}
            for name, table in totals.tables.items()
            if not table.metric.edges
        },
        duration_bins=totals.duration_bins,
        ttft_bins=totals.ttft_bins,
        longest_ms=totals.longest_ms,
    )


def summary(result: Result, alerts: Sequence[Alert], files: int, seconds: float) -> dict[str, Any]:
    """The object of `replay --json`: whole numbers are exact, percentiles within 1 %, times in ms."""

    def by(name: str, place: int) -> dict[str, int]:
        counts: dict[str, int] = {}
        for labels, count in result.counts.get(name, {}).items():
            counts[labels[place]] = counts.get(labels[place], 0) + count
        return counts

    def tokens(name: str) -> int:
        return sum(result.counts.get(name, {}).values())

    lines, statuses, kinds = by("logproc_lines", 1), by("requests", 2), by("tokens", 1)
    outcomes, flags = by("requests", 3), by("flags", 0)
    return {
        "files": files,
        "bytes": tokens("logproc_bytes"),
        "lines": {name: lines.get(name, 0) for name in ("ok", "rejected", "unrelated")},
        "requests": sum(statuses.values()),
        "outcomes": {name: outcomes.get(name, 0) for name in OUTCOMES} | {k: v for k, v in outcomes.items() if v},
        "statuses": {status: count for status, count in sorted(statuses.items()) if count},
        "tokens": {
            "prompt": kinds.get("prompt", 0),
            "completion": kinds.get("completion", 0),
            "cached": tokens("cached_tokens"),
            "reasoning": tokens("reasoning_tokens"),
        },
        "flags": {name: flags.get(name, 0) for name in FLAGS},
        "rejected": {reason: count for reason, count in by("logproc_lines_rejected", 0).items() if count},
        "alerts": msgspec.to_builtins(alerts),
        "duration_ms": _percentiles(result.duration_bins, result.longest_ms["duration_ms"]),
        "ttft_ms": _percentiles(result.ttft_bins, result.longest_ms["ttft_ms"]),
        "seconds": round(seconds, 3),
    }


def _percentiles(bins: Bins | None, longest: float) -> dict[str, float | None]:
    if bins is None or not np.any(bins):
        return {"p50": None, "p95": None, "p99": None, "max": None}
    found = quantiles(bins, (0.5, 0.95, 0.99))
    near = {
        name: round(min(value, longest), 3) if value is not None else None
        for name, value in zip(("p50", "p95", "p99"), found, strict=True)
    }
    return near | {"max": round(longest, 3)}
