"""The alerts about hosts: led by their server lines, and by the silence after them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from logproc.alerts.host_detectors import readings
from logproc.alerts.hosts import MOST_HOSTS, Host
from logproc.alerts.lives import Lives
from logproc.alerts.server_lines import Line
from logproc.settings import Thresholds

LOOK_EVERY_S: Final = 10
"""So often a host with an alert is judged though it says nothing."""


class HostAlerts:
    """Knows the hosts and leads the alerts about them."""

    def __init__(self, thresholds: Thresholds, lives: Lives, warm_up_s: int) -> None:
        self.hosts: dict[str, Host] = {}
        self._thresholds = thresholds
        self._lives = lives
        self._warm_up_s = warm_up_s

    def judge(self, lines: Iterable[Line], start: int, end: int) -> None:
        """Judge the seconds from `start` to before `end` by those of the server lines that lie in them."""
        by_host: dict[str, list[Line]] = {}
        for line in sorted((line for line in lines if start <= line.second < end), key=_order):
            by_host.setdefault(line.host, []).append(line)
        for name, said in by_host.items():
            known = self.hosts.get(name)
            if (known is None and len(self.hosts) < MOST_HOSTS) or (known and self._is_over(name, said[0].second)):
                self.hosts[name] = Host(said[0].second)
        for name, host in sorted(self.hosts.items()):
            place = start
            for line in by_host.get(name, ()):
                for second in self._looks(name, host, place, line.second):
                    self._look(name, host, second)
                host.take(line)
                self._look(name, host, line.second)
                place = line.second + 1
            for second in self._looks(name, host, place, end):
                self._look(name, host, second)

    def _looks(self, name: str, host: Host, start: int, end: int) -> Iterator[int]:
        """The seconds from `start` to before `end` at which a host is judged though it says nothing."""
        deadlines = {second for second in host.deadlines(self._thresholds.server_gone_s) if start <= second < end}
        for second in sorted(deadlines.union(range(start + -start % LOOK_EVERY_S, end, LOOK_EVERY_S))):
            if second in deadlines or self._lives.has_host(name):
                yield second

    def _look(self, name: str, host: Host, second: int) -> None:
        is_warm = second >= host.first + self._warm_up_s
        for reading in readings(host, second, self._thresholds):
            if is_warm or reading.kind == "cold_start":  # of a new server nothing else is known
                self._lives.follow((reading.kind, "", name), second, reading)

    def forget(self, second: int) -> None:
        """Let go of hosts of which nothing is expected any more."""
        for name in [name for name in self.hosts if self._is_over(name, second)]:
            del self.hosts[name]

    def _is_over(self, name: str, second: int) -> bool:
        return self.hosts[name].is_forgotten(second) and not self._lives.has_host(name)


def _order(line: Line) -> tuple[int, str, str, str]:
    return line.second, line.host, line.pid, line.event
