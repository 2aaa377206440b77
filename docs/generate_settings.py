"""The page `settings-reference.md`: every key of the settings, from the model itself, made when the site is built."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Union, get_args, get_origin

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from logproc.settings import ElasticsearchStore, Levels, Settings, SqliteStore
from logproc.settings_notifiers import NOTIFIERS

PAGE = "settings-reference.md"

_HEAD = """\
# Which keys are there, all of them?

Made from the model in the code. What they mean together is in [settings](settings.md), of notifiers in
[notifications](notifications.md), of Elasticsearch in [elasticsearch](elasticsearch.md). For editors: `logproc schema`.

*Levels* are a number (the warning level), `null` (off), or `{warning: …, critical: …, disaster: …, for: 2m}`.
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """What mkdocs calls when it has gathered the pages."""
    files.append(File.generated(config, PAGE, content=text()))
    return files


def text() -> str:
    """The page."""
    parts = [_HEAD, *_table("The pipeline", _keys(Settings))]
    parts += _table("`store` with `kind: sqlite`", _keys(SqliteStore, "store."))
    parts += _table("`store` with `kind: elasticsearch`", _keys(ElasticsearchStore, "store."))
    for notifier in NOTIFIERS:
        (kind,) = get_args(notifier.model_fields["kind"].annotation)
        parts += _table(f"A notifier of `kind: {kind}`", _keys(notifier, "notifiers.NAME."))
    return "\n".join(parts)


def _table(title: str, rows: Iterator[str]) -> list[str]:
    return [f"\n## {title}\n", "| key | kind | default | |", "| --- | --- | --- | --- |", *rows]


def _keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        if name in {"store", "notifiers"} and not prefix:
            continue
        inner = _section(field.annotation)
        if inner is not None and inner is not Levels:
            keyed = get_origin(field.annotation) is dict
            yield from _keys(inner, f"{key}.NAME." if keyed else f"{key}.")
            continue
        yield f"| `{key}` | {_kind(field.annotation)} | {_default(field)} | {(field.description or '').strip()} |"


def _section(annotation: Any) -> type[BaseModel] | None:
    """The section that a key holds, also one that may be null, or one by name."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = [section for each in get_args(annotation) if (section := _section(each)) is not None]
    return found[0] if found else None


def _kind(annotation: Any) -> str:
    if _section(annotation) is Levels:
        return "levels"
    origin, inside = get_origin(annotation), [each for each in get_args(annotation) if each is not type(None)]
    if origin in {list, tuple}:
        return f"list of {_kind(inside[0])}"
    if origin is dict:
        return f"{_kind(inside[1])} by name"
    if origin is not None and str(origin).endswith("Annotated'>"):
        return _kind(inside[0])
    if hasattr(annotation, "__metadata__"):
        return _kind(annotation.__origin__)
    if origin is Union or str(origin) == "<class 'types.UnionType'>":
        return " or ".join(dict.fromkeys(_kind(each) for each in inside))
    if inside:
        return " or ".join(f"`{each}`" for each in inside)
    names = {"str": "text", "int": "whole number", "float": "number", "bool": "true or false", "Path": "path",
             "SecretStr": "secret"}  # fmt: skip
    return names.get(getattr(annotation, "__name__", ""), str(annotation))


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, Levels):
        levels = {name: getattr(value, name) for name in ("warning", "critical", "disaster")}
        known = [f"{name} {level:g}" for name, level in levels.items() if level is not None]
        known += [f"for {value.for_s:g} s"] if value.for_s else []
        return ", ".join(known) or "off"
    if value is None or value in ({}, []):
        return ""
    if isinstance(value, list | tuple):
        return ", ".join(f"`{each}`" for each in value)
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`"
