"""The torturer: alerts come, channels fail, Alertmanager sends; the process is killed, at some stage or at random."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final

from logproc.alerts.alert import Alert
from logproc.stores.documents import time_text
from tests.notify.alerts import Record, alert, rows
from tests.pipeline import until
from tests.services.process import free_port
from tests.torture.notify import audit
from tests.torture.notify.channels import Channels, Stage
from tests.torture.notify.victim import FastClock

STAGES: Final = ("random", "starting", "planning", "asked", "taken", "answered", "relaying")
LONGEST_ROUND_S: Final = 3.0
STORM: Final = 150
MOST_RELAYED: Final = 8
"""Groups that are on their way at the same time."""


@dataclass
class Verdict:
    """What came of it."""

    kills: Counter[str] = field(default_factory=Counter)
    alerts: int = 0
    entries: int = 0
    groups: int = 0
    messages: int = 0
    repeats: dict[str, int] = field(default_factory=dict)
    most_in_a_minute: int = 0
    seconds: float = 0.0
    differences: list[str] = field(default_factory=list)

    @property
    def line(self) -> str:
        """A few lines for a person."""
        stages = ", ".join(f"{count} {stage}" for stage, count in sorted(self.kills.items()))
        repeats = ", ".join(f"{name} {count}" for name, count in self.repeats.items())
        return (
            f"{'DIFFERENT' if self.differences else 'CERTAIN'}: {self.kills.total():,} kills ({stages}); "
            f"{self.alerts:,} alerts in {self.entries:,} entries, and {self.groups:,} relayed groups, told in "
            f"{self.messages:,} messages; lost {self._count('lost')}, twice under other ids {self._count('twice')}; "
            f"taken again under the same id: {repeats}; at most {self.most_in_a_minute} a minute to DingTalk; "
            f"{self.seconds:.0f} s"
        )

    def _count(self, what: str) -> int:
        return sum(each.startswith(f"{what}:") for each in self.differences)


class Torture:
    """Works in an empty folder; the same seed plays the same story, as far as the machine allows."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._chance = random.Random(seed)
        self._clock = FastClock(time.time())
        self._folder = folder
        self._stage = ""
        self._victim: int | None = None
        self._killed = threading.Event()
        self._entries: list[Alert] = []
        self._firing: dict[int, Alert] = {}
        self._alerts = 0
        self._groups: dict[str, str] = {}
        self._answered: dict[str, str] = {}
        self._relays: list[threading.Thread] = []
        self._port = free_port()
        self._start_s = 0.1
        self._verdict = Verdict()

    def run(self, rounds: int, told: Callable[[], None] = lambda: None) -> Verdict:
        """Kill so often, then let everything heal and be told, and look. `told` is called after each kill."""
        began = time.monotonic()
        with Channels(self._clock, self._chance, self._reached) as self._channels:
            file = self._write_settings()
            self._record = Record(self._folder)
            command = [sys.executable, "-m", "tests.torture.notify.victim", str(file), repr(self._clock.origin)]
            self._nursery = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            try:
                self._first_start()
                for _ in range(rounds):
                    self._round(self._chance.choice(STAGES))
                    told()
                self._heal()
            finally:
                self._nursery.kill()
                self._nursery.wait()
                self._record.close()
        self._judge()
        self._verdict.seconds = time.monotonic() - began
        return self._verdict

    def _write_settings(self) -> Path:
        settings = {
            "logs": {"paths": ["-"]},
            "state": str(self._folder),
            "http": {"listen": f"127.0.0.1:{self._port}"},
            "alerts": {
                "repeat": None,  # a reminder would hide a loss
                "routes": {
                    "all": {"severity": ["warning", "critical"], "to": ["hook", "robot"], "dedupe": "30d"},
                    "grave": {"severity": ["critical"], "to": ["frail", "mail"]},
                },
            },
            "notifiers": self._channels.notifiers(),
        }
        file = self._folder / "pipeline.yaml"
        file.write_text(json.dumps(settings))
        return file

    # --- one round -------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        assert self._nursery.stdin is not None
        self._killed.clear()
        self._nursery.stdin.write("\n")
        self._nursery.stdin.flush()
        self._victim = int(self._line())

    def _line(self) -> str:
        assert self._nursery.stdout is not None
        return self._nursery.stdout.readline()

    def _kill(self) -> None:
        """SIGKILL: no chance to finish anything. From any thread."""
        if self._victim is not None:
            with suppress(ProcessLookupError):
                os.kill(self._victim, signal.SIGKILL)
        self._killed.set()

    def _bury(self) -> None:
        status = int(self._line())
        if status != -signal.SIGKILL:
            self._verdict.differences.append(f"it ended by itself, with status {status}: see victim.log")

    def _reached(self, stage: Stage) -> bool:
        """A channel was asked, or has taken a message: whether the sender was killed at that."""
        if self._killed.is_set() or self._stage not in (stage, "answered"):
            return False
        if self._stage == "answered":
            if stage == "taken":
                threading.Timer(self._chance.random() * 0.01, self._kill).start()
            return False
        self._kill()
        return True

    def _round(self, stage: str) -> None:
        self._channels.change_moods()
        self._stage = stage
        self._start()
        if stage == "starting":
            self._killed.wait(self._chance.random() * self._start_s)
        else:
            self._wait_until_it_answers()
            self._happens(STORM if self._chance.random() < 0.01 else self._chance.randint(1, 4))
            if stage == "relaying" or self._chance.random() < 0.2:
                self._relay()
            spans = {"random": 0.5, "planning": 0.04, "relaying": 0.1}
            ends = time.monotonic() + (self._chance.random() * spans[stage] if stage in spans else LONGEST_ROUND_S)
            while (left := ends - time.monotonic()) > 0 and not self._killed.wait(min(left, 0.1)):
                self._happens(1)
        self._stage = ""
        self._kill()
        self._bury()
        self._verdict.kills[stage] += 1

    def _wait_until_it_answers(self) -> None:
        began = time.monotonic()
        while not self._killed.is_set():
            with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), timeout=1):
                break
            time.sleep(0.005)
        self._start_s = time.monotonic() - began

    def _happens(self, number: int) -> None:
        """So many things happen to alerts: they begin, get graver or milder, end."""
        made = []
        for _ in range(number):
            what = self._chance.random()
            if what < 0.5 or not self._firing:
                self._alerts += 1
                made.append(self._entry(self._alerts, "firing", self._chance.choice(["warning", "critical"])))
            else:
                which = self._chance.choice(list(self._firing))
                before = self._firing[which]
                if what < 0.8:
                    made.append(self._entry(which, "resolved", before.severity))
                else:
                    other = "warning" if before.severity == "critical" else "critical"
                    made.append(self._entry(which, "firing", other))
        self._record.add(*made)
        self._entries += made

    def _entry(self, number: int, state: str, severity: str) -> Alert:
        since = self._firing[number].since if number in self._firing else time_text(self._clock.ms())
        time.sleep(0.000_01)  # no two changes of one alert at the same time
        entry = alert(number, state, at_ms=self._clock.ms(), since=since, severity=severity, model=f"torture-{number}")
        if state == "firing":
            self._firing[number] = entry
        else:
            self._firing.pop(number, None)
        return entry

    # --- Alertmanager ----------------------------------------------------------------------------------------------

    def _relay(self) -> None:
        """A new group, or the end of one: sent again and again until it is answered with 200, as Alertmanager does."""
        self._relays = [each for each in self._relays if each.is_alive()]
        if len(self._relays) >= MOST_RELAYED:
            return
        ended = [name for name, status in self._answered.items() if status == "firing"]
        name = self._chance.choice(ended) if ended and self._chance.random() < 0.5 else ""
        status = "resolved" if name else "firing"
        name = name or f"torture-{1_000_000 + len(self._groups)}"
        if self._groups.get(name) == status:
            return
        self._groups[name] = status
        thread = threading.Thread(target=self._post, args=(name, status), daemon=True)
        self._relays.append(thread)
        thread.start()

    def _post(self, name: str, status: str) -> None:
        told = {"status": status, "labels": {"alertname": name, "severity": "warning"}, "annotations": {}}
        body: dict[str, Any] = {
            "version": "4", "groupKey": name, "status": status, "receiver": "all",
            "commonLabels": {"alertname": name}, "alerts": [{**told, "fingerprint": name}],
        }  # fmt: skip
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}/relay/alertmanager/all", json.dumps(body).encode()
        )
        while True:
            with suppress(OSError, HTTPException), urllib.request.urlopen(request, timeout=20) as answer:
                assert answer.status == 200
                self._answered[name] = status
                return
            time.sleep(0.01)

    # --- the end ---------------------------------------------------------------------------------------------------

    def _first_start(self) -> None:
        """Before anything happens: on its very first start it tells nothing of the past."""
        self._start()
        until(self._has_planned, "the first plan")
        self._kill()
        self._bury()

    def _has_planned(self) -> bool:
        newest = rows(self._folder / "measure.db", "SELECT ifnull(max(seq), 0) FROM alerts")[0][0]
        try:
            return rows(self._folder / "notify.db", "SELECT seq FROM position") == [(newest,)]
        except OSError:
            return False
        except Exception as error:  # it is being made
            if "no such table" in str(error) or "unable to open" in str(error):
                return False
            raise

    def _heal(self) -> None:
        self._channels.heal()
        self._start()
        for thread in self._relays:
            thread.join(60)
        until(self._has_planned, "everything to be planned")
        waiting = "SELECT count(*) FROM deliveries WHERE state IN ('waiting', 'sending')"
        until(lambda: rows(self._folder / "notify.db", waiting) == [(0,)], "everything to be told", 120)
        self._kill()
        self._bury()

    def _judge(self) -> None:
        verdict, taken = self._verdict, self._channels.taken()
        verdict.differences += [f"lost: {each}" for each in audit.lost(self._entries, taken)]
        verdict.differences += [f"lost: {each}" for each in audit.lost_groups(self._answered, taken)]
        verdict.differences += [f"twice: {each}" for each in audit.told_twice(taken)]
        verdict.alerts, verdict.entries, verdict.groups = self._alerts, len(self._entries), len(self._groups)
        verdict.messages = sum(map(len, taken.values()))
        verdict.repeats = {name: audit.repeats(messages) for name, messages in taken.items()}
        verdict.most_in_a_minute = audit.most_in_a_minute(self._channels.robot_sent_ms())
        if verdict.most_in_a_minute > 20:
            verdict.differences.append(f"{verdict.most_in_a_minute} messages to DingTalk in a minute")
        for name, number in verdict.repeats.items():
            if number > verdict.kills.total():
                verdict.differences.append(f"{name}: {number} repeats after {verdict.kills.total()} kills")
