"""A short torture: killed at every stage amid failing channels, no alert is lost (`make nightly`: a thousand times)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.notify.alerts import alert
from tests.torture.notify import audit
from tests.torture.notify.channels import Taken
from tests.torture.notify.torture import Torture


@pytest.mark.timeout(300)
def test_killed_at_every_stage_it_loses_no_alert_and_repeats_none_under_another_id(tmp_path: Path) -> None:
    verdict = Torture(tmp_path, seed=1).run(25)

    assert verdict.differences == []
    assert verdict.kills.total() == 25
    assert verdict.messages > 8
    assert verdict.groups > 0


def test_the_audit_notices_what_is_lost_and_what_is_told_under_two_ids() -> None:
    entries = [alert(1, model="torture-1"), alert(2, model="torture-2")]
    known, other = ((each.id, each.state, each.severity, each.time) for each in entries)
    told = Taken("a", "torture-1", frozenset({known}))
    again = Taken("b", "torture-1", frozenset({known}))
    changed = Taken("a", "torture-1 and more", frozenset({other}))
    taken = {"hook": [told, again, changed], "robot": [told], "frail": [], "second": [], "mail": []}

    assert list(audit.lost(entries, taken)) == ["robot: torture-2 was never told"]
    assert list(audit.lost_groups({"torture-9": "firing"}, taken)) == [
        "hook: torture-9 is firing, and that was not told",
        "robot: torture-9 was never told",
    ]
    assert len(list(audit.told_twice(taken))) == 2
    assert audit.repeats([told, told, again]) == 1
    assert audit.most_in_a_minute([0, 59_999, 60_000, 60_001]) == 3
