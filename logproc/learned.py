"""A decoder that has learned which fields and which few-valued texts a log really has; a new one is simply learned too.

Decoding into a struct of just these fields, with the texts as literals, is a quarter faster than into all fields of the
contract: no column is looked for that is not there, and a known text is the same object every time.
"""

from __future__ import annotations

import re
from typing import Any, Final, Literal, get_type_hints

import msgspec

from logproc.record import RequestRecord

_TEXTS: Final = (
    "event", "method", "path", "outcome", "model", "operation", "finish_reason", "error_type", "host", "service",
)  # fmt: skip
MOST_TEXTS: Final = 32
LONGEST_TEXT: Final = 128
"""A field with more different texts, or a longer one, is a plain string."""
MOST_FIELDS: Final = 120
MOST_LESSONS: Final = 60
"""A log that is still new after so many lessons is decoded the long way."""

ALL_FIELDS: Final = frozenset(RequestRecord.__struct_fields__)
_NAMELESS: Final = re.compile(r'["\\\x00-\x1f]')
"""A field with one of these in its name cannot be part of a struct: it stays new for ever."""
_HINTS: Final = get_type_hints(RequestRecord, include_extras=True)
DEFAULTS: Final[dict[str, Any]] = dict(
    zip(RequestRecord.__struct_fields__, RequestRecord.__struct_defaults__, strict=True)
)

_wide: Final = msgspec.json.Decoder(RequestRecord)
_names: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _can_be_learned(name: str) -> bool:
    return len(name) <= LONGEST_TEXT and not _NAMELESS.search(name)


class LearnedDecoder:
    """Decodes blocks of lines; keeps what it has learned."""

    def __init__(self) -> None:
        self._fields: dict[str, None] = {}
        self._texts: dict[str, set[str]] = {name: set() for name in _TEXTS}
        self._lessons = 0
        self._decoder: msgspec.json.Decoder[Any] | None = None
        self._present: frozenset[str] = ALL_FIELDS
        self.unknown: dict[str, str] = {}
        """Of the fields that are none of the contract: name → attribute of a learned record, empty where missing."""

    def decode_lines(self, data: memoryview) -> tuple[list[RequestRecord], frozenset[str]]:
        """The records of the lines, and the fields that may be present in them; the others are None in all.

        Raises:
            msgspec.MsgspecError, UnicodeDecodeError, RecursionError: a line is no record, or nested too deeply.
        """
        if self._decoder is not None:
            try:
                return self._decoder.decode_lines(data), self._present
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                pass  # something new, or something bad
        rows = _wide.decode_lines(data)
        if self._lessons < MOST_LESSONS:
            self._learn(data, rows)
        return rows, ALL_FIELDS

    def _learn(self, data: memoryview, rows: list[RequestRecord]) -> None:
        self._lessons += 1
        for line in _names.decode_lines(data):
            self._fields.update(dict.fromkeys(filter(_can_be_learned, line)))
        for name, texts in list(self._texts.items()):
            texts.update(value for row in rows if (value := getattr(row, name)) is not None)
            if len(texts) > MOST_TEXTS or max(map(len, texts), default=0) > LONGEST_TEXT:
                del self._texts[name]
        if self._lessons == MOST_LESSONS or len(self._fields) > MOST_FIELDS:
            self._lessons = MOST_LESSONS
            self._decoder = None
            return
        self._present = ALL_FIELDS.intersection(self._fields)
        self._decoder = msgspec.json.Decoder(self._struct())

    def _struct(self) -> type[msgspec.Struct]:
        fields: list[tuple[str, Any, Any]] = []
        rename: dict[str, str] = {}
        for number, name in enumerate(self._fields):
            if name in ALL_FIELDS:
                fields.append((name, self._type(name), DEFAULTS[name]))
            else:  # any name and any value: passed over, but known
                rename[f"unknown_{number}"] = name
                fields.append((f"unknown_{number}", msgspec.Raw, msgspec.Raw()))
        self.unknown = {name: attribute for attribute, name in rename.items()}
        absent = {name: default for name, default in DEFAULTS.items() if name not in self._fields}
        return msgspec.defstruct(
            "Learned", fields, namespace=absent, rename=rename, gc=False, frozen=True, forbid_unknown_fields=True
        )

    def _type(self, name: str) -> Any:
        texts = self._texts.get(name)
        if not texts:
            return _HINTS[name]
        literal = Literal[tuple(sorted(texts))]  # type: ignore[valid-type]
        return literal if name == "event" else literal | None
