"""What the benchmarks share: a command with its wall time, CPU and memory, medians with ranges, and a plain table."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SAMPLE_S = 0.01
"""How often a running command is looked at: the resolution of times found that way."""

LOGPROC = [sys.executable, "-m", "logproc"]


@dataclass(frozen=True)
class Usage:
    """What one run of a command took."""

    wall_s: float
    cpu_s: float
    rss_bytes: int
    """The peak of its resident memory."""


@dataclass(frozen=True)
class Spread:
    """Median and range of the runs."""

    median: float
    least: float
    most: float

    def __format__(self, form: str) -> str:
        return f"{self.median:{form}} ({self.least:{form}}-{self.most:{form}})"


def spread(values: Iterable[float]) -> Spread:
    found = list(values)
    return Spread(statistics.median(found), min(found), max(found))


class Watch:
    """Looks at a running process from time to time: CPU seconds so far, and the peak of its memory."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.samples: list[tuple[float, float]] = []
        """(`time.perf_counter()`, CPU seconds until then)"""
        self.rss_bytes = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._ended.wait(SAMPLE_S):
            try:
                self.samples.append((time.perf_counter(), cpu_seconds(self._pid)))
                self.rss_bytes = peak_rss(self._pid) or self.rss_bytes
            except OSError:
                return  # it has ended

    def end(self) -> None:
        self._ended.set()
        self._thread.join()


def cpu_seconds(pid: int) -> float:
    """CPU time of a live process with all its threads, to the nanosecond; its children are not in it."""
    return time.clock_gettime((~pid << 3) | 2)  # Linux's name of another process's CPU clock, as clock_getcpuclockid


def peak_rss(pid: int) -> int:
    """The most memory that was resident, bytes; 0 when the process has just ended.

    The kernel's figure for ended children begins with the size of their parent, and so is of no use for small ones.
    """
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def run_to_end(command: Sequence[str], *, env: dict[str, str] | None = None) -> tuple[Usage, bytes]:
    """A command to its own end, with its children; its usage and what it printed. Raises when it fails."""
    began = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **(env or {})}
    )
    watch = Watch(process.pid)
    errors: list[bytes] = []
    assert process.stdout is not None
    assert process.stderr is not None
    drain = threading.Thread(target=lambda stream=process.stderr: errors.append(stream.read()))
    drain.start()
    printed = process.stdout.read()
    drain.join()
    _, status, resources = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    watch.end()
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: exit {process.returncode}: {errors[0].decode(errors='replace')}")
    return Usage(wall, resources.ru_utime + resources.ru_stime, watch.rss_bytes), printed


def warm(path: Path) -> None:
    """Read a file once, so that every run finds it in the page cache."""
    with path.open("rb", buffering=0) as file:
        while file.read(1 << 20):
            pass


def machine() -> dict[str, Any]:
    """What the numbers are measured on, and how busy it is before the start."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "processor": names[0].partition(":")[2].strip() if names else platform.machine(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_average": round(os.getloadavg()[0], 2),
    }


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """The first column to the left, the others to the right."""
    widths = [max(len(row[place]) for row in (headings, *rows)) for place in range(len(headings))]
    for row in (headings, *rows):
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        print("  ".join([row[0].ljust(widths[0]), *cells[1:]]).rstrip())


def print_machine(here: dict[str, Any]) -> None:
    print(", ".join(f"{name.replace('_', ' ')} {value}" for name, value in here.items()))
