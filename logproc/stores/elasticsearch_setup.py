"""`logproc setup elasticsearch`: puts what `elasticsearch_templates.py` says; repeating it does no harm."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable
from typing import Any, Final

from logproc.settings import ElasticsearchStore
from logproc.stores.elasticsearch_client import Connection
from logproc.stores.elasticsearch_names import Names
from logproc.stores.elasticsearch_templates import Part, lifecycle, pipeline, templates

Say = Callable[[str], None]

_KEYS: Final = {"/_component_template/": "component_templates", "/_index_template/": "index_templates"}
_NO_RIGHT: Final = (401, 403)
_NO_PROCESSOR: Final = "No processor type exists"


class SetupRefusedError(Exception):
    """What is there belongs to others or to other settings, or is not to be seen; the message says what to do.

    Nothing was changed.
    """


def plan(store: ElasticsearchStore, service: str, say: Say) -> None:
    """Say every request that `install` would send to a server that has all features, with its body."""
    for part in (lifecycle(store), *templates(store, with_lifecycle=True), pipeline(store, service)):
        say(f"PUT {part.path}")
        say(json.dumps(part.body, indent=2, ensure_ascii=False))


def install(server: Connection, store: ElasticsearchStore, service: str, say: Say, *, dry_run: bool = False) -> bool:
    """Put what is missing or different, and say what became of each part; False when something was refused.

    Where the server lacks lifecycles or ingest processors, it is said, and the rest is put. With `dry_run` it is only
    said what would change.

    Raises:
        SetupRefusedError: templates of this name are there, and are not ours, or of another period; or the login may
            not look.
        StoreUnavailableError: there was no answer.
    """
    _check_owner(server, store)
    well = True
    has_lifecycle = _has_lifecycle(server, say)
    parts = [lifecycle(store)] if has_lifecycle else []
    parts += templates(store, with_lifecycle=has_lifecycle)
    for part in (*parts, pipeline(store, service)):
        well &= _put(server, part, say, dry_run=dry_run)
    return well


def _check_owner(server: Connection, store: ElasticsearchStore) -> None:
    name = Names(store.index).template("requests")
    current = _current(server, f"/_index_template/{name}")
    if current is None:
        return
    ours = (current.get("_meta") or {}).get("logproc")
    if not isinstance(ours, dict):
        raise SetupRefusedError(
            f"the index template {name} is there, and logproc did not make it: set another `store.index`, or delete it"
        )
    if ours.get("period") != store.period:
        raise SetupRefusedError(
            f"the indices of {store.index} cover a {ours.get('period')} each, and `store.period` is {store.period}: "
            "with another period the same line would be stored twice. Set the period back, or another `store.index`."
        )


def _has_lifecycle(server: Connection, say: Say) -> bool:
    status, answer = server.json("GET", "/_ilm/status")
    if status == 200:
        return True
    if status in _NO_RIGHT:
        raise SetupRefusedError(
            f"whether there is a lifecycle cannot be seen ({_reason(status, answer)}): the login needs the cluster "
            "privileges manage_index_templates, manage_ilm and manage_ingest_pipelines"
        )
    say(
        f"! no lifecycle ({_reason(status, answer)}): nothing moves to cold nodes or is deleted here; "
        "delete indices that are too old yourself"
    )
    return False


def _put(server: Connection, part: Part, say: Say, *, dry_run: bool) -> bool:
    name = f"{part.what} {part.path.rpartition('/')[2]}"
    current = _current(server, part.path)
    if current is not None:
        changes = _changes(current, part.body)
        if not changes:
            say(f"= {name}: as it should be")
            return True
        for line in changes:
            say(f"    {line}")
    verb = "created" if current is None else "changed"
    if dry_run:
        say(f"~ {name}: would be {verb}")
        return True
    status, answer = server.json("PUT", part.path, part.body)
    if status == 200:
        say(f"✓ {name}: {verb}")
        return True
    reason = _reason(status, answer)
    if _NO_PROCESSOR in reason:
        say(f"! {name}: this server lacks ingest processors ({reason}); only other shippers would need it")
        return True
    say(f"✗ {name}: refused with {status}: {reason}")
    return False


def _current(server: Connection, path: str) -> dict[str, Any] | None:
    """What is there, in the form in which it is put; None when nothing is."""
    status, answer = server.json("GET", path)
    if status != 200 or not isinstance(answer, dict):
        return None
    for beginning, key in _KEYS.items():
        if path.startswith(beginning):
            entries: list[dict[str, dict[str, Any]]] = answer.get(key, [])
            return entries[0].get(key.removesuffix("s")) if entries else None
    entry: dict[str, Any] | None = answer.get(path.rpartition("/")[2])
    if entry is not None and path.startswith("/_ilm/"):
        return {"policy": entry["policy"]}
    return entry


def _changes(current: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """The lines in which what is there differs from what is wanted; other keys than ours are left out."""
    seen = {key: value for key, value in current.items() if key in wanted}
    before, after = (json.dumps(_normal(each), indent=1, sort_keys=True).splitlines() for each in (seen, wanted))
    changes = difflib.unified_diff(before, after, "there", "wanted", n=1, lineterm="")
    return list(changes)


def _normal(value: Any) -> Any:
    """Elasticsearch gives some numbers and booleans back as strings."""
    if isinstance(value, dict):
        return {key: _normal(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_normal(each) for each in value]
    return str(value).lower() if isinstance(value, bool | int | float) else value


def _reason(status: int, answer: Any) -> str:
    error = answer.get("error") if isinstance(answer, dict) else None
    if isinstance(error, dict):
        error = error.get("reason") or error.get("type")
    return str(error or f"status {status}")[:400]
