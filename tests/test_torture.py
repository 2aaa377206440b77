"""A short torture on real processes: killed a few times amid rotation, all is equal to the recount (`make torture`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture.torture import Torture, Watch


@pytest.mark.timeout(300)
def test_killed_amid_rotation_it_loses_nothing_counts_nothing_twice_and_no_counter_falls(tmp_path: Path) -> None:
    verdict = Torture(tmp_path, seed=1, rate=2000, check_every=5).run(10, lambda _: None)

    assert verdict.differences == []
    assert (verdict.lost, verdict.twice) == (0, 0)
    assert verdict.kills == 10
    assert verdict.lines > 1000
    assert verdict.documents > 1000
    assert verdict.scrapes > 10
    assert sum(verdict.rotations.values()) > 5


def test_the_watch_notices_a_counter_that_falls_or_goes_missing() -> None:
    watch = Watch()
    for value in ("5.0", "4.0"):
        watch.see(f'# TYPE a_total counter\na_total{{x="1"}} {value}\n# TYPE lag gauge\nlag {value}\n')
    watch.see("# TYPE b_total counter\n")

    assert watch.differences == [
        'a_total{x="1"}: went back from 5.0 to 4.0',
        'a_total{x="1"}: 4.0 was shown, and then it was missing',
    ]
