"""`logproc setup kibana` against a double of Kibana's API (no Kibana can run in the tests)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from logproc.cli import app
from logproc.kibana.rules import rules
from logproc.settings import Thresholds
from tests.doubles.kibana import KibanaDouble
from tests.kibana.saved import all_objects


@pytest.fixture
def kibana() -> Iterator[KibanaDouble]:
    with KibanaDouble() as double:
        yield double


def setup(folder: Path, settings: dict[str, Any], *arguments: str) -> Result:
    path = folder / "pipeline.yaml"
    path.write_text(json.dumps({"logs": {"paths": ["-"]}, "store": {"kind": "elasticsearch"}} | settings))
    result = CliRunner().invoke(app, ["setup", "kibana", str(path), *arguments])
    assert isinstance(result.exception, SystemExit | None), result.exception
    return result


def test_everything_is_imported_with_what_it_refers_to_first(kibana: KibanaDouble, tmp_path: Path) -> None:
    result = setup(tmp_path, {"kibana": {"url": kibana.url}})

    assert result.exit_code == 0, result.output
    assert list(kibana.objects.values()) == all_objects()
    assert {rule["name"] for rule in kibana.rules.values()} == {rule.name for rule in rules("llm-access", Thresholds())}
    assert "✓ dashboard LLM overview [llm-access]: created" in result.output
    assert result.output.count("created, without actions: add in Kibana who is told") == 3


def test_index_and_thresholds_are_those_of_the_settings(kibana: KibanaDouble, tmp_path: Path) -> None:
    thresholds = {"error_ratio": {"critical": 0.2}, "duration_s": {"warning": 7, "for": "3m"}, "empty_ratio": None}
    store = {"kind": "elasticsearch", "index": "night"}
    result = setup(tmp_path, {"kibana": {"url": kibana.url}, "store": store, "thresholds": thresholds})

    assert result.exit_code == 0, result.output
    assert ("dashboard", "night-overview") in kibana.objects
    names = {rule["name"]: rule for rule in kibana.rules.values()}
    assert names.keys() == {"LLM errors over 0.2 of requests [night]", "LLM P99 duration over 7 s [night]"}
    p99 = names["LLM P99 duration over 7 s [night]"]
    assert p99["params"]["criteria"][0]["threshold"] == [7e9]
    assert p99["alert_delay"] == {"active": 3}
    assert all(rule["params"]["searchConfiguration"]["index"] == "night" for rule in names.values())


def test_a_repeat_replaces_what_is_there_and_keeps_the_actions_that_people_added(
    kibana: KibanaDouble, tmp_path: Path
) -> None:
    setup(tmp_path, {"kibana": {"url": kibana.url}})
    before = dict(kibana.objects)
    action = {"group": "custom_threshold.fired", "id": "slack-1", "params": {"message": "!"}, "uuid": "u-1"}
    for rule in kibana.rules.values():
        rule["actions"] = [action | {"connector_type_id": ".slack"}]
    kibana.requests.clear()

    result = setup(tmp_path, {"kibana": {"url": kibana.url}, "thresholds": {"duration_s": 9}})

    assert result.exit_code == 0, result.output
    assert kibana.objects.keys() == before.keys()
    assert len(kibana.rules) == 3
    assert [rule["actions"] for rule in kibana.rules.values()] == [[action]] * 3
    assert 9e9 in [rule["params"]["criteria"][0]["threshold"][0] for rule in kibana.rules.values()]
    assert "✓ dashboard LLM overview [llm-access]: replaced" in result.output
    assert result.output.count("replaced, with its 1 action(s)") == 3


def test_a_dry_run_prints_every_request_and_sends_none(kibana: KibanaDouble, tmp_path: Path) -> None:
    result = setup(tmp_path, {"kibana": {"url": kibana.url}}, "--dry-run")

    assert result.exit_code == 0
    assert kibana.requests == []
    assert result.output.count("POST /api/saved_objects/_import?overwrite=true") == 3
    assert result.output.count("POST /api/alerting/rule/") == 3
    for each in all_objects():
        assert json.dumps(each, sort_keys=True, ensure_ascii=False) in result.output


def test_refused_rules_are_said_and_the_dashboards_are_there_all_the_same(kibana: KibanaDouble, tmp_path: Path) -> None:
    kibana.refuse_rules = (403, "Forbidden", 'Unauthorized by "logs" to create "custom_threshold" rule')
    result = setup(tmp_path, {"kibana": {"url": kibana.url}})

    assert result.exit_code == 1
    assert len(kibana.objects) == len(all_objects())
    assert result.output.count("✗ rule ") == 3
    assert 'refused with 403: Unauthorized by "logs"' in result.output
    assert "lacks this privilege" in result.output


def test_an_object_that_kibana_refuses_is_named_with_its_reason(kibana: KibanaDouble, tmp_path: Path) -> None:
    kibana.broken_objects["llm-access-why-slow"] = "belongs to a more recent version of Kibana"
    result = setup(tmp_path, {"kibana": {"url": kibana.url}})

    assert result.exit_code == 1
    assert "✗ dashboard LLM why was it slow [llm-access]: belongs to a more recent version of Kibana" in result.output
    assert ("dashboard", "llm-access-overview") in kibana.objects


@pytest.mark.parametrize(
    ("login", "header"),
    [
        ({"api_key": "c2VjcmV0LWtleQ=="}, "ApiKey c2VjcmV0LWtleQ=="),
        ({"username": "elastic", "password": "s3cret"}, "Basic ZWxhc3RpYzpzM2NyZXQ="),
    ],
)
def test_it_logs_in_and_never_prints_the_secret(tmp_path: Path, login: dict[str, str], header: str) -> None:
    with KibanaDouble(login=header) as kibana:
        well = setup(tmp_path, {"kibana": {"url": kibana.url, **login}})
        kibana.login = "ApiKey another"
        refused = setup(tmp_path, {"kibana": {"url": kibana.url, **login}})

    assert well.exit_code == 0, well.output
    assert refused.exit_code == 1
    assert "refused with 401" in refused.output
    assert "check the login" in refused.output
    for secret in ("c2VjcmV0LWtleQ", "s3cret", "ZWxhc3RpYzpzM2NyZXQ"):
        assert secret not in well.output + refused.output


def test_the_secret_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("abc123\n")
    with KibanaDouble(login="ApiKey abc123") as kibana:
        well = setup(tmp_path, {"kibana": {"url": kibana.url, "api_key_file": str(tmp_path / "key")}})
        missing = setup(tmp_path, {"kibana": {"url": kibana.url, "api_key_file": str(tmp_path / "nothing")}})

    assert well.exit_code == 0, well.output
    assert missing.exit_code == 2
    assert "kibana.api_key_file" in missing.output


def test_a_space_is_part_of_the_url(tmp_path: Path) -> None:
    with KibanaDouble(space="/s/night") as kibana:
        there = setup(tmp_path, {"kibana": {"url": f"{kibana.url}/s/night/"}})
        elsewhere = setup(tmp_path, {"kibana": {"url": kibana.url}})

    assert there.exit_code == 0, there.output
    assert elsewhere.exit_code == 1
    assert "is this Kibana" in elsewhere.output


def test_the_login_is_not_sent_on_to_where_an_answer_points(kibana: KibanaDouble, tmp_path: Path) -> None:
    with KibanaDouble() as other:
        kibana.always_answer = (302, {}, {"Location": f"{other.url}/login"})
        result = setup(tmp_path, {"kibana": {"url": kibana.url, "api_key": "k"}})

        assert result.exit_code == 1
        assert "it points elsewhere" in result.output
        assert other.requests == []


def test_an_answer_that_is_not_kibanas_is_no_success(kibana: KibanaDouble, tmp_path: Path) -> None:
    kibana.always_answer = (200, b"<html>hello</html>", {})
    result = setup(tmp_path, {"kibana": {"url": kibana.url}})

    assert result.exit_code == 1
    assert result.output.count("without JSON: is there a Kibana at `kibana.url`?") == 6


def test_a_kibana_that_is_not_there_is_said_in_one_line(tmp_path: Path) -> None:
    result = setup(tmp_path, {"kibana": {"url": "http://127.0.0.1:9"}})

    assert result.exit_code == 1
    assert "http://127.0.0.1:9: Connection refused. Check `kibana.url`" in result.output


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({}, "kibana.url is not set"),
        ({"store": {"kind": "sqlite"}}, "store.kind is sqlite"),
        ({"kibana": {"url": "localhost:5601"}}, "expected a URL"),
        ({"kibana": {"url": "http://me:pw@localhost:5601"}}, "no user or password in a URL"),
        ({"kibana": {"api_key": "a", "username": "b", "password": "c"}}, "not both"),
        ({"kibana": {"username": "b"}}, "belong together"),
    ],
)
def test_settings_that_cannot_work_end_with_2(tmp_path: Path, settings: dict[str, Any], reason: str) -> None:
    result = setup(tmp_path, settings)

    assert result.exit_code == 2
    assert reason in result.output
