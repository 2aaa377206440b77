"""Configurations of other shippers: they hand the line whole to logproc's pipeline, and mark empty answers.

The programs themselves are not here. What is checked: the form of each file, the names that logproc uses, the condition
on lines as `serve` writes them, and (tests/stores/test_elasticsearch_setup.py) what the pipeline makes of a line.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from logstash_pipeline_parser import Pipeline

from logproc.settings import ElasticsearchStore
from logproc.stores.elasticsearch_templates import pipeline
from tests.stack.compose import PIPELINE, ROOT

FOLDER = ROOT / "pipelines" / "shippers"
STORE = ElasticsearchStore(kind="elasticsearch")


class Shipped(NamedTuple):
    """What a configuration says, in whatever words its program has for it."""

    paths: str
    pipeline: str
    name_of_index: str
    action: str
    empty_when: str
    tag: str


def filebeat() -> Shipped:
    config = yaml.safe_load((FOLDER / "filebeat.yml").read_text())
    (source,) = config["filebeat.inputs"]
    (path,) = source["paths"]
    made = {name: value for each in config["processors"] for name, value in each.items()}
    output = config["output.elasticsearch"]
    assert not config["setup.template.enabled"]
    assert not config["setup.ilm.enabled"]
    assert "parsers" not in source, "the line goes whole, in `message`"
    action = made["add_fields"]["fields"]["op_type"]
    tag = made["add_tags"]
    (name,) = tag["tags"]
    return Shipped(path, output["pipeline"], output["index"], action,
                   tag["when"]["regexp"]["message"], name)  # fmt: skip


def fluent_bit() -> Shipped:
    config = yaml.safe_load((FOLDER / "fluent-bit.yaml").read_text())["pipeline"]
    ((source,), (output,)) = (config["inputs"], config["outputs"])
    (tag,) = source["processors"]["logs"]
    assert output["match"] == source["tag"]
    assert source["key"] == "message"
    assert (source["path_key"], source["offset_key"]) == ("log.file.path", "log.offset")
    return Shipped(source["path"], output["pipeline"], output["index"], output["write_operation"],
                   tag["condition"]["rules"][0]["value"], tag["value"])  # fmt: skip


def logstash() -> Shipped:
    text = (FOLDER / "logstash.conf").read_text()
    sections: dict[str, Any] = dict(Pipeline(text).parse())
    source = dict(sections["input"][0][1])
    output = dict(sections["output"][0][1])
    assert output["manage_template"] == output["ilm_enabled"] == output["data_stream"] == [False]
    when = re.search(r"=~ /(.*?)/ {", text)
    assert when is not None
    (tag,) = re.findall(r'add_tag => \["(\w+)"\]', text)
    one = {name: value[0] for name, value in output.items()}
    return Shipped(str(source["path"][0]), one["pipeline"], one["index"], one["action"], when[1], tag)


@pytest.mark.parametrize("read", [filebeat, fluent_bit, logstash])
def test_every_shipper_hands_lines_to_the_pipeline_that_setup_puts_and_creates_each_once(read: Any) -> None:
    shipped = read()

    assert shipped.paths == yaml.safe_load(PIPELINE.read_text())["logs"]["paths"][0]
    assert f"/_ingest/pipeline/{shipped.pipeline}" == pipeline(STORE, "vllm").path
    assert shipped.name_of_index == STORE.index
    assert shipped.action == "create", "a repeat of an id is refused, not written over"
    assert shipped.tag == "empty_response"


@pytest.mark.parametrize("read", [filebeat, fluent_bit, logstash])
def test_the_tag_is_put_on_empty_answers_and_on_no_others(read: Any) -> None:
    lines = (Path(__file__).parents[1] / "fixtures" / "vllm_access.jsonl").read_text().splitlines()
    outcomes = {line: json.loads(line).get("outcome") for line in lines}
    empty = {line for line, outcome in outcomes.items() if outcome == "empty"}

    assert empty
    assert {line for line in lines if re.search(read().empty_when, line)} == empty
