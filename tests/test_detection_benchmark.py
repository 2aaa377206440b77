"""The benchmark of the alerts: short weeks from end to end, how it scores, and that the page shows what it prints."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest

from benchmarks.detection.benchmark import DETECTORS, OURS, Scores, one_week, results
from benchmarks.detection.feed import Feed, log_lines
from benchmarks.detection.incidents import SORTS, Incident, incident
from benchmarks.detection.picture import picture
from benchmarks.detection.scoring import Episode, Score, Verdict, score
from benchmarks.detection.tables import BEGIN, END, Sheet, sheets, with_tables
from benchmarks.detection.week import MAIN, SIDE, Week, play
from logproc.replay import replay
from logproc.settings import Settings

PAGE = Path(__file__).parents[1] / "docs" / "detection.md"
HOUR = 3600.0
WEEK = Week(seed=1, with_incidents=True, days=1)
"""A day of little traffic."""


def made(name: str, strength: str, start: float, minutes: float = 20) -> Incident:
    """An incident of a sort."""
    sort = next(each for each in SORTS if each.name == name)
    return incident(sort, strength, start, minutes * 60, WEEK.hardware())


@pytest.fixture(scope="module")
def scores() -> Scores:
    """A day with two strong incidents."""
    return one_week(WEEK, [made("server_errors", "strong", 15 * HOUR), made("restart", "strong", 19 * HOUR, 10)])


def test_strong_incidents_are_found_with_their_cause_and_nothing_else_is_told(scores: Scores) -> None:
    ours = scores[OURS]

    assert [(each.sort, each.delay_s is not None, each.is_right) for each in ours.verdicts] == [
        ("server_errors", True, True),
        ("restart", True, True),
    ]
    assert ours.false == []


def test_every_detector_is_scored_on_the_same_incidents(scores: Scores) -> None:
    assert tuple(scores) == DETECTORS
    assert all(len(each.verdicts) % 2 == 0 and each.verdicts for each in scores.values())


def test_the_picture_is_a_picture(scores: Scores) -> None:
    assert ElementTree.fromstring(picture(results([WEEK], scores))).tag.endswith("svg")


def test_the_page_shows_tables_of_the_form_that_the_command_prints(scores: Scores) -> None:
    """Whoever changes a table, a detector or an incident must run the command with --page again."""
    printed, page = sheets(results([WEEK], scores)), PAGE.read_text()

    for sheet in printed:
        _, *lines = page[page.index(f"**{sheet.title}**") :].split("\n\n")[:2]
        rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines[0].splitlines()]
        assert tuple(rows[0]) == sheet.head
        if sheet is not printed[-1]:  # of the last table the day here has one row only
            assert [row[0] for row in rows[2:]] == [row[0] for row in sheet.rows]
        assert all(re.fullmatch(r"[-–≥≤ 0-9.e+/]*|yes|no", cell) for row in rows[2:] for cell in row[sheet.names :])


def test_tables_take_the_place_of_those_between_the_marks_of_a_page() -> None:
    page = f"before\n\n{BEGIN}\n\nold\n\n{END}\n\nafter\n"

    found = with_tables(page, [Sheet("Title", ("name", "number"), [("one", "1")])])

    assert found == (
        f"before\n\n{BEGIN}\n\n**Title**\n\n| name | number |\n| --- | ---: |\n| one | 1 |\n\n{END}\n\nafter\n"
    )
    with pytest.raises(ValueError, match="marks"):
        with_tables("a page without marks", [])


def test_an_access_log_of_the_simulation_replayed_gives_the_alerts_that_the_benchmark_scores(tmp_path: Path) -> None:
    week, log, feed = replace(WEEK, days=1), tmp_path / "access.jsonl", Feed()
    incidents = [made("slow_decode", "strong", 3 * HOUR), made("restart", "medium", 4.5 * HOUR, 2)]
    end, parts = next(iter(play(week, incidents)))  # the first six hours
    feed.take(end, parts)
    log.write_bytes(b"".join(log_lines(parts)))

    found = replay([log], Settings.model_validate({"logs": {"paths": ["-"]}}))["alerts"]

    assert {alert.kind for alert in feed.alerts} >= {"server_gone"}
    assert found == msgspec.to_builtins(feed.alerts)


def judged(*episodes: Episode) -> tuple[Verdict, Score]:
    """What scoring says of alerts when one incident is there: errors at both models, from 1,000 to 2,200 s."""
    found = score([made("server_errors", "strong", 1000)], episodes, level=1, is_large=False, days=7)
    return found.verdicts[0], found


def test_the_first_alert_of_an_incident_counts_for_the_time_to_detect_and_the_cause() -> None:
    verdict, found = judged(
        Episode(1090, 2300, "errors", MAIN, cause="errors"), Episode(1040, 2300, "errors", SIDE, cause="unknown")
    )

    assert (verdict.delay_s, verdict.is_right, verdict.alerts, found.false) == (40, False, 2, [])


@pytest.mark.parametrize(
    "episode",
    [
        pytest.param(Episode(990, 2300, "errors"), id="it fired before the incident began"),
        pytest.param(Episode(2600, 2900, "errors"), id="it came long after its end"),
        pytest.param(Episode(1100, 2300, "ttft"), id="its kind is not true of such an incident"),
        pytest.param(Episode(1100, 2300, "errors", "another model"), id="it blames a model that has nothing to do"),
    ],
)
def test_an_alert_that_belongs_to_no_incident_is_false(episode: Episode) -> None:
    verdict, found = judged(episode)

    assert (verdict.delay_s, found.false) == (None, [episode.kind])


def test_in_a_quiet_week_every_alert_is_false() -> None:
    found = score([], [Episode(10, 60, "errors"), Episode(30, 90, "ttft")], level=1, is_large=False, days=7)

    assert (found.false_quiet, found.alarm_s, found.quiet_weeks) == (["errors", "ttft"], 80, 1)
