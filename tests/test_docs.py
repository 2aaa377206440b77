"""The docs name everything there is: a metric, a setting or a reason that is not documented fails here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from logproc.alerts.alert import CAUSES, KINDS
from logproc.alerts.diagnosis import SHARES
from logproc.decode import REASONS
from logproc.flags import FLAGS
from logproc.measure.catalog import catalog
from logproc.measure.servers import GAUGES
from logproc.notify import dingtalk, feishu, slack, wecom
from logproc.notify.text import NAMES as TEMPLATE_NAMES
from logproc.record import OUTCOMES, REQUEST_FIELDS
from logproc.settings import Settings
from logproc.settings_notifiers import NOTIFIERS
from logproc.stores.fields import REQUEST_FIELDS as DOCUMENT_FIELDS
from logproc.stores.fields import SERVER_FIELDS

DOCS = Path(__file__).parents[1] / "docs"
SETTINGS = Settings.model_validate({"logs": {"paths": ["-"]}})


def words(page: str) -> set[str]:
    return set(re.findall(r"[A-Za-z_][A-Za-z0-9_.]*", (DOCS / page).read_text()))


def test_every_metric_is_documented() -> None:
    names = {
        (metric.name if metric.is_own else f"llm_{metric.name}") + ("" if metric.edges else "_total")
        for metric in catalog(SETTINGS).values()
    }
    names |= {f"llm_{name}" for name in GAUGES}

    assert names - words("metrics.md") == set()


def test_every_flag_is_documented() -> None:
    assert set(FLAGS) - words("metrics.md") == set()


def test_every_kind_of_alert_every_cause_and_every_part_of_the_excess_are_explained() -> None:
    never_told = {"batch"}
    assert {*KINDS, *CAUSES, *SHARES} - words("alerts.md") == never_told


def test_every_field_outcome_and_reason_is_documented() -> None:
    assert {*REQUEST_FIELDS, *OUTCOMES, *REASONS} - words("access-line.md") == set()


def test_every_column_and_its_name_in_a_document_are_documented() -> None:
    page = (DOCS / "query.md").read_text()
    for field in (*DOCUMENT_FIELDS, *SERVER_FIELDS):
        assert f"`{field.column}` = `{field.name}`" in page


def test_every_setting_is_documented() -> None:
    keys: set[str] = set()

    def walk(model: BaseModel, prefix: str = "") -> None:
        for name in type(model).model_fields:
            value = getattr(model, name)
            if isinstance(value, BaseModel) and name in {"logs", "http", "metrics", "store"}:
                walk(value, f"{name}.")
            elif name == "thresholds":
                keys.update(type(value).model_fields)
            else:
                keys.add(prefix + name)

    walk(SETTINGS)
    documented = {part for word in words("settings.md") for part in (word, word.removeprefix("thresholds."))}
    assert keys - documented == set()


def test_every_key_of_a_notifier_every_name_in_templates_and_every_known_answer_are_documented() -> None:
    keys = {field.alias or name for section in NOTIFIERS for name, field in section.model_fields.items()}
    page = (DOCS / "notifications.md").read_text()
    known: set[object] = {*dingtalk.KNOWN, *wecom.KNOWN, *feishu.KNOWN, *slack.KNOWN}
    dingtalks_unsafe = {430102, 430103}  # within a range

    assert {*keys, *TEMPLATE_NAMES} - words("notifications.md") == set()
    assert [code for code in known - dingtalks_unsafe if str(code) not in page] == []


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", *(f"docs/{path.name}" for path in DOCS.glob("*.md"))])
def test_every_link_between_pages_leads_somewhere(page: str) -> None:
    path = DOCS.parent / page
    for target in re.findall(r"\]\((?!http)([^)#]+)", path.read_text()):
        assert (path.parent / target).exists(), target
