"""What the answer to a bulk request means, document by document: who is at fault, and what is to be done; no I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgspec

FILTER_PATH: Final = (
    "errors,error,items.*.status,items.*.failure_store,items.*.error.type,items.*.error.reason,"
    "items.*.error.caused_by.type,items.*.error.caused_by.reason"
)
"""What the server is to leave in its answer. `status` is there for every document, so places do not shift."""

MOST_REFUSED_SHARE: Final = 0.01
FEW_REFUSED: Final = 10
LATELY: Final = 10_000
"""More refused documents, of about so many that came last, than both allow: the fault is the mapping's, not theirs."""

_OWN_FAULT: Final = frozenset(
    {
        "document_parsing_exception",
        "mapper_parsing_exception",
        "parsing_exception",
        "parse_exception",
        "json_parse_exception",
        "x_content_parse_exception",
        "number_format_exception",
        "strict_dynamic_mapping_exception",
        "max_bytes_length_exceeded_exception",
    }
)
"""Types of error that only the document itself can be the cause of."""

_NO_MAPPINGS_FAULT: Final = ("Duplicate field", "StreamReadConstraints")
"""Words of reasons why the server cannot read the JSON of a document, whatever its mapping."""

_ADVICE: Final = (
    ("cluster_block_exception", "Take the block away (is its disk full?)."),
    ("index_closed_exception", "Open the index."),
    ("validation_exception", "Give the cluster more shards a node, or delete old indices."),
    ("security_exception", "Give the user or key of the settings the right to write, or mend it."),
    ("index_not_found_exception", "Allow the cluster to create indices (action.auto_create_index)."),
)
_ELSEWHERE: Final = "Something between here and there sends us elsewhere: check `store.urls`."
_GENERAL_ADVICE: Final = "It is tried again until it works; nothing is lost meanwhile."

_BEFORE_VALUES: Final = re.compile(r" in document with id| Preview of| at \[Source|:? For input string")
"""Where a reason goes on with what the document holds."""

_CONFLICT: Final = 409
_TOO_LARGE: Final = 413
_TOO_MANY: Final = 429
_REASON_LENGTH: Final = 300


class Refusal(NamedTuple):
    """A document that the server will never take: its place in the request, and why."""

    place: int
    error_type: str
    reason: str


@dataclass(slots=True)
class Verdict:
    """What one answer means. Every document of the request is counted once, or stands in `refused` or `again`."""

    stored: int = 0
    duplicate: int = 0
    refused: list[Refusal] = field(default_factory=list)
    again: list[int] = field(default_factory=list)
    """Places of the documents to send again."""
    split: bool = False
    """The request as a whole is too large for the server."""
    busy: bool = False
    """The server has too much to do: send less at a time."""
    problem: str | None = None
    """Why the documents of `again` are not stored, and what helps."""
    pause: bool = False
    """The problem is a fault of the cluster that somebody must mend, so it is to be said at once."""
    suspected: bool = False
    """Documents of `again` were refused, but the mapping is suspected."""


class _Cause(msgspec.Struct):
    type: str = ""
    reason: str | None = None


class _Error(_Cause):
    caused_by: _Cause | None = None

    def says(self, word: str) -> bool:
        """Whether the error or its cause gives this reason."""
        causes: Iterable[_Cause] = (self, self.caused_by) if self.caused_by else (self,)
        return any(word in (cause.reason or "") for cause in causes)


class _Result(msgspec.Struct):
    status: int
    error: _Error | None = None
    failure_store: str = ""


class _Item(msgspec.Struct):
    create: _Result


class _Summary(msgspec.Struct):
    errors: bool
    items: msgspec.Raw


class _Failure(msgspec.Struct):
    error: msgspec.Raw = msgspec.Raw(b"null")


_summary: Final = msgspec.json.Decoder(_Summary)
_items: Final = msgspec.json.Decoder(list[_Item])
_failure: Final = msgspec.json.Decoder(_Failure)
_error: Final = msgspec.json.Decoder(_Error)


def judge(status: int, body: bytes, count: int) -> Verdict:
    """What an answer to a bulk request of `count` documents, each a `create` with its id, means for each of them."""
    if status in {200, 201}:
        return _judge_items(body, count)
    every = list(range(count))
    if status == _TOO_LARGE:
        if count > 1:
            return Verdict(again=every, split=True)
        return Verdict(refused=[Refusal(0, "too_large", "the server does not take a request of this size (413)")])
    error = _whole_error(body)
    return Verdict(
        again=every, busy=status == _TOO_MANY, problem=_say(status, error), pause=_is_to_be_mended(status, error)
    )


def _judge_items(body: bytes, count: int) -> Verdict:
    try:
        summary = _summary.decode(body)
        if not summary.errors and b"failure_store" not in body:
            # Each document's own status stands there for its place, and so that a cut answer is noticed.
            if bytes(summary.items).count(b'"status"') == count:
                return Verdict(stored=count)
            raise msgspec.ValidationError("another number of documents")
        items = _items.decode(summary.items)
        if len(items) != count:
            raise msgspec.ValidationError("another number of documents")
    except msgspec.DecodeError:
        return Verdict(again=list(range(count)), problem=_unreadable(body))
    verdict = Verdict()
    for place, item in enumerate(items):
        _judge_item(verdict, place, item.create)
    return verdict


def _judge_item(verdict: Verdict, place: int, result: _Result) -> None:
    error = result.error or _Error(type=f"status {result.status}")
    if result.status in {200, 201}:
        if result.failure_store == "used":
            verdict.refused.append(Refusal(place, "failure_store", "kept in the failure store of a data stream"))
        else:
            verdict.stored += 1
    elif result.status == _CONFLICT and error.type == "version_conflict_engine_exception":
        verdict.duplicate += 1
    elif _is_own_fault(result.status, error):
        verdict.refused.append(Refusal(place, error.type, _reason(error)))
    else:
        verdict.again.append(place)
        verdict.busy |= result.status == _TOO_MANY
        to_be_mended = _is_to_be_mended(result.status, error)
        if verdict.problem is None or (to_be_mended and not verdict.pause):
            verdict.problem, verdict.pause = _say(result.status, error), to_be_mended


def _is_own_fault(status: int, error: _Error) -> bool:
    if status != 400:
        return False
    if "Limit of total fields" in (error.reason or "") or error.says("Limit of total fields"):
        return False  # of the index
    return error.type in _OWN_FAULT or error.says("immense term")


class RefusedLately:
    """How many of the last documents of one index were refused, be it in requests of one document each."""

    def __init__(self) -> None:
        self._refused = 0
        self._seen = 0

    def problem(self, verdict: Verdict, count: int, index: str) -> str | None:
        """What is wrong with the mapping if too many are refused with this answer about `count` documents, else None.

        What the documents hold is not in it.
        """
        suspect = [each for each in verdict.refused if not any(word in each.reason for word in _NO_MAPPINGS_FAULT)]
        refused, seen = self._refused + len(suspect), self._seen + count - len(verdict.again)
        if not suspect or refused <= max(FEW_REFUSED, seen * MOST_REFUSED_SHARE):
            shrink = 2 if seen > LATELY else 1
            self._refused, self._seen = refused // shrink, seen // shrink
            return None
        self._seen = seen - len(verdict.refused)  # those will be tried again
        reason = _BEFORE_VALUES.split(suspect[0].reason, maxsplit=1)[0]
        return (
            f"{refused} of the last {seen} documents were refused ({suspect[0].error_type}: {reason}), so {index} has "
            f"another mapping than ours. Reindex or remove it, after `logproc setup elasticsearch`. {_GENERAL_ADVICE}"
        )

    def mended(self) -> None:
        """Documents that were suspected are stored now."""
        self._refused = 0


def _is_to_be_mended(status: int, error: _Error | None) -> bool:
    """Whether the fault is one that does not pass by itself: not that of a server that is busy or just starting."""
    if error is not None and error.type == "cluster_block_exception":
        return True  # also as 429, where its disk is full
    return status not in {408, _TOO_MANY} and status < 500


def _whole_error(body: bytes) -> _Error | None:
    try:
        return _error.decode(_failure.decode(body).error)
    except msgspec.DecodeError:
        return None


def _say(status: int, error: _Error | None) -> str:
    if error is None:
        what = f"the server answers {status}"
    else:
        what = f"the server answers {status} {error.type}: {_reason(error)}"
    advice = next((text for kind, text in _ADVICE if error is not None and error.type == kind), None)
    if advice is None and status in {401, 403}:
        advice = _ADVICE[3][1]
    if status // 100 == 3:
        advice = _ELSEWHERE
    return f"{what.rstrip('.')}. {advice or _GENERAL_ADVICE}"


def _reason(error: _Error) -> str:
    parts = [error.reason or ""]
    if error.caused_by is not None and error.caused_by.reason:
        parts.append(error.caused_by.reason)
    return _cut(": ".join(part for part in parts if part))


def _unreadable(body: bytes) -> str:
    kind = "an answer that is none of a bulk request" if body else "an empty answer"
    return f"the server gives {kind}. Is something between here and there that changes answers? {_GENERAL_ADVICE}"


def _cut(text: str | Any) -> str:
    return " ".join(str(text).split())[:_REASON_LENGTH]
