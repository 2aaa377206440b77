"""Which alerts tell of which incidents, and what that comes to. Events are counted, not points in time.

- An alert belongs to an incident when it begins to fire between the incident's start and five minutes after its end
  (an hour for `drift`, which judges whole hours), when its kind is true of such an incident, and when it names no model
  or host that had nothing to do with it.
- An incident is found when one of its alerts fires before a minute after its end. However many alerts it has, it is
  found once; the time to detect is that of the first.
- An alert that belongs to no incident is false, each by itself: also a true feeling about the wrong model, and one that
  fired already when the incident began.
- The cause is right when the first alert of an incident names it: a later, better one does not count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from benchmarks.detection.incidents import STRENGTHS, Incident
from benchmarks.detection.week import HOSTS

TAIL_S: Final = 300.0
DRIFT_TAIL_S: Final = 3600.0
GRACE_S: Final = 60.0


@dataclass(frozen=True)
class Episode:
    """One alert of any detector, from when it fires until it is resolved; seconds since the week began.

    `kind` None claims nothing and is true of everything: so much is granted to the random detector.
    """

    fires: float
    ends: float
    kind: str | None
    model: str | None = None
    host: str | None = None
    cause: str | None = None


@dataclass
class Verdict:
    """What became of one incident."""

    sort: str
    strength: str
    level: float
    is_large: bool
    delay_s: float | None = None
    """Until the first alert; None where it was not found."""
    is_right: bool | None = None
    """Whether the first alert names the cause."""
    said: str | None = None
    """What it said."""
    alerts: int = 0


@dataclass
class Score:
    """What a detector achieved in one or several weeks; scores add up."""

    verdicts: list[Verdict] = field(default_factory=list)
    false: list[str] = field(default_factory=list)
    """The kinds of false alerts in weeks with incidents."""
    false_quiet: list[str] = field(default_factory=list)
    """The same in quiet weeks."""
    weeks: float = 0.0
    quiet_weeks: float = 0.0
    alarm_s: float = 0.0
    """How long any alert was on in quiet weeks."""

    def add(self, other: Score) -> None:
        """Merge the score of other weeks."""
        self.verdicts += other.verdicts
        self.false += other.false
        self.false_quiet += other.false_quiet
        self.weeks += other.weeks
        self.quiet_weeks += other.quiet_weeks
        self.alarm_s += other.alarm_s

    def found(self, strength: str | None = None, sort: str | None = None) -> tuple[int, int]:
        """(found, all) incidents of a strength and a sort."""
        chosen = self.chosen(strength, sort)
        return sum(each.delay_s is not None for each in chosen), len(chosen)

    def chosen(self, strength: str | None = None, sort: str | None = None) -> list[Verdict]:
        """The verdicts on incidents of a strength and a sort."""
        return [each for each in self.verdicts if strength in (None, each.strength) and sort in (None, each.sort)]

    @property
    def precision(self) -> float:
        """Found incidents, of these and the false alerts of the same weeks."""
        found = self.found()[0]
        return found / max(1, found + len(self.false))


def score(
    incidents: Sequence[Incident], episodes: Sequence[Episode], *, level: float, is_large: bool, days: float
) -> Score:
    """Judge the alerts of one week."""
    verdicts = [Verdict(each.sort.name, each.strength, level, is_large) for each in incidents]
    false = []
    for episode in sorted(episodes, key=lambda each: each.fires):
        place = next((i for i, each in enumerate(incidents) if _belongs(episode, each)), None)
        if place is None:
            false.append(episode.kind or "any")
            continue
        incident, verdict = incidents[place], verdicts[place]
        verdict.alerts += 1
        if verdict.delay_s is None and episode.fires <= incident.end + GRACE_S:
            verdict.delay_s = max(0.0, episode.fires - incident.start)
            verdict.said = f"{episode.kind}/{episode.cause}"
            sort = incident.sort
            verdict.is_right = episode.cause in sort.causes or episode.kind in sort.naming
    weeks = days / 7
    if incidents:
        return Score(verdicts, false=false, weeks=weeks)
    return Score(false_quiet=false, quiet_weeks=weeks, alarm_s=_length([(e.fires, e.ends) for e in episodes]))


def _belongs(episode: Episode, incident: Incident) -> bool:
    tail = DRIFT_TAIL_S if episode.kind == "drift" else TAIL_S
    if not incident.start <= episode.fires <= incident.end + tail:
        return False
    if episode.kind is not None and episode.kind not in incident.sort.kinds:
        return False
    if episode.model is not None and episode.model not in incident.servers:
        return False
    return episode.host is None or episode.host in {HOSTS[each] for each in incident.servers}


def _length(spans: list[tuple[float, float]]) -> float:
    """How long at least one of the spans lasts."""
    total, until = 0.0, float("-inf")
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, until))
        until = max(until, end)
    return total


def as_json(score: Score) -> dict[str, object]:
    """The numbers of a score by name; ratios are None where there is nothing to divide by."""

    def recall(strength: str | None = None, sort: str | None = None) -> float | None:
        found, every = score.found(strength, sort)
        return round(found / every, 3) if every else None

    delays = sorted(each.delay_s for each in score.verdicts if each.delay_s is not None)
    named = [each for each in score.verdicts if each.delay_s is not None]
    return {
        "incidents": len(score.verdicts),
        "recall": {strength: recall(strength) for strength in STRENGTHS},
        "recall_by_sort": {
            sort: {strength: recall(strength, sort) for strength in STRENGTHS}
            for sort in dict.fromkeys(each.sort for each in score.verdicts)
        },
        "precision": round(score.precision, 3),
        "seconds_to_detect": {
            "median": round(delays[len(delays) // 2], 1) if delays else None,
            "p90": round(delays[len(delays) * 9 // 10], 1) if delays else None,
        },
        "right_cause": round(sum(bool(each.is_right) for each in named) / len(named), 3) if named else None,
        "alerts_per_found_incident": round(sum(each.alerts for each in named) / len(named), 2) if named else None,
        "false_alerts_a_week": {
            "quiet": round(len(score.false_quiet) / score.quiet_weeks, 3) if score.quiet_weeks else None,
            "with_incidents": round(len(score.false) / score.weeks, 3) if score.weeks else None,
        },
        "share_of_quiet_time_in_alarm": round(score.alarm_s / (score.quiet_weeks * 7 * 86_400), 5)
        if score.quiet_weeks
        else None,
    }
