"""Whether the index templates of Elasticsearch are ours, so that no index is made with a mapping that nobody wrote."""

from __future__ import annotations

import threading
from typing import Any, Final

from logproc.stores.elasticsearch_client import Connection
from logproc.stores.elasticsearch_names import TEMPLATE_VERSION, Family, Names, Period

_SETUP: Final = "Run `logproc setup elasticsearch`; it goes on by itself then, nothing is lost meanwhile."


class TemplateGuard:
    """Reads the template of a family before the first document goes into each index, and again after `forget`."""

    def __init__(self, connection: Connection, names: Names, period: Period) -> None:
        self._connection = connection
        self._names = names
        self._period = period
        self._lock = threading.Lock()
        self._well: set[str] = set()

    def problem(self, family: Family, index: str) -> str | None:
        """What keeps documents from being written into `index`; None when its template is ours. From any thread.

        Raises:
            StoreUnavailableError: there was no answer.
        """
        with self._lock:
            if index in self._well:
                return None
        name = self._names.template(family)
        status, answer = self._connection.json("GET", f"/_index_template/{name}")
        problem = template_problem(status, answer, name, self._period)
        if problem is None:
            with self._lock:
                self._well.add(index)
        return problem

    def forget(self) -> None:
        """The server was away, or something is wrong with an index: look again."""
        with self._lock:
            self._well.clear()


def template_problem(status: int, answer: Any, name: str, period: Period) -> str | None:
    """What is wrong with an index template, by the answer to the question for it, and what helps; None: nothing."""
    if status == 404:
        return f"the index template `{name}` is missing. {_SETUP}"
    if status != 200:
        return (
            f"the index template `{name}` cannot be read: the server answers {status}. "
            + ("The user or key of the settings needs the right to read templates." if status in {401, 403} else "")
        ).rstrip()
    try:
        found = answer["index_templates"][0]["index_template"].get("_meta", {}).get("logproc", {})
        version, its_period = found.get("version"), found.get("period")
    except (KeyError, IndexError, TypeError, AttributeError):
        return f"the index template `{name}` cannot be read: the answer is not one of Elasticsearch."
    if version is None:
        return f"the index template `{name}` is not ours. Set another `store.index`, or remove it. {_SETUP}"
    if version != TEMPLATE_VERSION:
        newer = isinstance(version, int) and version > TEMPLATE_VERSION
        help_ = "A newer logproc wrote it: install that one." if newer else _SETUP
        return f"the index template `{name}` is of version {version}, and this is {TEMPLATE_VERSION}. {help_}"
    if its_period != period:
        return (
            f"`store.period` is {period}, but the indices are made by the {its_period}: the same line would get a "
            f"second document. Set `period: {its_period}`, or begin another `store.index`."
        )
    return None
