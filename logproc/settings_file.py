"""A settings file → checked settings, or an error that says which key, on which line, and what to do."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, get_args

import yaml
from pydantic import BaseModel, ValidationError

from logproc.settings import Settings
from logproc.settings_notifiers import NOTIFIERS

DIRECTORY: Final = Path("pipelines")
_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")

_IN_OUR_WORDS: Final = {
    "model_type": "should be a section: its keys, indented, one a line",
    "dict_type": "should be a section: its keys, indented, one a line",
    "list_type": "should be a list, e.g. [one, two]",
}

_NOTIFIER_KINDS: Final = tuple(kind for model in NOTIFIERS for kind in get_args(model.model_fields["kind"].annotation))


class SettingsError(Exception):
    """The settings cannot be used; the message has a line for each thing that is wrong."""


def find(given: Path | None, environment: Mapping[str, str] = os.environ) -> Path:
    """The settings file: the argument, else $LOGPROC_PIPELINE, else the only file in ./pipelines."""
    if given is not None:
        return given
    if named := environment.get("LOGPROC_PIPELINE"):
        return Path(named)
    found = sorted(path for path in DIRECTORY.glob("*") if path.suffix in {".yaml", ".yml"})
    if len(found) == 1:
        return found[0]
    if not found:
        raise SettingsError(
            "no settings file: name one, set LOGPROC_PIPELINE, or put one into ./pipelines; the least it may hold: "
            'logs: {paths: ["logs/access*.jsonl"]}'
        )
    names = ", ".join(str(path) for path in found)
    raise SettingsError(f"several settings files in ./pipelines ({names}): name the one you mean")


def load(path: Path, environment: Mapping[str, str] = os.environ) -> Settings:
    """Read and check a settings file.

    Raises:
        SettingsError: it cannot be read, is no YAML, or has keys or values that are wrong; or METRICS_PORT is no port.
    """
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: not UTF-8 at byte {error.start}") from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}" if mark else ""
        raise SettingsError(
            f"{path}{where}: not YAML: {getattr(error, 'problem', None) or 'cannot be parsed'}"
        ) from None
    if not isinstance(values, dict):
        raise SettingsError(f"{path}: expected keys such as `logs:`, found {_kind(values)}")
    _check_port(environment)
    missing: list[str] = []
    try:
        values = _substitute(values, environment, missing)
    except RecursionError:
        raise SettingsError(f"{path}: nested too deeply, or an alias (`*name`) stands inside what it names") from None
    if missing:
        raise SettingsError("\n".join(f"{path}: ${{{name}}} is not set in the environment" for name in missing))
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        lines = [
            f"{path}:{_line(node, (*_without_kinds(each['loc']), *each.get('ctx', {}).get('at', ())))}: {_say(each)}"
            for each in error.errors(include_input=False, include_url=False)
        ]
        raise SettingsError("\n".join(dict.fromkeys(lines))) from None


def _check_port(environment: Mapping[str, str]) -> None:
    port = environment.get("METRICS_PORT", "")
    if port.startswith("tcp://"):  # by Kubernetes, for a service called `metrics`: not meant for us
        return
    if port and not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise SettingsError(f"METRICS_PORT in the environment is {port!r}: expected a port such as 9470, or nothing")


def _kind(value: object) -> str:
    return "an empty file" if value is None else f"a {type(value).__name__}"


def _substitute(value: Any, environment: Mapping[str, str], missing: list[str]) -> Any:
    if isinstance(value, dict):
        return {key: _substitute(each, environment, missing) for key, each in value.items()}
    if isinstance(value, list):
        return [_substitute(each, environment, missing) for each in value]
    if isinstance(value, str):
        missing += [name for name in _VARIABLE.findall(value) if name not in environment]
        return _VARIABLE.sub(lambda match: environment.get(match[1], ""), value)
    return value


def _line(node: yaml.Node | None, location: tuple[int | str, ...]) -> int:
    """The line (from 1) of the deepest key of the location that stands in the file."""
    line = 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == str(part):
                    line, node = key.start_mark.line + 1, value
                    break
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
    return line


def _say(error: Any) -> str:
    """One sentence for one error of pydantic; never with the value, which may be a secret."""
    location = [str(part) for part in _without_kinds(error["loc"])]
    key = ".".join(location)
    if error["type"].startswith("union_tag"):
        expected = error.get("ctx", {}).get("expected_tags") or str(list(_NOTIFIER_KINDS)).strip("[]")
        return f"`{key}`: `kind` should be {' or '.join(expected.rsplit(', ', 1))}"
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(location[-1], list(_keys_beside(location)), n=1, cutoff=0.5)
        return f"unknown key `{key}`" + (f": did you mean `{near[0]}`?" if near else "")
    if error["type"] == "missing":
        return f"`{key}` is missing" + (': e.g. paths: ["logs/access*.jsonl"]' if key == "logs.paths" else "")
    if error["type"] == "list_type" and key == "logs.paths":
        return f'`{key}`: expected a list such as ["logs/access*.jsonl"]'
    message = _IN_OUR_WORDS.get(error["type"]) or str(error["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    return f"`{key}`: {message}" if key else message


def _without_kinds(location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """The location as it stands in the file: pydantic adds the `kind` of a section that may be of several."""
    kind_at = {"store": 1, "notifiers": 2}.get(str(location[0])) if location else None
    if kind_at is None or len(location) <= kind_at:
        return location
    return (*location[:kind_at], *location[kind_at + 1 :])


def _keys_beside(location: list[str]) -> Iterator[str]:
    """The keys that could stand where the unknown one stands."""
    models: list[type[BaseModel]] = [Settings]
    for part in location[:-1]:
        inner: list[type[BaseModel]] = []
        for model in models:
            field = model.model_fields.get(part)
            inner += _models_in(field.annotation if field else None)
        models = inner or models  # the name of an entry (a model, a notifier) stands for its section
    for model in models:
        yield from (field.alias or name for name, field in model.model_fields.items())


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for each in get_args(annotation) for model in _models_in(each)]
