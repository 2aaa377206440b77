"""Alerts in a live `measure`: what /metrics shows of them, what is marked as found too late, and how much is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from logproc.alerts.alert import Alert
from logproc.alerts.clearest import BACK_S, SLOT_S
from logproc.alerts.history import KEEP_S
from logproc.alerts.judge import Judge
from logproc.alerts.record import after
from logproc.measure.measure import Measure
from logproc.measure.servers import Servers
from logproc.measure.tally import tally
from logproc.measure.totals import Totals
from logproc.settings import Settings
from tests.alerts.play import BEGIN, DAY, FAILED, HOUR, MINUTE, Log, heartbeats, requests, second_of, settings
from tests.lines import block

BAD, GOOD_AGAIN, END = 10 * MINUTE, 15 * MINUTE, 25 * MINUTE


class Live:
    """A `measure` whose clock is set by hand."""

    def __init__(self, folder: Path) -> None:
        self.now_s = 0.0
        self._state = folder
        self._offset = 0
        self.start()

    def start(self) -> None:
        thresholds = {"error_ratio": 0.05}
        chosen = Settings.model_validate(
            {"logs": {"paths": ["-"]}, "state": str(self._state), "thresholds": thresholds}
        )
        self.measure = Measure(chosen, self._state, lambda: round((BEGIN + self.now_s) * 1000))

    def restart(self) -> None:
        self.measure.close()
        self.start()

    def read(self, log: Log, upto: float) -> None:
        """Read and commit; log time has come to `upto`."""
        data = b"".join(said.raw for said in log)
        if data:
            self.measure.take(block(data, self._offset))
            self._offset += len(data)
        self.measure.advance(round((BEGIN + upto) * 1000))
        self.measure.commit([], {})

    @property
    def active(self) -> dict[tuple[str, str], float]:
        return {
            (labels["kind"], labels["model"]): value
            for name, labels, value in self.measure.gauges()
            if name == "alert_active"
        }

    @property
    def entries(self) -> list[Alert]:
        return [alert for _, alert in after(self._state / "measure.db", 0)]


def incident() -> Log:
    return requests(0, BAD) + requests(BAD, GOOD_AGAIN, bad=4, **FAILED) + requests(GOOD_AGAIN, END)


def test_what_fires_is_shown_until_it_is_resolved_also_after_a_restart(tmp_path: Path) -> None:
    live, shown = Live(tmp_path), []
    for begin in range(0, END, MINUTE):
        live.now_s = begin + MINUTE
        live.read([said for said in incident() if begin <= said.second < begin + MINUTE], live.now_s)
        live.restart()
        shown.append(live.active.get(("errors", "m")))

    fires, resolved = (second_of(alert.time) // MINUTE for alert in live.entries)
    assert shown[:fires] == [None] * fires
    assert shown[fires:resolved] == [1] * (resolved - fires)
    assert set(shown[resolved + 1 :]) == {0}
    _, cells = live.measure.published()["alerts"]
    assert cells.sum() == 1
    live.measure.close()


def test_an_incident_that_was_over_before_it_was_read_is_recorded_and_not_to_be_sent(tmp_path: Path) -> None:
    live = Live(tmp_path)
    live.now_s = 5 * HOUR
    live.read(incident(), END)

    assert [(alert.state, alert.behind) for alert in live.entries] == [("firing", True), ("resolved", True)]
    live.measure.close()


def test_what_still_fires_when_it_has_caught_up_gets_an_entry_that_is_sent(tmp_path: Path) -> None:
    live = Live(tmp_path)
    log = requests(0, BAD) + requests(BAD, END, bad=4, **FAILED)
    live.now_s = END
    live.read([said for said in log if said.second < END - 200], END - 200)
    live.restart()
    live.read([said for said in log if said.second >= END - 200], END)

    assert [(alert.state, alert.behind) for alert in live.entries] == [("firing", True), ("firing", False)]
    assert len({alert.id for alert in live.entries}) == 1
    live.restart()
    live.now_s = END + 2
    live.read([], END + 2)
    assert len(live.entries) == 2
    live.measure.close()


def test_a_commit_that_carries_nothing_new_writes_no_bucket_and_no_judge(tmp_path: Path) -> None:
    live = Live(tmp_path)
    live.now_s = BAD
    live.read(requests(0, BAD), BAD)
    asked: list[str] = []
    live.measure._journal._connection.set_trace_callback(asked.append)

    live.measure.commit([], {})

    written = [text for text in asked if "INSERT" in text or "UPDATE" in text]
    assert [text for text in written if "seconds" in text or "hours" in text or "'judge'" in text] == []
    live.measure.close()


def test_what_is_kept_is_bounded_by_models_and_time() -> None:
    chosen = settings({"error_ratio": 0.05})
    totals, judge = Totals(chosen), Judge(chosen.thresholds)
    for begin in range(0, 3 * HOUR, 10 * MINUTE):
        log: list[Any] = heartbeats(begin, begin + 10 * MINUTE)
        for model in ("a", "b"):
            log += requests(begin, begin + 10 * MINUTE, 1.0, bad=2, **FAILED, model=model)
        data = b"".join(said.raw for said in sorted(log, key=lambda said: said.second))
        tally(totals, Servers(), block(data), lambda: (BEGIN + DAY) * 1000, None)
        totals.fold()
        judge.take(*totals.take_buckets())
        judge.advance(BEGIN + begin + 10 * MINUTE - 1)

    history = judge.history
    assert len(history.seconds) <= 2 * (KEEP_S + 1)
    assert len(history.clearest) <= 2 * (BACK_S // SLOT_S + 8)
    assert {len(rows) for rows in history.hours.rows.values()} == {3}
    assert len(history.lines) <= 31
