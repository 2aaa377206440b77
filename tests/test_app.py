"""One pipeline and its consumers: `once` ends when every consumer is done, and not before."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from logproc.app import App
from logproc.settings import Settings
from tests.test_run import recent


def pipeline(tmp_path: Path) -> App:
    (tmp_path / "a.jsonl").write_bytes(b"".join(recent(50)))
    settings = Settings.model_validate({"logs": {"paths": [str(tmp_path / "a.jsonl")]}, "state": str(tmp_path / "s")})
    return App(settings, once=True, serve=False)


@pytest.mark.parametrize("first", [0, 1])
def test_once_waits_for_a_consumer_that_starts_late(tmp_path: Path, first: int) -> None:
    app = pipeline(tmp_path)
    quick, late = (app._fed[first], app._fed[1 - first])

    quick.thread.start()
    quick.thread.join(30)
    ended_early = app.wait(0)
    late.thread.start()

    assert not ended_early
    assert app.wait(30)
    app.stop()


def test_once_ends_when_both_end_in_the_same_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = pipeline(tmp_path)
    together = threading.Barrier(2)
    for fed in app._fed:
        monkeypatch.setattr(fed.feeder, "run", lambda: together.wait(30))

    app.start()

    assert app.wait(30)
    app.stop()
