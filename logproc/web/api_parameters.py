"""The parameters of a question to the API: each known by name, and none misunderstood."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace
from typing import Final

from starlette.requests import Request

from logproc.question import Asked, UsageError, did_you_mean, question_of, span_ms
from logproc.stores.archive import Question
from logproc.web.api_cursor import Cursor, digest, read

RANGE: Final = ("from", "to")
FILTERS: Final = ("outcome", "flag", "model", "client", "user", "id", "slower_than")
PAGE: Final = ("limit", "cursor")
_SEVERAL: Final = frozenset(FILTERS) - {"slower_than"}
MOST_VALUES: Final = 100
LONGEST_VALUE: Final = 1024


class Parameters:
    """What a request gave.

    Raises:
        UsageError: a parameter is unknown, given twice where one is meant, or too long.
    """

    def __init__(self, request: Request, known: Set[str]) -> None:
        self._given: dict[str, list[str]] = {}
        for name, value in request.query_params.multi_items():
            if name not in known:
                there_are = f"there are {', '.join(sorted(known))}" if known else "there are none here"
                hint = did_you_mean(name, sorted(known))
                raise UsageError(f"there is no parameter {name[:100]!r}: {there_are}.{hint}", name[:100])
            self._given.setdefault(name, []).append(value)
        for name, values in self._given.items():
            if len(values) > (MOST_VALUES if name in _SEVERAL else 1):
                raise UsageError(f"{name}: given {len(values)} times, and there may be fewer", name)
            if max(map(len, values)) > LONGEST_VALUE:
                raise UsageError(f"{name}: longer than {LONGEST_VALUE} characters", name)
        self.digest = digest(request.url.path, self._given)

    def one(self, name: str) -> str | None:
        """The value of a parameter that may be given once."""
        return self._given.get(name, [None])[0]

    def number(self, name: str, usual: int, most: int) -> int:
        """A number from 1 to `most`. Raises UsageError."""
        text = self.one(name)
        if text is None:
            return usual
        if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= most):
            raise UsageError(f"{name}: expected a number from 1 to {most}", name)
        return int(text)

    def span_ms(self, name: str) -> float | None:
        """A span of time such as `5m`, in ms. Raises UsageError."""
        text = self.one(name)
        return None if text is None else span_ms(text, name)

    def question(self, now_ms: int, lately: str | None = None) -> tuple[Question, Cursor | None]:
        """The question, and where the last page ended; `lately` is where the range begins when that is not said.

        A range of time means on every page what it meant on the first.

        Raises:
            UsageError: a value cannot be understood.
        """
        given = self._given
        asked = Asked(
            since=self.one("from") if {"from", "to", "id"} & given.keys() else lately,
            to=self.one("to"),
            slower_than=self.one("slower_than"),
            outcome=given.get("outcome", ()),
            flag=given.get("flag", ()),
            model=given.get("model", ()),
            client=given.get("client", ()),
            user=given.get("user", ()),
            id=given.get("id", ()),
        )
        text = self.one("cursor")
        if text is None:
            return question_of(asked, now_ms), None
        cursor = read(text, self.digest)
        unbound = question_of(replace(asked, since=None, to=None), now_ms)
        return replace(unbound, since_ms=cursor.since_ms, until_ms=cursor.until_ms), cursor
