"""Settings errors say which key, on which line, and what to do; and never show a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from logproc.settings_file import SettingsError, find, load


def problem(tmp_path: Path, text: str, **environment: str) -> str:
    path = tmp_path / "p.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load(path, environment)
    return str(caught.value).replace(str(path), "p.yaml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "p.yaml: expected keys such as `logs:`, found an empty file"),
        ("service: x\n", "p.yaml:1: `logs` is missing"),
        ("logs: {}\n", 'p.yaml:1: `logs.paths` is missing: e.g. paths: ["logs/access*.jsonl"]'),
        ("logs:\n  path: [a]\n  paths: [a]\n", "p.yaml:2: unknown key `logs.path`: did you mean `paths`?"),
        (
            "logs: {paths: [a]}\nthresholds:\n  duration: 3\n",
            "p.yaml:3: unknown key `thresholds.duration`: did you mean `duration_s`?",
        ),
        (
            "logs: {paths: [a]}\nstore:\n  kind: sqlite\n  keep_day: 3\n",
            "p.yaml:4: unknown key `store.keep_day`: did you mean `keep_days`?",
        ),
        (
            "logs: {paths: [a]}\nthresholds:\n  models:\n    m: {ttft: 1}\n",
            "p.yaml:4: unknown key `thresholds.models.m.ttft`: did you mean `ttft_s`?",
        ),
        (
            "logs: {paths: [a]}\nmetrics: {max_series: 0}\n",
            "p.yaml:2: `metrics.max_series`: should be greater than or equal to 1",
        ),
        (
            "logs: {paths: [a]}\nhttp: {listen: nine}\n",
            "p.yaml:2: `http.listen`: expected HOST:PORT such as 127.0.0.1:9470, got 'nine'",
        ),
        (
            "logs:\n  paths: logs/access.jsonl\n",
            'p.yaml:2: `logs.paths`: expected a list such as ["logs/access*.jsonl"]',
        ),
        (
            "logs: {paths: [a]}\nalerts: []\n",
            "p.yaml:2: `alerts`: should be a section: its keys, indented, one a line",
        ),
        (
            "logs: {paths: [a]}\nstore: {kind: postgres}\n",
            "p.yaml:2: `store`: `kind` should be 'sqlite' or 'elasticsearch'",
        ),
        ("logs: [\n", "p.yaml:2: not YAML: expected the node content, but found '<stream end>'"),
    ],
)
def test_each_mistake_is_named_with_its_line(tmp_path: Path, text: str, expected: str) -> None:
    assert problem(tmp_path, text) == expected


@pytest.mark.parametrize("port", ["http", "99999", "-1", "²"])
def test_a_port_in_the_environment_that_is_none_is_refused(tmp_path: Path, port: str) -> None:
    assert f"METRICS_PORT in the environment is {port!r}" in problem(tmp_path, "logs: {paths: [a]}", METRICS_PORT=port)


def test_the_port_that_kubernetes_tells_of_a_service_called_metrics_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("logs: {paths: [a]}\n")

    assert load(path, {"METRICS_PORT": "tcp://10.0.0.1:9470"}).http.port == 9470


def test_an_alias_that_stands_inside_what_it_names_is_said(tmp_path: Path) -> None:
    assert "an alias" in problem(tmp_path, "logs: {paths: [a]}\nalerts: &a {routes: *a}\n")


def test_a_store_is_sqlite_unless_its_kind_is_given(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("logs: {paths: [a]}\nstore: {keep_days: 14}\n")

    store = load(path, {}).store

    assert (store.kind, store.keep_days) == ("sqlite", 14)
    assert "unknown key `store.keep_day`" in problem(tmp_path, "logs: {paths: [a]}\nstore: {keep_day: 14}\n")


def test_a_route_to_an_unknown_notifier_and_an_open_door_are_refused(tmp_path: Path) -> None:
    route = "logs: {paths: [a]}\nalerts:\n  routes:\n    r:\n      severity: [critical]\n      to: [ops]\n"
    assert problem(tmp_path, route).startswith("p.yaml:6: alerts.routes.r.to names the notifier 'ops'")
    escalated = route.replace("to: [ops]", "to: []\n      escalate: {after: 15m,\n        to: [boss]}")
    assert problem(tmp_path, escalated).startswith("p.yaml:8: alerts.routes.r.escalate.to names the notifier 'boss'")
    open_door = problem(tmp_path, 'logs: {paths: [a]}\nhttp:\n  listen: "0.0.0.0:9470"\n')
    assert open_door.startswith("p.yaml:3: http.listen is 0.0.0.0:9470")
    assert "token_file" in open_door


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (
            "error_ratio: 5",
            "3: `thresholds.error_ratio`: expected a share from 0 to 1: 5 % is 0.05, found 5 for warning",
        ),
        (
            "empty_ratio:\n    warning: 0.1\n    critical: 20",
            "5: `thresholds.empty_ratio`: expected a share from 0 to 1: 5 % is 0.05, found 20 for critical",
        ),
        ("error_budget: 1.5", "3: `thresholds.error_budget`: expected a share from 0 to 1: 5 % is 0.05; null is off"),
        (
            "error_ratio: 5%",
            "3: `thresholds.error_ratio`: expected a share such as 0.05, or levels: {warning: 0.05, critical: 0.1}",
        ),
        (
            "duration_s: 3s",
            "3: `thresholds.duration_s`: expected a number of seconds such as 3, or levels: {warning: 3, critical: 10}",
        ),
        (
            "duration_s:\n    critical: 3\n    warning: 10",
            "4: `thresholds.duration_s`: critical 3 is under warning 10: high is bad here, so it is at least that",
        ),
        (
            "ttft_s: {warning: 2, disaster: 1}",
            "3: `thresholds.ttft_s`: disaster 1 is under warning 2: high is bad here, so it is at least that",
        ),
        (
            "models:\n    m:\n      tokens_per_second: {warning: 7, critical: 20}",
            "5: `thresholds.models.m.tokens_per_second`: critical 20 is over warning 7: low is bad here, "
            "so it is at most that",
        ),
    ],
)
def test_a_threshold_that_means_nothing_is_refused(tmp_path: Path, written: str, expected: str) -> None:
    assert problem(tmp_path, f"logs: {{paths: [a]}}\nthresholds:\n  {written}\n") == f"p.yaml:{expected}"


def test_levels_may_be_equal_and_those_of_a_speed_fall(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    levels = "tokens_per_second: {warning: 20, critical: 7}, kv_cache_ratio: {critical: 1, disaster: 1}"
    path.write_text(f"logs: {{paths: [a]}}\nthresholds: {{{levels}}}\n")

    assert load(path, {}).thresholds.tokens_per_second.all == (20, 7)


def test_a_hook_has_one_url(tmp_path: Path) -> None:
    text = "logs: {paths: [a]}\nnotifiers:\n  s: {kind: slack%s}\n"

    assert problem(tmp_path, text % "") == "p.yaml:3: `notifiers.s`: `url` or `url_file` is needed"
    both = problem(tmp_path, text % ", url: 'https://a', url_file: b")
    assert both == "p.yaml:3: `notifiers.s`: `url` or `url_file`, not both"


def test_secrets_come_from_the_environment_and_are_never_shown(tmp_path: Path) -> None:
    text = "logs: {paths: [a]}\nnotifiers:\n  s: {kind: slack, url: '${HOOK}', wrong: '${HOOK}'}\n"

    assert (
        problem(tmp_path, text)
        == "p.yaml: ${HOOK} is not set in the environment\np.yaml: ${HOOK} is not set in the environment"
    )
    assert "marker" not in problem(tmp_path, text, HOOK="https://marker")
    path = tmp_path / "good.yaml"
    path.write_text(text.replace(", wrong: '${HOOK}'", ""))
    assert "marker" not in repr(load(path, {"HOOK": "https://marker"}))


def test_thresholds_are_a_number_null_or_levels(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("logs: {paths: [a]}\nthresholds: {duration_s: 2, ttft_s: null, stall_s: {critical: 9, for: 2m}}\n")

    thresholds = load(path, {}).thresholds

    assert thresholds.duration_s.warning == 2
    assert thresholds.ttft_s.all == ()
    assert (thresholds.stall_s.critical, thresholds.stall_s.for_s) == (9, 120)


def test_the_settings_file_is_the_argument_else_the_environment_else_the_only_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match="no settings file"):
        find(None, {})
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines/a.yaml").touch()

    assert find(None, {}) == Path("pipelines/a.yaml")
    assert find(None, {"LOGPROC_PIPELINE": "b.yaml"}) == Path("b.yaml")
    assert find(Path("c.yaml"), {"LOGPROC_PIPELINE": "b.yaml"}) == Path("c.yaml")
    (tmp_path / "pipelines/z.yml").touch()
    with pytest.raises(SettingsError, match="several"):
        find(None, {})
