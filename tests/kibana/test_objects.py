"""Every saved object is what Kibana expects, as far as that can be known without one: see docs/kibana.md."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kibana.generate import files
from logproc.settings import Thresholds
from logproc.stores.elasticsearch_names import mapping
from logproc.stores.elasticsearch_templates import FIELDS
from tests.kibana.kql import fields_of, query_of
from tests.kibana.saved import INDEX, all_objects, lens_panels, of_type, panels_of

PANELS = list(lens_panels())
PANEL_IDS = [f"{panel.dashboard}: {panel.title}" for panel in PANELS]
NUMBERS = {"long", "double"}
GROUPS = {
    "terms": {"keyword", "boolean", "long"},
    "date_histogram": {"date"},
    "range": NUMBERS,
}
METRICS = {"sum", "average", "max", "min", "percentile"}
FLOORS = {"index-pattern": "8.0.0", "search": "8.0.0", "dashboard": "8.9.0"}
"""What Kibana 8.19 can still migrate from; it refuses what is newer than itself."""


def mapped_types() -> dict[str, dict[str, str]]:
    """Data view → field → type, from the mapping that `setup elasticsearch` puts."""

    def leaves(properties: dict[str, Any], prefix: str = "") -> dict[str, str]:
        found: dict[str, str] = {}
        for name, each in properties.items():
            if "properties" in each:
                found |= leaves(each["properties"], f"{prefix}{name}.")
            elif each.get("enabled", True):
                found[prefix + name] = each["type"]
        return found

    suffix = {"requests": "", "servers": "-servers", "alerts": "-alerts"}
    return {f"{INDEX}{suffix[family]}": leaves(mapping(fields)["properties"]) for family, fields in FIELDS.items()}


TYPES = mapped_types()


def test_the_files_in_the_repository_are_what_the_generator_writes() -> None:
    for path, text in files().items():
        assert path.read_text(encoding="utf-8") == text, f"run: python -m kibana.generate ({path.name})"


def test_every_reference_leads_to_an_object_that_comes_before_it() -> None:
    seen: set[tuple[str, str]] = set()
    for each in all_objects():
        for reference in each["references"]:
            assert (reference["type"], reference["id"]) in seen, (each["id"], reference)
        assert (each["type"], each["id"]) not in seen
        seen.add((each["type"], each["id"]))


def test_titles_are_unique_and_name_the_index_so_that_two_pipelines_can_share_a_kibana() -> None:
    titles = [each["attributes"].get("name") or each["attributes"]["title"] for each in all_objects(index="other")]
    assert len(set(titles)) == len(titles)
    assert all(title.endswith("[other]") for title in titles)
    assert not {each["id"] for each in all_objects()} & {each["id"] for each in all_objects(index="other")}


def test_no_object_is_newer_than_the_oldest_kibana_that_is_supported() -> None:
    for each in all_objects():
        assert each["typeMigrationVersion"] == FLOORS[each["type"]]
        assert each["coreMigrationVersion"] == "8.8.0"


@pytest.mark.parametrize("dashboard", of_type("dashboard"), ids=lambda each: each["id"])
def test_panels_lie_on_the_grid_without_overlap_and_refer_to_what_the_dashboard_refers_to(
    dashboard: dict[str, Any],
) -> None:
    taken: set[tuple[int, int]] = set()
    names = {reference["name"]: reference for reference in dashboard["references"]}
    assert len(names) == len(dashboard["references"])
    needed = set()
    for panel in panels_of(dashboard):
        grid = panel["gridData"]
        assert grid["i"] == panel["panelIndex"]
        assert grid["x"] >= 0
        assert grid["x"] + grid["w"] <= 48
        cells = {
            (x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not cells & taken
        taken |= cells
        if panel["type"] == "search":
            needed.add(f"{panel['panelIndex']}:{panel['panelRefName']}")
        else:
            for reference in panel["embeddableConfig"]["attributes"]["references"]:
                name = f"{panel['panelIndex']}:{reference['name']}"
                assert names[name] == reference | {"name": name}
                needed.add(name)
    controls = json.loads(dashboard["attributes"]["controlGroupInput"]["panelsJSON"])
    for name, control in controls.items():
        reference = names[f"controlGroup_{name}:optionsListDataView"]
        assert TYPES[reference["id"]][control["explicitInput"]["fieldName"]] == "keyword"
        needed.add(reference["name"])
    assert needed == set(names)


@pytest.mark.parametrize("panel", PANELS, ids=PANEL_IDS)
def test_every_column_asks_for_a_field_of_the_mapping_that_it_can_work_with(panel: Any) -> None:
    assert fields_of(panel.kql) <= TYPES[panel.views["data"]].keys()
    for layer_name, layer in panel.layers.items():
        types = TYPES[panel.views[layer_name]]
        for column in layer["columns"].values():
            assert fields_of(column.get("filter", {}).get("query", "")) <= types.keys()
            operation = column["operationType"]
            if operation in GROUPS:
                assert types[column["sourceField"]] in GROUPS[operation]
            elif operation in METRICS:
                assert types[column["sourceField"]] in NUMBERS
            elif operation == "count":
                assert column["sourceField"] == "___records___"
            else:
                assert operation in {"formula", "math", "static_value"}
                assert "sourceField" not in column


@pytest.mark.parametrize("panel", PANELS, ids=PANEL_IDS)
def test_what_is_drawn_and_what_is_computed_name_the_same_columns(panel: Any) -> None:
    for name, layer in panel.layers.items():
        columns = layer["columns"]
        assert layer["columnOrder"] == list(columns) or sorted(layer["columnOrder"]) == sorted(columns)
        order = [columns[each]["isBucketed"] for each in layer["columnOrder"]]
        assert order == sorted(order, reverse=True), f"{name}: buckets come first"
        for column in columns.values():
            assert set(column.get("references", [])) <= columns.keys()
            ordered_by = column.get("params", {}).get("orderBy", {})
            if ordered_by.get("type") == "column":
                by = columns[ordered_by["columnId"]]
                assert by["operationType"] in {"count", "sum"}, "Lens cannot order by a formula"
    assert panel.layers.keys() == panel.views.keys()
    drawn: dict[str, set[str]] = {}
    match panel.kind:
        case "lnsXY":
            for layer in panel.visualization["layers"]:
                parts = {*layer["accessors"], layer.get("xAccessor"), layer.get("splitAccessor")}
                drawn[layer["layerId"]] = parts - {None}
                assert {each["forAccessor"] for each in layer.get("yConfig", [])} <= set(layer["accessors"])
        case "lnsMetric":
            drawn[panel.visualization["layerId"]] = {panel.visualization["metricAccessor"]}
        case "lnsDatatable":
            names = [each["columnId"] for each in panel.visualization["columns"]]
            drawn[panel.visualization["layerId"]] = set(names)
            assert panel.visualization["sorting"]["columnId"] in names
        case other:
            pytest.fail(f"{other} is not known here")
    helpers = {
        name: {each for each, column in layer["columns"].items() if column["label"].startswith("Part of ")}
        for name, layer in panel.layers.items()
    }
    assert drawn == {name: set(layer["columns"]) - helpers[name] for name, layer in panel.layers.items()}


def test_a_formula_and_its_tree_say_the_same() -> None:
    signs = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/"}
    seen = 0
    for panel in PANELS:
        for layer in panel.layers.values():
            for name, column in layer["columns"].items():
                if column["operationType"] != "formula":
                    continue

                def text(node: Any, columns: dict[str, Any] = layer["columns"], outer: bool = True) -> str:
                    if isinstance(node, str):
                        return metric_text(columns[node])
                    inner = f" {signs[node['name']]} ".join(text(each, columns, False) for each in node["args"])
                    return inner if outer else f"({inner})"

                (root,) = column["references"]
                math = layer["columns"][root]
                tree = math["params"]["tinymathAst"]
                formula = column["params"]["formula"]
                assert text(tree) == formula
                assert set(math["references"]) == {each for each in layer["columns"] if each.startswith(f"{name}X")} - {
                    root
                }
                for node in nodes(tree):
                    assert formula[node["location"]["min"] : node["location"]["max"]] == node["text"]
                seen += 1
    assert seen > 5


def nodes(tree: Any) -> list[dict[str, Any]]:
    return [tree, *(node for each in tree["args"] for node in nodes(each))] if isinstance(tree, dict) else []


def metric_text(column: dict[str, Any]) -> str:
    inside = [] if column["operationType"] == "count" else [column["sourceField"]]
    if "percentile" in column["params"]:
        inside.append(f"percentile={column['params']['percentile']}")
    if "filter" in column:
        inside.append(f"kql='{column['filter']['query']}'")
    return f"{column['operationType']}({', '.join(inside)})"


@pytest.mark.parametrize("search", of_type("search"), ids=lambda each: each["id"])
def test_every_search_shows_and_sorts_by_fields_of_the_mapping(search: dict[str, Any]) -> None:
    (reference,) = search["references"]
    source = json.loads(search["attributes"]["kibanaSavedObjectMeta"]["searchSourceJSON"])
    assert source["indexRefName"] == reference["name"]
    types = TYPES[reference["id"]]
    ((sort_by, _),) = search["attributes"]["sort"]
    assert {*search["attributes"]["columns"], sort_by, *fields_of(source["query"]["query"])} <= types.keys()


@pytest.mark.parametrize("view", of_type("index-pattern"), ids=lambda each: each["id"])
def test_every_data_view_names_an_alias_and_formats_only_fields_that_are_there(view: dict[str, Any]) -> None:
    types = TYPES[view["id"]]
    assert view["attributes"]["title"] == view["id"]
    assert types[view["attributes"]["timeFieldName"]] == "date"
    formats = json.loads(view["attributes"]["fieldFormatMap"])
    assert all(types[name] in NUMBERS for name in formats)


def test_every_flag_that_means_slow_is_a_flag_that_there_is() -> None:
    from logproc.flags import FLAGS
    from logproc.kibana.questions import EMPTY, SLOW, STREAM_ERROR
    from logproc.record import OUTCOMES

    def values(query: Any) -> set[str]:
        if isinstance(query, list):
            return {value for each in query for value in values(each)}
        if not isinstance(query, dict):
            return set()
        return set(query["term"].values()) if "term" in query else {v for each in query.values() for v in values(each)}

    assert values(query_of(SLOW)) | values(query_of(EMPTY)) <= set(FLAGS)
    assert values(query_of(STREAM_ERROR)) <= set(OUTCOMES)


def lines_of(title: str, thresholds: Thresholds) -> dict[str, float]:
    (panel,) = [each for each in lens_panels(thresholds=thresholds) if each.title == title]
    columns = panel.layers.get("thresholds", {}).get("columns", {})
    return {column["label"]: float(column["params"]["value"]) for column in columns.values()}


def test_threshold_lines_are_the_levels_of_the_settings_in_the_unit_of_their_axis() -> None:
    thresholds = Thresholds.model_validate(
        {
            "duration_s": {"warning": 4, "critical": 9},
            "duration_p95_s": None,
            "ttft_s": 1.5,
            "error_ratio": {"warning": 0.02},
            "empty_ratio": {"critical": 0.2},
            "tokens_per_second": 25,
            "stall_s": None,
            "kv_cache_ratio": 0.9,
        }
    )
    assert lines_of("Duration", thresholds) == {"P99: warning": 4e9, "P99: critical": 9e9}
    assert lines_of("Time to first token", thresholds) == {"First token: warning": 1.5e9}
    assert lines_of("Errors and empty answers", thresholds) == {"Errors: warning": 0.02, "Empty: critical": 0.2}
    assert lines_of("Time per output token", thresholds) == {"Per token: warning": 0.04e9}
    assert lines_of("KV cache in use", thresholds) == {"KV cache: warning": 0.9}
    assert lines_of("Longest stall of a stream", thresholds) == {}


def test_a_large_number_changes_its_colour_at_the_thresholds() -> None:
    (panel,) = [each for each in PANELS if each.title == "Errors"]
    stops = panel.visualization["palette"]["params"]["colorStops"]
    assert [each["stop"] for each in stops] == [0, 0.05, 0.1]
    assert len({each["color"] for each in stops}) == 3


def test_a_field_that_is_not_there_or_of_the_wrong_type_stops_the_generator() -> None:
    from logproc.kibana.data_views import data_views
    from logproc.kibana.formula import Metric
    from logproc.kibana.layers import Layer

    layer = Layer(data_views(INDEX).requests)
    with pytest.raises(ValueError, match="has no field"):
        layer.showing("x", Metric("sum", "llm.nothing"), "X")
    with pytest.raises(ValueError, match="sum needs a number"):
        layer.showing("x", Metric("sum", "llm.outcome"), "X")
    with pytest.raises(ValueError, match="cannot group by"):
        layer.by("event.duration", "X")
