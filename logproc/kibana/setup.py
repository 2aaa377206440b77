"""`logproc setup kibana`: imports the saved objects and puts the rules; repeating it does no harm."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from logproc.kibana.connection import Answer, Connection
from logproc.kibana.objects import SavedObject, ndjson, saved_objects
from logproc.kibana.rules import Rule, rules
from logproc.settings import Thresholds

Say = Callable[[str], None]

_IMPORT: Final = "/api/saved_objects/_import?overwrite=true"
_KEPT_OF_AN_ACTION: Final = (
    "group", "id", "params", "frequency", "uuid", "alerts_filter", "use_alert_data_for_template",
)  # fmt: skip
"""What the API takes back of an action that it gave."""


def plan(index: str, thresholds: Thresholds, say: Say) -> None:
    """Say every request that `install` would send, with its body."""
    for name, objects in saved_objects(index, thresholds).items():
        say(f"POST {_IMPORT}   ({name}, a form with one file)")
        say(ndjson(objects).rstrip("\n"))
    for rule in rules(index, thresholds):
        say(f"POST /api/alerting/rule/{rule.id}   (PUT where it is there already)")
        say(json.dumps(rule.body, indent=2, ensure_ascii=False))


def install(kibana: Connection, index: str, thresholds: Thresholds, say: Say) -> bool:
    """Import the objects, then put the rules, and say what became of each; False when something was refused.

    Objects that are there already are replaced; the actions that people gave to a rule stay.

    Raises:
        KibanaUnreachableError: there was no answer.
    """
    well = True
    for name, objects in saved_objects(index, thresholds).items():
        well &= _import(kibana, name, objects, say)
    for rule in rules(index, thresholds):
        well &= _put_rule(kibana, rule, say)
    return well


def _import(kibana: Connection, name: str, objects: list[SavedObject], say: Say) -> bool:
    answer = kibana.import_objects(_IMPORT, ndjson(objects))
    body: dict[str, Any] = answer.body if isinstance(answer.body, dict) else {}
    if answer.status != 200 or "successCount" not in body:
        say(f"✗ {name}: {_refusal(answer)}")
        return False
    titles = {each["id"]: each["attributes"]["title"] for each in objects}
    for each in body.get("successResults", []):
        say(f"✓ {each.get('type')} {titles.get(each.get('id'))}: {'replaced' if each.get('overwrite') else 'created'}")
    for each in body.get("errors", []):
        error = each.get("error", {})
        say(f"✗ {each.get('type')} {titles.get(each.get('id'))}: {error.get('message') or error.get('type')}")
    return not body.get("errors")


def _put_rule(kibana: Connection, rule: Rule, say: Say) -> bool:
    path = f"/api/alerting/rule/{rule.id}"
    there = kibana.send("GET", path)
    if there.status == 200 and isinstance(there.body, dict):
        actions = [
            {key: action[key] for key in _KEPT_OF_AN_ACTION if action.get(key) is not None}
            for action in there.body.get("actions", [])
        ]
        answer = kibana.send("PUT", path, rule.update | {"actions": actions})
        done = f"replaced, with its {len(actions)} action(s)"
    elif there.status == 404:
        answer = kibana.send("POST", path, rule.body)
        done = "created, without actions: add in Kibana who is told"
    else:
        answer, done = there, ""
    if answer.status == 200 and isinstance(answer.body, dict):
        say(f"✓ rule {rule.name}: {done}")
        return True
    say(f"✗ rule {rule.name}: {_refusal(answer)}")
    return False


def _refusal(answer: Answer) -> str:
    """Kibana's own words, and what helps."""
    if answer.body is None:
        return f"status {answer.status} without JSON: is there a Kibana at `kibana.url`?"
    helps = {
        301: "check `kibana.url`: it points elsewhere",
        302: "check `kibana.url`: it points elsewhere",
        401: "check the login in `kibana`",
        403: "the login lacks this privilege in Kibana (saved objects, or rules of Logs)",
        404: "is this Kibana, 8.19 or newer, and its space right?",
        503: "Kibana is not ready yet: try again",
    }
    told = helps.get(answer.status)
    return f"refused with {answer.status}: {answer.said}" + (f"; {told}" if told else "")
