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
        ("logs: {paths: a}\n", "p.yaml:1: `logs.paths`: should be a valid list"),
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
    assert "names the notifier 'ops'" in problem(
        tmp_path, "logs: {paths: [a]}\nalerts: {routes: {r: {severity: [critical], to: [ops]}}}\n"
    )
    assert "token_file" in problem(tmp_path, 'logs: {paths: [a]}\nhttp: {listen: "0.0.0.0:9470"}\n')


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
