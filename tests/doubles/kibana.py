"""A double of Kibana's HTTP API: the import of saved objects and the rules of alerting, as documented for 8.19 and 9.

It checks what Kibana checks of a request (the header `kbn-xsrf`, the login, a UUID as the id of a rule, unknown keys of
a rule); it renders nothing, and does not know whether a dashboard would work.
"""

from __future__ import annotations

import email
import email.policy
import json
import re
from collections.abc import Mapping
from typing import Any

from tests.doubles.rest import Request, RestDouble

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[14][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_CREATED = {"name", "rule_type_id", "consumer", "enabled", "schedule", "alert_delay", "tags", "params", "actions"}
_UPDATED = {"name", "schedule", "alert_delay", "tags", "params", "actions"}
_ACTION = {"group", "id", "params", "frequency", "uuid", "alerts_filter", "use_alert_data_for_template"}


class KibanaDouble(RestDouble):
    """`objects` were imported, `rules` put.

    `login` is the header that it wants, `space` what the paths begin with; `refuse_rules` and `broken_objects` are what
    it refuses, and why.
    """

    def __init__(self, login: str | None = None, space: str = "") -> None:
        super().__init__()
        self.login = login
        self.space = space
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.rules: dict[str, dict[str, Any]] = {}
        self.refuse_rules: tuple[int, str, str] | None = None
        self.broken_objects: dict[str, str] = {}
        self.always_answer: tuple[int, Any, Mapping[str, str]] | None = None

    def answer(self, request: Request) -> tuple[int, Any, Mapping[str, str]]:
        if self.always_answer is not None:
            return self.always_answer
        if self.login is not None and request.headers.get("authorization") != self.login:
            return _error(401, "Unauthorized", "[security_exception] unable to authenticate")
        if request.method != "GET" and "kbn-xsrf" not in request.headers:
            return _error(400, "Bad Request", "Request must contain a kbn-xsrf header.")
        if not request.path.startswith(f"{self.space}/api/"):
            return _error(404, "Not Found", "Not Found")
        path = request.path.removeprefix(self.space)
        if request.method == "POST" and path == "/api/saved_objects/_import?overwrite=true":
            return self._import(request)
        if path.startswith("/api/alerting/rule/"):
            return self._rule(request, path.removeprefix("/api/alerting/rule/"))
        return _error(404, "Not Found", "Not Found")

    def _import(self, request: Request) -> tuple[int, Any, Mapping[str, str]]:
        head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
        form = email.message_from_bytes(head + request.body, policy=email.policy.HTTP)
        (part,) = form.iter_parts()
        assert part.get_param("name", header="content-disposition") == "file"
        assert (part.get_filename() or "").endswith(".ndjson")
        payload = part.get_payload(decode=True)
        assert isinstance(payload, bytes)
        objects = [json.loads(line) for line in payload.splitlines() if line]
        results, errors = [], []
        for each in objects:
            key = (each["type"], each["id"])
            result = {"type": each["type"], "id": each["id"]}
            missing = [(r["type"], r["id"]) for r in each["references"] if (r["type"], r["id"]) not in self.objects]
            if missing:
                errors.append(result | {"error": {"type": "missing_references", "references": missing}})
            elif each["id"] in self.broken_objects:
                errors.append(result | {"error": {"type": "unknown", "message": self.broken_objects[each["id"]]}})
            else:
                results.append(result | ({"overwrite": True} if key in self.objects else {}))
                self.objects[key] = each
        answer = {"success": not errors, "successCount": len(results), "successResults": results}
        return 200, answer | ({"errors": errors} if errors else {}), {}

    def _rule(self, request: Request, rule_id: str) -> tuple[int, Any, Mapping[str, str]]:
        if self.refuse_rules is not None:
            return _error(*self.refuse_rules)
        if request.method == "GET":
            if rule_id not in self.rules:
                return _error(404, "Not Found", f"Saved object [alert/{rule_id}] not found")
            return 200, self.rules[rule_id], {}
        body = request.json
        if not _UUID.fullmatch(rule_id):
            return _error(400, "Bad Request", "Predefined IDs are not allowed unless the ID is a UUID.")
        unknown = body.keys() - (_CREATED if request.method == "POST" else _UPDATED)
        unknown |= {key for action in body["actions"] for key in action.keys() - _ACTION}
        if unknown:
            return _error(400, "Bad Request", f"[request body.{unknown.pop()}]: definition for this key is missing")
        if request.method == "POST" and rule_id in self.rules:
            return _error(409, "Conflict", f"Saved object [alert/{rule_id}] conflict")
        self.rules[rule_id] = self.rules.get(rule_id, {"id": rule_id}) | body
        return 200, self.rules[rule_id], {}


def _error(status: int, error: str, message: str = "") -> tuple[int, Any, Mapping[str, str]]:
    return status, {"statusCode": status, "error": error, "message": message or error}, {}
