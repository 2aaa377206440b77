"""`logproc setup elasticsearch` against the real server, and against a double of what its minimal build lacks."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from logproc.cli import app
from logproc.record import REQUEST_FIELDS as LINE_FIELDS
from logproc.record import ServerRecord
from logproc.settings import ElasticsearchStore, Thresholds
from logproc.stores.document_reader import DocumentReader
from logproc.stores.documents import Documents
from logproc.stores.elasticsearch_body import body as body_of
from logproc.stores.elasticsearch_guard import template_problem
from logproc.stores.elasticsearch_names import Family, Names, Period, first_days, mapping, meta
from logproc.stores.elasticsearch_templates import FIELDS, lifecycle, pipeline, templates
from tests.doubles.elasticsearch_features import ElasticsearchFeaturesDouble
from tests.doubles.ingest import run
from tests.lines import block
from tests.services.elasticsearch import call

service = [pytest.mark.service, pytest.mark.timeout(300)]
_numbers = itertools.count()


def setup(folder: Path, store: dict[str, Any], *arguments: str) -> Result:
    path = folder / "pipeline.yaml"
    path.write_text(json.dumps({"logs": {"paths": ["-"]}, "store": {"kind": "elasticsearch"} | store}))
    result = CliRunner().invoke(app, ["setup", "elasticsearch", str(path), *arguments])
    assert isinstance(result.exception, SystemExit | None), result.exception
    return result


def store_of(**fields: Any) -> ElasticsearchStore:
    return ElasticsearchStore.model_validate({"kind": "elasticsearch"} | fields)


class TestOnTheRealServer:
    """The minimal build: templates are real, lifecycle and ingest processors are missing."""

    pytestmark = service

    @pytest.fixture
    def store(self, elasticsearch: str) -> dict[str, Any]:
        return {"urls": [elasticsearch], "index": f"setup-{next(_numbers)}"}

    @pytest.fixture
    def url(self, elasticsearch: str) -> str:
        return elasticsearch

    def test_an_index_of_each_family_has_its_mapping_its_alias_and_an_explicit_mode(
        self, url: str, store: dict[str, Any], tmp_path: Path
    ) -> None:
        result = setup(tmp_path, store)
        assert result.exit_code == 0, result.output

        names = Names(store["index"])
        for family, fields in FIELDS.items():
            index = names.concrete(family, 20_000)
            call(url, "PUT", f"/{index}/_create/a", {"@timestamp": "2024-10-04T00:00:00Z"})
            made = call(url, "GET", f"/{index}?flat_settings=true")[index]
            assert made["aliases"] == {names.alias(family): {}}
            assert made["settings"]["index.mode"] == "logsdb"
            assert made["settings"]["index.mapping.source.mode"] == "stored"
            assert leaves(made["mappings"]) == leaves(mapping(fields))
            assert made["mappings"]["dynamic"] == "false"

    def test_the_templates_are_those_that_a_writer_wants(self, url: str, store: dict[str, Any], tmp_path: Path) -> None:
        setup(tmp_path, store)
        for family in FIELDS:
            name = Names(store["index"]).template(family)
            answer = call(url, "GET", f"/_index_template/{name}")
            assert template_problem(200, answer, name, "week") is None

    def test_heartbeats_and_alerts_never_appear_among_the_requests(
        self, url: str, store: dict[str, Any], tmp_path: Path
    ) -> None:
        setup(tmp_path, store)
        names = Names(store["index"])
        for family in FIELDS:
            document = {"@timestamp": "2024-10-04T00:00:00Z", "event.id": family}
            call(url, "PUT", f"/{names.concrete(family, 20_000)}/_create/{family}?refresh=true", document)
        found = call(url, "GET", f"/{names.alias('requests')}/_search")["hits"]["hits"]
        assert [hit["_id"] for hit in found] == ["requests"]

    @pytest.mark.parametrize("field", ["event.duration", "http.response.status_code", "gen_ai.usage.input_tokens"])
    def test_a_number_that_is_none_is_refused_and_not_silently_dropped(
        self, url: str, store: dict[str, Any], tmp_path: Path, field: str
    ) -> None:
        setup(tmp_path, store)
        index = Names(store["index"]).concrete("requests", 20_000)
        answer = call(url, "PUT", f"/{index}/_create/a", {"@timestamp": "2024-10-04T00:00:00Z", field: "many"})
        assert answer["error"]["type"] == "document_parsing_exception"

    def test_unknown_fields_and_endless_texts_are_kept_but_not_indexed(
        self, url: str, store: dict[str, Any], tmp_path: Path
    ) -> None:
        setup(tmp_path, store)
        index = Names(store["index"]).concrete("requests", 20_000)
        document = {
            "@timestamp": "2024-10-04T00:00:00Z",
            "llm.extra": {"any": {"thing": [1, "x"]}},
            "trace.id": "x" * 100_000,
            "new": 1,
        }
        answer = call(url, "PUT", f"/{index}/_create/a?refresh=true", document)
        assert answer["result"] == "created"
        assert call(url, "GET", f"/{index}/_doc/a")["_source"] == document
        assert "new" not in call(url, "GET", f"/{index}")[index]["mappings"]["properties"]

    def test_a_repeat_changes_nothing_and_says_so(self, url: str, store: dict[str, Any], tmp_path: Path) -> None:
        setup(tmp_path, store)
        path = f"/_index_template/{store['index']}*"
        before = call(url, "GET", path)
        result = setup(tmp_path, store)

        assert result.exit_code == 0
        assert result.output.count("as it should be") == 7
        assert "created" not in result.output
        assert call(url, "GET", path) == before

    def test_what_was_changed_by_hand_is_shown_as_a_diff_and_put_right(
        self, url: str, store: dict[str, Any], tmp_path: Path
    ) -> None:
        setup(tmp_path, store)
        name = f"{store['index']}-settings"
        body = {"template": {"settings": {"index": {"mode": "logsdb", "number_of_shards": 4}}}}
        call(url, "PUT", f"/_component_template/{name}", body)

        looked = setup(tmp_path, store, "--dry-run")
        assert looked.exit_code == 0
        assert '-    "number_of_shards": "4"' in looked.output
        assert f"~ component template {name}: would be changed" in looked.output
        repaired = setup(tmp_path, store)
        assert f"✓ component template {name}: changed" in repaired.output
        assert setup(tmp_path, store).output.count("as it should be") == 7

    def test_an_alias_that_is_missing_in_a_template_is_noticed(
        self, url: str, store: dict[str, Any], tmp_path: Path
    ) -> None:
        setup(tmp_path, store)
        index = store["index"]
        there = call(url, "GET", f"/_index_template/{index}")["index_templates"][0]["index_template"]
        body = {key: there[key] for key in ("index_patterns", "priority", "composed_of", "_meta")}
        call(url, "PUT", f"/_index_template/{index}", body | {"template": {"aliases": {"other": {}}}})

        assert f"✓ index template {index}: changed" in setup(tmp_path, store).output

    def test_a_dry_run_prints_the_requests_and_changes_nothing(
        self, url: str, store: dict[str, Any], tmp_path: Path
    ) -> None:
        result = setup(tmp_path, store, "--dry-run")

        assert result.exit_code == 0
        for path in ("_ilm/policy", "_component_template", "_index_template", "_ingest/pipeline"):
            assert f"PUT /{path}/{store['index']}" in result.output
        assert call(url, "GET", f"/_index_template/{store['index']}")["status"] == 404

    def test_what_the_server_lacks_is_named_and_the_rest_is_there(
        self, url: str, store: dict[str, Any], tmp_path: Path
    ) -> None:
        result = setup(tmp_path, store)

        assert result.exit_code == 0
        assert "! no lifecycle" in result.output
        assert f"! ingest pipeline {store['index']}: this server lacks ingest processors" in result.output
        assert "index_template" in call(url, "GET", f"/_index_template/{store['index']}")["index_templates"][0]

    def test_another_period_is_refused_for_it_would_store_lines_twice(
        self, url: str, store: dict[str, Any], tmp_path: Path
    ) -> None:
        setup(tmp_path, store)
        before = call(url, "GET", f"/_index_template/{store['index']}*")
        result = setup(tmp_path, store | {"period": "day"})

        assert result.exit_code == 2
        assert "cover a week each, and `store.period` is day" in result.output
        assert call(url, "GET", f"/_index_template/{store['index']}*") == before

    def test_templates_of_someone_else_are_left_alone(self, url: str, store: dict[str, Any], tmp_path: Path) -> None:
        body = {"index_patterns": [f"{store['index']}-x"], "priority": 3}
        call(url, "PUT", f"/_index_template/{store['index']}", body)
        result = setup(tmp_path, store)

        assert result.exit_code == 2
        assert "logproc did not make it" in result.output
        assert call(url, "GET", f"/_component_template/{store['index']}-settings")["status"] == 404

    def test_a_part_that_the_server_refuses_is_named_with_its_reason(
        self, url: str, store: dict[str, Any], tmp_path: Path
    ) -> None:
        overlapping = {"index_patterns": [f"{store['index']}-2*"], "priority": 500}
        call(url, "PUT", f"/_index_template/{store['index']}-other", overlapping)
        result = setup(tmp_path, store)

        assert result.exit_code == 1
        assert f"✗ index template {store['index']}: refused with 400" in result.output
        assert "have the same priority" in result.output


def leaves(mapped: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Field → type."""
    found: dict[str, str] = {}
    for name, each in mapped["properties"].items():
        inner = leaves(each, f"{prefix}{name}.") if "properties" in each else {prefix + name: each["type"]}
        found |= inner
    return found


class TestOnADoubleOfAllFeatures:
    """Lifecycle and ingest pipelines, as far as requests go: see the double."""

    @pytest.fixture
    def server(self) -> Iterator[ElasticsearchFeaturesDouble]:
        with ElasticsearchFeaturesDouble() as double:
            yield double

    def test_everything_is_put_and_a_repeat_finds_it_so(
        self, server: ElasticsearchFeaturesDouble, tmp_path: Path
    ) -> None:
        pytest.importorskip("elasticsearch")
        first = setup(tmp_path, {"urls": [server.url]})
        assert first.exit_code == 0, first.output
        store = store_of()
        wanted = [lifecycle(store), *templates(store, with_lifecycle=True), pipeline(store, "vllm")]
        assert server.parts == {part.path: part.body for part in wanted}
        puts = len(server.sent("PUT"))

        again = setup(tmp_path, {"urls": [server.url]})
        assert again.output.count("as it should be") == len(wanted) == 9
        assert len(server.sent("PUT")) == puts

    def test_another_retention_is_a_diff_of_the_policy_alone(
        self, server: ElasticsearchFeaturesDouble, tmp_path: Path
    ) -> None:
        pytest.importorskip("elasticsearch")
        setup(tmp_path, {"urls": [server.url]})
        result = setup(tmp_path, {"urls": [server.url], "keep_days": 400})

        assert result.output.count("as it should be") == 8
        assert '-    "min_age": "1102d"' in result.output.replace("     ", "    ")
        assert "✓ lifecycle policy llm-access: changed" in result.output

    def test_what_is_refused_does_not_keep_the_rest_from_being_put(
        self, server: ElasticsearchFeaturesDouble, tmp_path: Path
    ) -> None:
        pytest.importorskip("elasticsearch")
        server.refused["/_ingest"] = (403, "action [cluster:admin/ingest/pipeline/put] is unauthorized for user [x]")
        result = setup(tmp_path, {"urls": [server.url]})

        assert result.exit_code == 1
        assert "✗ ingest pipeline llm-access: refused with 403: action" in result.output
        assert result.output.count("created") == 8

    def test_a_login_that_may_not_look_changes_nothing_and_is_never_printed(
        self, server: ElasticsearchFeaturesDouble, tmp_path: Path
    ) -> None:
        pytest.importorskip("elasticsearch")
        server.login = "ApiKey cmlnaHQ="
        refused = setup(tmp_path, {"urls": [server.url], "api_key": "d3Jvbmc="})
        assert refused.exit_code == 2
        assert "unable to authenticate" in refused.output
        assert "manage_ilm" in refused.output
        assert server.parts == {}
        well = setup(tmp_path, {"urls": [server.url], "api_key": "cmlnaHQ="})
        assert well.exit_code == 0, well.output
        assert "d3Jvbmc" not in refused.output
        assert "cmlnaHQ" not in well.output

    def test_a_server_that_is_not_there_is_said_and_a_dry_run_prints_its_requests_all_the_same(
        self, tmp_path: Path
    ) -> None:
        pytest.importorskip("elasticsearch")
        store = {"urls": ["http://127.0.0.1:9"]}
        assert setup(tmp_path, store).exit_code == 1
        dry = setup(tmp_path, store, "--dry-run")
        assert dry.exit_code == 0
        assert "PUT /_ilm/policy/llm-access" in dry.output
        assert "nothing was compared" in dry.output


def test_sqlite_needs_no_setup(tmp_path: Path) -> None:
    result = setup(tmp_path, {"kind": "sqlite"})
    assert result.exit_code == 2
    assert "needs no setup" in result.output


def days(age: str) -> int:
    return int(age.removesuffix("d"))


@pytest.mark.parametrize(("period", "first", "last"), [
    ("day", date(2026, 11, 20), date(2026, 11, 20)),
    ("week", date(2026, 11, 16), date(2026, 11, 22)),
    ("month", date(2026, 10, 1), date(2026, 10, 31)),
])  # fmt: skip
def test_an_index_is_deleted_only_when_its_last_line_is_older_than_it_must_be_kept(
    period: str, first: date, last: date
) -> None:
    phases = lifecycle(store_of(period=period, keep_days=90, hot_days=30)).body["policy"]["phases"]

    deleted = first + timedelta(days=days(phases["delete"]["min_age"]))
    assert deleted > last + timedelta(days=90)
    cold = first + timedelta(days=days(phases["cold"]["min_age"]))
    assert cold > last + timedelta(days=30)
    assert cold < deleted


def test_no_phase_makes_an_index_read_only_for_a_late_line_must_still_find_its_place() -> None:
    phases = lifecycle(store_of()).body["policy"]["phases"]
    actions = {action for name, phase in phases.items() if name != "delete" for action in phase["actions"]}
    assert actions == {"set_priority"}


def test_there_is_no_cold_phase_where_lines_are_deleted_before_it() -> None:
    assert "cold" not in lifecycle(store_of(keep_days=14)).body["policy"]["phases"]


def test_templates_name_the_lifecycle_only_where_there_is_one() -> None:
    def settings(with_lifecycle: bool) -> dict[str, Any]:
        part = next(iter(templates(store_of(), with_lifecycle=with_lifecycle)))
        found: dict[str, Any] = part.body["template"]["settings"]["index"]
        return found

    assert settings(True)["lifecycle"] == {"name": "llm-access", "parse_origination_date": True}
    assert "lifecycle" not in settings(False)


def test_every_index_template_says_its_period_and_matches_no_index_of_another_family() -> None:
    parts = [part for part in templates(store_of(period="month"), with_lifecycle=True) if part.what == "index template"]
    assert [part.body["_meta"] for part in parts] == [meta("month")] * 3
    patterns = [part.body["index_patterns"][0].removesuffix("*") for part in parts]
    names = Names("llm-access")
    for family in FIELDS:
        index = names.concrete(family, 20_000)
        assert sum(index.startswith(pattern) for pattern in patterns) == 1


def test_the_pipeline_knows_where_every_field_of_a_line_goes() -> None:
    script = pipeline(store_of(), "vllm").body["processors"][-1]["script"]
    fields, durations = script["params"]["fields"], script["params"]["durations"]
    known = {*LINE_FIELDS, *ServerRecord.__struct_fields__}
    assert fields.keys() | durations.keys() == known
    targets = {*fields.values(), *(each["name"] for each in durations.values())}
    documents = {each.name for family in ("requests", "servers") for each in FIELDS[family]}
    assert targets <= documents
    assert documents - targets == {"llm.flags", "log.file.path", "log.offset", "llm.extra"}


def test_the_pipeline_names_the_same_index_as_the_sink() -> None:
    for period, rounding in (("day", "d"), ("week", "w"), ("month", "M")):
        processors = pipeline(store_of(period=period), "vllm").body["processors"]
        named = [each["date_index_name"] for each in processors if "date_index_name" in each]
        assert [each["index_name_prefix"] for each in named] == ["llm-access-", "llm-access-servers-"]
        assert {(each["date_rounding"], each["index_name_format"], each["timezone"]) for each in named} == {
            (rounding, "yyyy.MM.dd", "UTC")
        }


RECORDED = Path(__file__).parents[1] / "fixtures" / "vllm_access.jsonl"
LINE_TODAY_MS = 1_795_300_000_000  # later on the day of the recorded log


@pytest.mark.parametrize("period", ["day", "week", "month"])
def test_another_shipper_gets_the_same_documents_in_the_same_index_as_the_sink(period: Period) -> None:
    """By a double of the ingest node, which cannot run the script's own text."""
    body = pipeline(store_of(period=period), "vllm").body
    data = RECORDED.read_bytes() + b'{"time":"2026-11-21T11:01:30.000Z","event":"heartbeat","host":"h","new":[1]}\n'
    found = DocumentReader("vllm", Thresholds()).read(block(data), LINE_TODAY_MS)
    shipped = [run(body, {"message": line, "agent": {"type": "x"}}) for line in data.decode().splitlines()]

    wanted = {}
    given: dict[Family, list[Documents]] = {"requests": found.requests, "servers": found.servers}
    for family, parts in given.items():
        for part in parts:
            days = first_days(part.times_ms, period).tolist()
            texts = body_of(part, FIELDS[family]).splitlines()[1::2]
            for day, text in zip(days, texts, strict=True):
                document = json.loads(text)
                place = (Names("llm-access").concrete(family, day), document["log.offset"])
                wanted[place] = document
    offsets = list(itertools.accumulate((len(line) + 1 for line in data.splitlines()), initial=0))
    assert len(wanted) == len(shipped) == 233
    for offset, document in zip(offsets[:-1], shipped, strict=True):
        expected = wanted[document.pop("_index"), offset]
        if "gen_ai.response.finish_reasons" in document:  # to Elasticsearch one value and a list of it are the same
            document["gen_ai.response.finish_reasons"] = [document["gen_ai.response.finish_reasons"]]
        dropped = {"llm.flags", "log.file.path", "log.offset"}
        if "_id" in document:
            assert document.pop("_id") == expected["event.id"]
        else:
            dropped.add("event.id")
        kept = {key: each for key, each in expected.items() if key not in dropped}
        assert document == kept | {"agent": {"type": "x"}}
