"""A double of the features that the minimal build of Elasticsearch lacks: it records what it is given, nothing more.

It gives back what was put in the form of the real server (settings as strings, the lifecycle's version and date), and
takes everything as right: whether a policy or pipeline is valid it does not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from tests.doubles.rest import Request, RestDouble


class ElasticsearchFeaturesDouble(RestDouble):
    """`parts` is what was put, by path; `refused` answers a PUT below a path with a status and a reason.

    `login` is the header that it wants.
    """

    always: ClassVar[Mapping[str, str]] = {"X-Elastic-Product": "Elasticsearch"}

    def __init__(self) -> None:
        super().__init__()
        self.parts: dict[str, dict[str, Any]] = {}
        self.refused: dict[str, tuple[int, str]] = {}
        self.login: str | None = None

    def answer(self, request: Request) -> tuple[int, Any, Mapping[str, str]]:
        path = request.path
        if self.login is not None and request.headers.get("authorization") != self.login:
            error = {"type": "security_exception", "reason": "unable to authenticate"}
            return 401, {"error": error, "status": 401}, {}
        for beginning, (status, reason) in self.refused.items():
            if request.method == "PUT" and path.startswith(beginning):
                return status, {"error": {"type": "double", "reason": reason}, "status": status}, {}
        if request.method == "PUT":
            self.parts[path] = request.json
            return 200, {"acknowledged": True}, {}
        if path == "/_ilm/status":
            return 200, {"operation_mode": "RUNNING"}, {}
        if path not in self.parts:
            return 404, {"error": {"type": "resource_not_found_exception", "reason": "not there"}, "status": 404}, {}
        return 200, _as_given_back(path, self.parts[path]), {}


def _as_given_back(path: str, body: dict[str, Any]) -> dict[str, Any]:
    _, kind, *_, name = path.split("/")
    match kind:
        case "_ilm":
            return {name: {"version": 1, "modified_date": "2026-11-21T10:00:00.000Z", "policy": body["policy"]}}
        case "_ingest":
            return {name: body}
        case "_component_template":
            return {"component_templates": [{"name": name, "component_template": _as_texts(body)}]}
        case _:
            return {"index_templates": [{"name": name, "index_template": body}]}


def _as_texts(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_texts(each) for key, each in value.items()}
    return str(value).lower() if isinstance(value, bool | int) else value
