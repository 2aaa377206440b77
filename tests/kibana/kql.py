"""KQL → the query of Elasticsearch that Kibana makes of it; of KQL, what our saved objects use."""

from __future__ import annotations

import re
from typing import Any

_TOKENS = re.compile(r"""\s*(?:(?P<quoted>"[^"]*")|(?P<sign><=|>=|[:()<>])|(?P<word>[^\s:()<>"]+))""")


def query_of(kql: str) -> dict[str, Any]:
    """The query of one KQL text; everything for an empty one.

    Raises:
        ValueError: it is no KQL that is known here.
    """
    return _Parser(kql).whole() if kql.strip() else {"match_all": {}}


def fields_of(kql: str) -> set[str]:
    """The fields that a KQL text asks for."""

    def walk(query: Any) -> set[str]:
        if isinstance(query, list):
            return {name for each in query for name in walk(each)}
        if not isinstance(query, dict):
            return set()
        found = set()
        for key, value in query.items():
            match key:
                case "term" | "range":
                    found |= set(value)
                case "exists":
                    found.add(value["field"])
                case _:
                    found |= walk(value)
        return found

    return walk(query_of(kql))


class _Parser:
    def __init__(self, kql: str) -> None:
        self._tokens = []
        place = 0
        while place < len(kql.rstrip()):
            match = _TOKENS.match(kql, place)
            if match is None or match.lastgroup is None:
                raise ValueError(f"not understood: {kql[place:]!r}")
            self._tokens.append((match.lastgroup, match[match.lastgroup]))
            place = match.end()
        self._place = 0

    def whole(self) -> dict[str, Any]:
        query = self._any_of()
        if self._place != len(self._tokens):
            raise ValueError(f"more than one query: {self._tokens[self._place :]}")
        return query

    def _any_of(self) -> dict[str, Any]:
        parts = [self._all_of()]
        while self._took("or"):
            parts.append(self._all_of())
        return parts[0] if len(parts) == 1 else {"bool": {"should": parts, "minimum_should_match": 1}}

    def _all_of(self) -> dict[str, Any]:
        parts = [self._negated()]
        while self._took("and"):
            parts.append(self._negated())
        return parts[0] if len(parts) == 1 else {"bool": {"filter": parts}}

    def _negated(self) -> dict[str, Any]:
        if self._took("not"):
            return {"bool": {"must_not": [self._negated()]}}
        if self._took("("):
            query = self._any_of()
            self._need(")")
            return query
        return self._condition()

    def _condition(self) -> dict[str, Any]:
        name = self._next()
        sign = self._next()
        if sign == ":":
            return self._values(name)
        bounds = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}
        return {"range": {name: {bounds[sign]: float(self._next())}}}

    def _values(self, name: str) -> dict[str, Any]:
        if not self._took("("):
            return self._value(name)
        values = [self._value(name)]
        while self._took("or"):
            values.append(self._value(name))
        self._need(")")
        return {"bool": {"should": values, "minimum_should_match": 1}}

    def _value(self, name: str) -> dict[str, Any]:
        value = self._next()
        return {"exists": {"field": name}} if value == "*" else {"term": {name: value.strip('"')}}

    def _next(self) -> str:
        if self._place == len(self._tokens):
            raise ValueError("it ends too soon")
        self._place += 1
        return self._tokens[self._place - 1][1]

    def _took(self, word: str) -> bool:
        if self._place < len(self._tokens) and self._tokens[self._place] in {("word", word), ("sign", word)}:
            self._place += 1
            return True
        return False

    def _need(self, word: str) -> None:
        if not self._took(word):
            raise ValueError(f"{word!r} is missing")
