"""What a response has said so far: ids, usage, finish reason, content, errors. The text itself is never kept."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

FINISH_ORDER: Final = ("stop", "tool_calls", "", "repetition", "length", "content_filter", "abort", "error")
"""From best to worst, for responses with several choices; `""` stands for a reason of another name."""

MOST_PARTS: Final = 1024
"""Choices, and tool calls, that are told apart in one stream."""

_RANKS: Final = {reason: rank for rank, reason in enumerate(FINISH_ORDER)}
_SAME_REASON: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "tool_use": "tool_calls",
    "function_call": "tool_calls",
    "refusal": "content_filter",
    "cancelled": "abort",
}
_REASON: Final = re.compile(r"[a-z][a-z_]{0,31}")
_ERROR_TYPE: Final = re.compile(r"[^A-Za-z0-9_.\- ]")
_FIELD: Final = re.compile(r"([A-Za-z_]{1,40}(?:\.[A-Za-z0-9_]{1,40})?)(?:[.\[].*)?", re.DOTALL)
"""A field of the request and, one deeper, its first part: further down a user may have chosen the names."""
_MODEL_LENGTH: Final = 256


class Answer(msgspec.Struct, gc=False):
    """The facts of one response. Every number is None until the response has told it."""

    id: str | None = None
    model: str | None = None
    operation: str | None = None
    """The OTel operation by the shape of the body, for routes that serve several."""
    understood: bool = False
    """A generated answer in a shape we know was seen, so its emptiness means something."""
    text: bool = False
    reasoning: bool = False
    tool_call: bool = False
    tool_calls: int = 0
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    max_tokens: int | None = None
    error: bool = False
    error_type: str | None = None
    error_code: int | None = None
    error_param: str | None = None
    content_before_error: bool = False
    first_content_at: float | None = None
    last_content_at: float = 0.0
    longest_gap: float = -1.0
    """Seconds; negative until content was sent twice."""
    n: int = 0
    """The number of choices seen."""
    _choices: frozenset[int] = frozenset()
    """The numbers of those seen in a stream."""
    _calls: frozenset[tuple[int, int]] = frozenset()

    def name(self, response_id: Any, model: Any) -> None:
        """Take the id and the model, where they are told."""
        if self.id is None and isinstance(response_id, str):
            self.id = response_id
        if self.model is None and isinstance(model, str) and model and model.isprintable():
            self.model = model if len(model) <= _MODEL_LENGTH else model[:_MODEL_LENGTH]

    def choice(self, index: Any) -> None:
        """A streamed choice of this number was seen."""
        if isinstance(index, int) and index not in self._choices and self.n < MOST_PARTS:
            self._choices |= {index}
            self.n = len(self._choices)

    def visible(self, text: Any) -> bool:
        """Take generated text; whether there was any. White space is content, but not visible."""
        if not isinstance(text, str) or not text:
            return False
        if not self.text and not text.isspace():
            self.text = True
        return True

    def thought(self, text: Any) -> bool:
        """Take generated reasoning; whether there was any."""
        if not isinstance(text, str) or not text:
            return False
        self.reasoning = True
        return True

    def called(self, choice: Any = None, index: Any = None) -> None:
        """Take a tool call. The parts of a streamed one have the same `choice` and `index`, and count once."""
        self.tool_call = True
        if isinstance(index, int):
            part = (choice if isinstance(choice, int) else 0, index)
            if part not in self._calls and len(self._calls) < MOST_PARTS:
                self._calls |= {part}
                self.tool_calls = len(self._calls)
        else:
            self.tool_calls += 1

    def calling(self) -> None:
        """Take a part of a tool call that was counted before."""
        self.tool_call = True

    def forget_calls(self) -> None:
        """Count the tool calls anew: a whole answer follows what was streamed of it."""
        self.tool_calls = 0

    def content_at(self, at: float) -> None:
        """Generated content was sent at this moment (seconds, monotonic)."""
        if self.first_content_at is None:
            self.first_content_at = at
        elif at - self.last_content_at > self.longest_gap:
            self.longest_gap = at - self.last_content_at
        self.last_content_at = at

    def finish(self, reason: Any) -> None:
        """Take a finish reason, in the words of any dialect; of several the worst stays."""
        if not isinstance(reason, str) or not reason:
            return
        reason = _SAME_REASON.get(reason, reason)
        if reason not in _RANKS and not _REASON.fullmatch(reason):
            return
        if self.finish_reason is None or _rank(reason) > _rank(self.finish_reason):
            self.finish_reason = reason

    def usage(self, usage: Any, *, started: bool = False) -> None:
        """Take token counts in any dialect; what is not told stays as it was.

        Args:
            usage: the decoded `usage` object.
            started: it opens a stream of the messages dialect, where its output count is a placeholder.
        """
        if not isinstance(usage, dict):
            return
        get = usage.get
        prompt, completion = get("prompt_tokens"), get("completion_tokens")
        if prompt is None and completion is None:
            if get("type") != "duration":
                self._usage_of_messages(usage, started=started)
            return
        if type(prompt) is int and prompt >= 0:
            self.prompt_tokens = prompt
        if type(completion) is int and completion >= 0 and not started:
            self.completion_tokens = completion
        inputs, outputs = get("prompt_tokens_details"), get("completion_tokens_details")
        if inputs is not None or outputs is not None:
            self._usage_details(inputs, outputs)

    def _usage_of_messages(self, usage: dict[str, Any], *, started: bool) -> None:
        """Token counts of the messages dialect and of the responses one, which name them alike."""
        get = usage.get
        prompt, completion, cached = map(_count, map(get, ("input_tokens", "output_tokens", "cache_read_input_tokens")))
        if prompt is not None:  # in the messages dialect the input excludes what the cache gave or took
            self.prompt_tokens = prompt + (cached or 0) + (_count(get("cache_creation_input_tokens")) or 0)
        if completion is not None and not started:
            self.completion_tokens = completion
        if cached is not None:
            self.cached_tokens = cached
        self._usage_details(get("input_tokens_details"), get("output_tokens_details"))

    def _usage_details(self, inputs: Any, outputs: Any) -> None:
        cached = _count(inputs.get("cached_tokens")) if isinstance(inputs, dict) else None
        if cached is not None:
            self.cached_tokens = cached
        reasoning = _count(outputs.get("reasoning_tokens")) if isinstance(outputs, dict) else None
        if reasoning is not None:
            self.reasoning_tokens = reasoning

    def failed(self, error_type: Any, code: Any, param: Any) -> None:
        """Take an error's kind, never its message, which echoes what the user wrote."""
        if not self.error:
            self.error = True
            self.content_before_error = self.first_content_at is not None
        if isinstance(error_type, str):
            self.error_type = _ERROR_TYPE.sub("", error_type[:64]) or None
        if isinstance(code, int) and not isinstance(code, bool):
            self.error_code = code
        if isinstance(param, str) and (field := _FIELD.fullmatch(param)):
            self.error_param = field[1]


def _rank(reason: str) -> int:
    return _RANKS.get(reason, _RANKS[""])


def _count(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None
