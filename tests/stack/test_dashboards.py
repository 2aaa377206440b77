"""The dashboards of Grafana: what the generator makes, from metrics that there are, at the settings' thresholds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from logproc.settings import Thresholds
from logproc.settings_file import load
from pipelines.grafana.generate import files
from tests.services.prometheus import promtool, why_missing
from tests.stack.compose import ROOT, mounts, services
from tests.stack.dashboards import asked, dashboards


def test_the_files_are_what_the_generator_makes_of_the_default_thresholds() -> None:
    assert {path: path.read_text() for path in (ROOT / "pipelines/grafana/dashboards").iterdir()} == files(Thresholds())


def test_lines_stand_at_the_thresholds_of_the_settings_in_the_colours_of_their_severity() -> None:
    thresholds = Thresholds.model_validate({"duration_s": {"warning": 2, "critical": 7}, "tokens_per_second": 30})
    texts = {path.stem: text for path, text in files(thresholds).items()}

    def steps(name: str, title: str) -> list[tuple[str, float | None]]:
        panels = yaml.safe_load(texts[name])["panels"]
        (panel,) = (each for each in panels if each["title"] == title)
        return [(each["color"], each["value"]) for each in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]]

    assert steps("overview", "Duration") == [("green", None), ("orange", 2.0), ("red", 7.0)]
    assert steps("latency", "Tokens a second of one answer") == [("orange", None), ("green", 30.0)]
    assert 'le=\\"7.0\\"' in texts["overview"]


def test_every_metric_that_is_asked_for_is_documented_or_recorded_by_the_rules() -> None:
    rules = yaml.safe_load((ROOT / "pipelines/prometheus/rules.yml").read_text())["groups"]
    recorded = {rule["record"] for group in rules for rule in group["rules"] if "record" in rule}
    words = set(re.findall(r"[a-z_]+", (ROOT / "docs/metrics.md").read_text()))
    own = {"up", "process_cpu_seconds_total", "process_resident_memory_bytes"}
    for question in asked():
        without_texts = re.sub(r'"[^"]*"', "", question.expr)
        names = set(re.findall(r"[a-z]+:[a-z0-9_:]+|\b(?:llm|logproc|process)_\w+|\bup\b", without_texts))
        unknown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in names - recorded - own} - words
        assert names
        assert not unknown, question


@pytest.mark.service
def test_promtool_parses_every_question(tmp_path: Path) -> None:
    if (reason := why_missing()) is not None:
        pytest.skip(reason)
    rules = [{"record": f"asked:{number}", "expr": each.expr} for number, each in enumerate(asked())]
    (tmp_path / "asked.yml").write_text(yaml.safe_dump({"groups": [{"name": "asked", "rules": rules}]}))

    assert len(rules) > 60
    promtool("check", "rules", "--lint=none", tmp_path / "asked.yml")


def test_the_stack_shows_these_dashboards_with_the_data_of_its_prometheus() -> None:
    folder = ROOT / "pipelines/grafana/provisioning"
    source = yaml.safe_load((folder / "datasources/prometheus.yml").read_text())["datasources"][0]
    provider = yaml.safe_load((folder / "dashboards/logproc.yml").read_text())["providers"][0]
    scrape = yaml.safe_load((ROOT / "pipelines/compose/prometheus.yml").read_text())["global"]["scrape_interval"]
    home = services()["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    seen = mounts("grafana")

    assert source["url"] == f"http://prometheus:{services()['prometheus']['ports'][0]['target']}"
    assert source["jsonData"]["timeInterval"] == scrape
    assert seen[provider["options"]["path"]] == "pipelines/grafana/dashboards"
    assert Path(home).parent == Path(provider["options"]["path"])
    assert Path(home).stem in dashboards()
    assert {each["uid"] for each in dashboards().values()} == {f"logproc-{name}" for name in dashboards()}
    assert load(ROOT / "pipelines/compose/logproc.yaml", {}).metrics.namespace == "llm", "as in the questions"
