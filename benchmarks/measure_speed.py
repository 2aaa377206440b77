"""How fast `measure` is against the bare decoder: the same file, the same process, taking turns.

    python benchmarks/make_log.py 1000000 /tmp/million.jsonl
    python benchmarks/measure_speed.py /tmp/million.jsonl

"bare" is msgspec's `decode_lines` over 256 KiB blocks into a struct of the log's own fields, in the log's own order,
and nothing else. "measure" is the real consumer: read, decode, full metric set, flags, a commit every 100 ms.
Both are CPU seconds of one thread, so that a noisy machine disturbs less; compare the ratios.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import pstats
import statistics
import tempfile
import time
from pathlib import Path

import msgspec

from logproc.consumer import Feeder
from logproc.measure.measure import Measure
from logproc.settings import Settings
from logproc.tailing.follower import Follower
from logproc.tailing.wake import Waker

BLOCK = 256 * 1024


def bare_struct(path: Path) -> type[msgspec.Struct]:
    """A struct of the fields that stand in the first lines of the file, typed as they are there."""
    types: dict[str, set[type]] = {}
    with path.open("rb") as file:
        for _, line in zip(range(2000), file, strict=False):
            for name, value in json.loads(line).items():
                types.setdefault(name, set()).add(type(value))
    fields = []
    for name, seen in types.items():
        union: object = None
        for each in seen:
            if each in (str, int, float, bool):
                union = each if union is None else union | each
        fields.append((name, (union | None) if union else object, None))  # type: ignore[operator]
    return msgspec.defstruct("Bare", fields, gc=False, frozen=True)


def bare(path: Path, struct: type[msgspec.Struct]) -> int:
    """Decode the whole file and do nothing with it; the number of lines."""
    decoder, buffer, count = msgspec.json.Decoder(struct), bytearray(BLOCK), 0
    view = memoryview(buffer)
    with path.open("rb", buffering=0) as file:
        offset = 0
        while got := os.preadv(file.fileno(), [buffer], offset):
            end = buffer.rfind(b"\n", 0, got) + 1
            count += len(decoder.decode_lines(view[:end]))
            offset += end
    return count


def measure(path: Path) -> int:
    """The real thing, from the first byte to the last commit; the number of lines."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.model_validate({"logs": {"paths": [str(path)]}, "state": folder})
        consumer = Measure(settings, Path(folder))
        follower = Follower([str(path)], first_start=True)
        Feeder(consumer, follower, Waker([str(path)], 1.0), once=True).run()
        _, cells = consumer.published()["logproc_lines"]
        consumer.close()
        return int(cells.sum())


def timed(step: object, *arguments: object) -> tuple[float, int]:
    assert callable(step)
    began = time.thread_time()
    count = step(*arguments)
    return time.thread_time() - began, count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--profile", action="store_true")
    given = parser.parse_args()
    if given.profile:
        with cProfile.Profile() as profile:
            measure(given.file)
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)
        return
    struct = bare_struct(given.file)
    rows = []
    for _ in range(given.runs):
        bare_s, lines = timed(bare, given.file, struct)
        measure_s, counted = timed(measure, given.file)
        assert counted == lines, f"{counted} lines counted of {lines}"
        rows.append((bare_s / lines * 1e9, measure_s / lines * 1e9, bare_s / measure_s))
    bare_ns, measure_ns, ratio = (statistics.median(column) for column in zip(*rows, strict=True))
    result = {"bare_ns_per_line": round(bare_ns), "measure_ns_per_line": round(measure_ns), "ratio": round(ratio, 3)}
    if given.json:
        print(json.dumps(result))
    else:
        ratios = [row[2] for row in rows]
        print(f"bare decoder   {bare_ns:6.0f} ns/line")
        print(f"measure        {measure_ns:6.0f} ns/line, {1e6 / measure_ns:,.0f} k lines per CPU second")
        print(f"ratio          {ratio:.3f} of the bare decoder ({min(ratios):.3f} to {max(ratios):.3f})")


if __name__ == "__main__":
    main()
