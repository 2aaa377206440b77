"""What the rules say, and that each was proved by promtool: it fires where it should, and not where it must not."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from logproc.alerts.alert import KINDS, SEVERITIES
from logproc.alerts.guard import Z, wilson_lower
from logproc.measure.catalog import catalog
from logproc.measure.servers import GAUGES
from logproc.rules import promql
from logproc.rules.output import RULES_FILE, rules_text, trials_text
from logproc.rules.rule import Alerting, Recording
from logproc.rules.rules import groups
from logproc.settings import Settings
from logproc.settings_file import load
from tests.rules.with_levels import THRESHOLDS, settings
from tests.services import prometheus

PIPELINES = Path(__file__).parents[2] / "pipelines"


@pytest.fixture
def tools() -> None:
    reason = prometheus.why_missing()
    if reason:
        pytest.skip(reason)


def rules_of(given: Settings) -> list[dict[str, Any]]:
    """Every rule as Prometheus reads it."""
    return [rule for group in yaml.safe_load(rules_text(given))["groups"] for rule in group["rules"]]


def alerts_of(given: Settings) -> list[dict[str, Any]]:
    return [rule for rule in rules_of(given) if "alert" in rule]


@pytest.mark.service
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "given",
    [settings(namespace="deepseek"), settings(decide="logproc")],
    ids=["prometheus decides, every level", "logproc decides"],
)
def test_promtool_proves_every_rule(given: Settings, tools: None, tmp_path: Path) -> None:
    (tmp_path / RULES_FILE).write_text(rules_text(given))
    (tmp_path / "tests.yml").write_text(trials_text(given))

    assert "SUCCESS" in prometheus.promtool("check", "rules", RULES_FILE, folder=tmp_path)
    assert "SUCCESS" in prometheus.promtool("test", "rules", "tests.yml", folder=tmp_path)


@pytest.mark.service
def test_a_rule_that_is_wrong_fails_its_proof(tools: None, tmp_path: Path) -> None:
    given = settings(decide="logproc")
    (tmp_path / "tests.yml").write_text(trials_text(given))
    right, wrong = "logproc_paused == 1", "logproc_paused == 2"
    assert right in rules_text(given)
    (tmp_path / RULES_FILE).write_text(rules_text(given).replace(right, wrong))
    with pytest.raises(AssertionError, match="LogprocPaused"):
        prometheus.promtool("test", "rules", "tests.yml", folder=tmp_path)


def test_every_alerting_rule_has_a_trial_that_fires_it_and_one_that_must_not() -> None:
    for group in groups(settings()):
        checks = [check for trial in group.trials for check in trial.checks]
        for rule in group.alerts:
            fired = [any(each.rule is rule for each in check.fires) for check in checks if check.alert == rule.name]
            assert any(fired), f"{rule.name} {rule.severity} {rule.more_labels} never fires"
            assert rule.name == "Watchdog" or not all(fired), f"{rule.name} {rule.severity} always fires"


def test_what_logproc_decides_has_no_rule_and_what_prometheus_decides_has_one_of_every_kind() -> None:
    by_logproc = {rule["labels"]["kind"] for rule in alerts_of(settings(decide="logproc"))}
    by_prometheus = {rule["labels"]["kind"] for rule in alerts_of(settings())}

    assert by_logproc & set(KINDS) == set()
    assert by_prometheus == by_logproc | set(KINDS)
    left_out = rules_text(settings(decide="logproc")).split("groups:")[0]
    assert [kind for kind in KINDS if kind not in left_out] == []


def test_what_is_recorded_is_so_whoever_decides() -> None:
    def recorded(decide: str) -> set[str]:
        return {rule["record"] for rule in rules_of(settings(decide=decide)) if "record" in rule}

    assert recorded("logproc") == recorded("prometheus")


def test_every_level_is_a_rule_and_a_threshold_that_is_off_is_none() -> None:
    given = alerts_of(settings())
    assert {rule["labels"]["severity"] for rule in given if rule["alert"] == "LatencyP99"} == set(SEVERITIES)
    assert [rule for rule in alerts_of(settings(duration_s=None)) if rule["alert"] == "LatencyP99"] == []


def test_a_model_with_its_own_threshold_is_judged_by_that_alone() -> None:
    found = alerts_of(settings(duration_s={"warning": 3, "for": "2m"}, models={'a"b': {"duration_s": 30}}))
    common, own = [rule for rule in found if rule["alert"] == "LatencyP99"]

    assert '{le="3.0", model!="a\\"b"}' in common["expr"]
    assert '{le="30.0", model="a\\"b"}' in own["expr"]
    assert (common["for"], own.get("for")) == ("2m", None)
    assert own["labels"]["model"] == 'a"b'


def test_every_alert_says_what_is_wrong_in_two_languages_and_where_to_read_on() -> None:
    for rule in alerts_of(settings()):
        told = rule["annotations"]
        assert re.search("[\u4e00-\u9fff]", told["summary_zh"])
        assert not re.search("[\u4e00-\u9fff]", told["summary"])
        page, _, place = told["runbook"].partition("#")
        assert page == ("docs/runbooks.md" if rule["labels"]["kind"] in KINDS else "docs/prometheus.md")
        assert place == (rule["labels"]["kind"] if rule["labels"]["kind"] in KINDS else rule["alert"].lower())


def test_every_alert_is_documented_and_those_on_logproc_itself_say_what_to_do() -> None:
    page = (PIPELINES.parent / "docs" / "prometheus.md").read_text()
    for rule in alerts_of(settings()):
        own = rule["annotations"]["runbook"].startswith("docs/prometheus.md")
        assert (f"\n### {rule['alert']}\n" if own else f"`{rule['alert']}`") in page


def test_what_is_recorded_is_named_level_metric_operation() -> None:
    for rule in rules_of(settings()):
        if "record" in rule:
            assert re.fullmatch(r"(model|host):llm_\w+:[a-z]\w*", rule["record"])


def test_every_metric_and_bucket_of_the_rules_is_one_that_logproc_shows() -> None:
    given = settings()
    shown = {f"llm_{name}" for name in GAUGES} | {"logproc_lag_seconds", "logproc_paused"}
    shown |= {"logproc_notifications_failing"}
    for metric in catalog(given).values():
        name = metric.name if metric.is_own else f"llm_{metric.name}"
        shown |= {f"{name}_{part}" for part in ("bucket", "count", "sum")} if metric.edges else {f"{name}_total"}
    edges = {promql.bound(edge) for metric in catalog(given).values() for edge in metric.edges}

    for rule in rules_of(given):
        assert set(re.findall(r"(?<![:\w])(?:llm|logproc)_\w+", rule["expr"])) - shown == set()
        assert set(re.findall(r'le="([^"]*)"', rule["expr"])) - edges == set()


def test_nothing_is_decided_on_what_a_lagging_logproc_shows_but_that_it_lags() -> None:
    for group in groups(settings()):
        rules: tuple[Recording | Alerting, ...] = (*group.recordings, *group.alerts)
        for rule in rules:
            reads_metrics = re.search(r"(?<![:\w])llm_\w+", rule.expr)
            if group.name == "logproc":
                assert promql.HELD not in rule.expr
            elif reads_metrics:
                assert promql.HELD in rule.expr, rule
    assert promql.HELD == 'and on(job, instance) logproc_lag_seconds{consumer="measure"} < 30'


def test_a_grave_alert_outlasts_the_mild_one_that_it_inhibits() -> None:
    for group in groups(settings()):
        for rule in group.alerts:
            if rule.severity in {"critical", "disaster"}:
                assert rule.keep_s > max(each.keep_s for each in group.alerts if each.severity == "warning")


@pytest.mark.service
def test_the_guard_in_promql_is_the_guard_of_logproc(tools: None, tmp_path: Path) -> None:
    pairs = [(0, 1), (1, 20), (5, 5), (7, 100), (10, 1000), (500, 1000), (1, 1_000_000), (99_999, 100_000)]
    exact = 2**-20  # a power of two: both sides round to the same number
    expected = [(n, math.floor(float(wilson_lower(*pair)) / exact + 0.5) * exact) for n, pair in enumerate(pairs)]
    (tmp_path / "none.yml").write_text("groups: []")
    counts = [("bad", n, bad) for n, (bad, _) in enumerate(pairs)] + [("of", n, of) for n, (_, of) in enumerate(pairs)]
    test = {
        "interval": "1m",
        "input_series": [{"series": f'{name}{{model="{n}"}}', "values": f"{value}"} for name, n, value in counts],
        "promql_expr_test": [
            {
                "expr": f"round({promql.wilson_lower('bad', 'of', Z, on='model')}, {exact!r})",
                "eval_time": "0m",
                "exp_samples": [{"labels": f'{{model="{n}"}}', "value": value} for n, value in expected],
            }
        ],
    }
    (tmp_path / "tests.yml").write_text(yaml.safe_dump({"rule_files": ["none.yml"], "tests": [test]}))

    assert "SUCCESS" in prometheus.promtool("test", "rules", "tests.yml", folder=tmp_path)


@pytest.mark.service
def test_a_log_that_had_heartbeats_and_is_read_no_more_is_absent(tools: None, tmp_path: Path) -> None:
    place = 'job="logproc",instance="i"'
    lines = f'logproc_lines_total{{{place},consumer="measure",result="ok"}}'
    beat = {"series": f'llm_last_heartbeat_timestamp_seconds{{{place},host="h",pid="1"}}', "values": "60+0x60"}
    (tmp_path / RULES_FILE).write_text(rules_text(settings(decide="logproc")))

    def absent(has_heartbeats: bool) -> dict[str, Any]:
        labels = f'alertname="LogAbsent",alertstate="firing",{place},kind="log_absent",severity="warning"'
        seen = [{"series": lines, "values": "0+5x10 50+0x60"}, *([beat] if has_heartbeats else [])]
        samples = [{"labels": f"ALERTS{{{labels}}}", "value": 1}] if has_heartbeats else []
        query = {"expr": 'ALERTS{alertname="LogAbsent"}', "eval_time": "40m", "exp_samples": samples}
        return {"interval": "1m", "input_series": seen, "promql_expr_test": [query]}

    tests = {"rule_files": [RULES_FILE], "evaluation_interval": "1m", "tests": [absent(True), absent(False)]}
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(tests))
    assert "SUCCESS" in prometheus.promtool("test", "rules", "tests.yml", folder=tmp_path)


@pytest.mark.parametrize("decide", ["logproc", "prometheus"])
def test_the_rules_that_come_with_logproc_are_those_of_its_pipeline(decide: str) -> None:
    given = load(PIPELINES / "local.yaml")
    given = given.model_copy(update={"alerts": given.alerts.model_copy(update={"decide": decide})})
    name = "rules.yml" if decide == "logproc" else "rules-prometheus-decides.yml"

    # Made anew with: logproc rules pipelines/local.yaml > pipelines/prometheus/rules.yml, and with `decide: prometheus`
    assert (PIPELINES / "prometheus" / name).read_text() == rules_text(given)


@pytest.mark.service
def test_promtool_accepts_the_configuration_of_prometheus_and_both_files_of_rules(tools: None) -> None:
    folder = PIPELINES / "prometheus"
    assert "is valid" in prometheus.promtool("check", "config", folder / "prometheus.yml")
    assert "SUCCESS" in prometheus.promtool("check", "rules", folder / "rules-prometheus-decides.yml")


def test_only_one_of_the_two_files_of_rules_is_loaded() -> None:
    config = yaml.safe_load((PIPELINES / "prometheus" / "prometheus.yml").read_text())
    assert config["rule_files"] == ["rules.yml"]


def test_unknown_thresholds_do_not_exist_here_without_a_rule() -> None:
    """A threshold that someone adds needs a rule, or a word here why Prometheus cannot decide it."""
    not_for_rules = {"stall_s", "slow_for_size"}  # of single requests: flags, not alerts
    mentioned = {*THRESHOLDS, "kv_cache_ratio", "error_budget"}
    assert set(type(settings().thresholds).model_fields) == mentioned | not_for_rules
