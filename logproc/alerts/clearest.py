"""The requests that show trouble most clearly: at most three of each sort for every model and slot of time.

They are found while the bytes of their lines are at hand, since the id of a line may be made of these. The three with
the highest values of a slot are among the three of each part of it: merging is choosing again.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from logproc.alerts.alert import Kind
from logproc.alerts.columns import Ints
from logproc.batch import LineAt
from logproc.events import TOO_LATE, Floats, Gathered
from logproc.ids import derived_id, id_text
from logproc.record import RequestRecord, line_id_bytes
from logproc.tailing.block import Block

if TYPE_CHECKING:
    from logproc.alerts.gather import Gatherer

SLOT_S: Final = 10
MOST: Final = 3
"""So many are kept of a slot: an alert lasts for several."""
EXAMPLES: Final = 5
"""So many are named in an alert."""
BACK_S: Final = 600
"""An alert names requests of so many seconds before its entry at most."""
LEAST_TO_BLAME: Final = 8
"""So many requests must be known to tell whose they are."""
LEAST_SHARE: Final = 0.1
"""Whoever sent fewer of them is not named."""

Sort = Literal["slow", "first_token", "speed", "error", "empty"]
SORT_OF: Final[dict[Kind, Sort]] = {
    "latency_p99": "slow", "latency_p95": "slow", "drift": "slow", "ttft": "first_token",
    "tokens_per_second": "speed", "errors": "error", "empty": "empty",
}  # fmt: skip
"""Which sort of requests shows an alert of a kind."""


class Pick(NamedTuple):
    """One request: the higher its value the clearer it is, and of equals the earlier."""

    value: float
    time_ms: int
    id: str
    client: str | None


Slots = dict[tuple[str, int], dict[Sort, list[Pick]]]
"""By model and slot (SLOT_S seconds each, since 1970), the clearest first."""


def merge(slots: Slots, more: Slots) -> None:
    """Choose again, of both."""
    for key, sorts in more.items():
        mine = slots.setdefault(key, {})
        for sort, picks in sorts.items():
            known = mine.get(sort)
            mine[sort] = picks if known is None else sorted({*known, *picks}, key=_clearest)[:MOST]


def examples(
    slots: Slots, kind: Kind, models: Iterable[str], since: int, second: int
) -> tuple[list[str], dict[str, float]]:
    """The ids of the clearest requests for an alert, from `since` until `second`, and whose they are for the most part:
    the shares of those who sent them, empty where too few are known.

    A slot counts when it is over, so that it does not matter how far the log was read.
    """
    sort = SORT_OF.get(kind)
    if sort is None:
        return [], {}
    first = max(since, second - BACK_S) // SLOT_S
    found = [
        pick
        for model in models
        for slot in range(first, (second + 1) // SLOT_S)
        for pick in slots.get((model, slot), {}).get(sort, ())
    ]
    clients = Counter(pick.client for pick in found if pick.client)
    shares = {name: round(count / len(found), 3) for name, count in clients.most_common(3)}
    known = len(found) >= LEAST_TO_BLAME
    return (
        [pick.id for pick in sorted(found, key=_clearest)[:EXAMPLES]],
        {name: share for name, share in shares.items() if known and share >= LEAST_SHARE},
    )


def _clearest(pick: Pick) -> tuple[float, int, str]:
    return -pick.value, pick.time_ms, pick.id


class Finder:
    """Finds them in the requests of a block."""

    def __init__(self, gatherer: Gatherer) -> None:
        self._gatherer = gatherer
        self._known: object = None

    def look(self, slots: Slots, block: Block, rows: Sequence[RequestRecord], kind: npt.NDArray[np.int32],
             line_at: LineAt, gathered: Gathered) -> None:  # fmt: skip
        """Add the clearest of the requests that were gathered last to `slots`."""
        if not len(rows):
            return
        if self._known != (gathered.kinds, len(gathered.kinds.list)):
            self._learn(gathered)
        duration, ttft, completion = (gathered.latest(name) for name in ("duration_ms", "ttft_ms", "completion_tokens"))
        assert duration is not None
        assert completion is not None
        if self._has_twins:
            twin = gathered.kinds.twins[kind]
            kind = np.where((completion == 0) & (twin >= 0), twin, kind)
        wanted = (duration > self._least["slow"]) | self._is_bad.take(kind)
        if ttft is not None:
            wanted |= ttft > self._least["first_token"]
        tpot = gathered.latest("tpot_ms")
        if tpot is not None:
            wanted |= tpot > self._least["speed"]
        found = np.flatnonzero(wanted)
        found = found[gathered.latest_seconds[found] != TOO_LATE]
        if not len(found):
            return
        seconds = gathered.latest_seconds[found]
        kind, duration, completion = kind[found], duration[found], completion[found]
        model = self._gatherer.model_of_kind.take(kind)
        group = model * (1 << 40) + seconds // SLOT_S
        base, per_prompt, per_token = (bound.take(kind) for bound in self._gatherer.bounds[-3:])
        prompt, cached = gathered.latest("prompt_tokens"), gathered.latest("cached_tokens")
        assert prompt is not None
        uncached = _or_0(prompt[found])
        if cached is not None:
            uncached = np.maximum(uncached - _or_0(cached[found]), 0.0)
        first = base + per_prompt * uncached
        values: dict[Sort, Floats] = {}
        over = duration > self._bound["slow"].take(kind)
        if over.any():  # where the size is not known it is not slow for its size
            values["slow"] = np.where(over, duration - first - per_token * completion, np.nan)
        if ttft is not None:
            ttft = ttft[found]
            values["first_token"] = np.where(ttft > self._bound["first_token"].take(kind), ttft - first, np.nan)
        if tpot is not None:
            tpot = tpot[found]
            values["speed"] = np.where(tpot > self._bound["speed"].take(kind), tpot, np.nan)
        is_error, is_empty = self._is_error.take(kind), self._is_empty.take(kind)
        if is_error.any():  # the first are as clear as any
            values["error"] = np.where(is_error, 1.0, np.nan)
        if is_empty.any():
            for place in np.flatnonzero(is_empty).tolist():
                is_empty[place] = _is_odd(rows[found[place]])
            values["empty"] = np.where(is_empty, 1.0, np.nan)
        times, names = gathered.latest_times[found], list(self._gatherer.models)
        for sort, value in values.items():
            best = _highest(value, times, group)
            for at, number, second, clear, time_ms in zip(
                *(column[best].tolist() for column in (found, model, seconds, value.round(3), times)), strict=True
            ):
                picks = slots.setdefault((names[number], second // SLOT_S), {}).setdefault(sort, [])
                if len(picks) == MOST:
                    if (-clear, time_ms) > (-picks[-1].value, picks[-1].time_ms):
                        continue
                    picks.pop()
                row = rows[at]
                pick = Pick(
                    clear, time_ms, _id_of(block, *line_at(at), time_ms), row.user_id or row.api_key_id or row.client
                )
                insort(picks, pick, key=_clearest)

    def _learn(self, gathered: Gathered) -> None:
        kinds = gathered.kinds
        self._gatherer.learn(kinds)
        self._known = kinds, len(kinds.list)
        bounds = {"slow": ("duration_s", "duration_p95_s"), "first_token": ("ttft_s",), "speed": ("tokens_per_second",)}
        self._bound: dict[str, Floats] = {}
        for sort, names in bounds.items():
            levels = [
                bound
                for (name, _), bound in zip(self._gatherer.levels, self._gatherer.bounds, strict=False)
                if name in names
            ]
            self._bound[sort] = np.fmin.reduce(levels) if levels else np.full(len(kinds.list), np.nan)
        self._least = {
            sort: float(np.min(bound, where=~np.isnan(bound), initial=np.inf)) for sort, bound in self._bound.items()
        }
        self._has_twins = bool((kinds.twins >= 0).any())
        self._is_error, self._is_empty = self._gatherer.is_error, self._gatherer.is_empty
        self._is_bad = self._is_error | self._is_empty


def _highest(value: Floats, times: Ints, group: Ints) -> Ints:
    """The places of the MOST highest positive values of each group, of equals the earlier."""
    known = np.flatnonzero(value > 0)
    if len(known) > MOST:
        known = known[np.lexsort((times[known], -value[known], group[known]))]
        groups = group[known]
        begins = np.flatnonzero(np.concatenate([[True], groups[1:] != groups[:-1]]))
        rank = np.arange(len(known)) - np.repeat(begins, np.diff([*begins, len(known)]))
        known = known[rank < MOST]
    return known


def _or_0(values: Floats) -> Floats:
    return np.where(np.isnan(values), 0.0, values)


def _is_odd(row: RequestRecord) -> bool:
    """As the flag `empty_completion`: two tokens were allowed, and no tool was called."""
    return row.completion_tokens is not None and (row.max_tokens is None or row.max_tokens > 1) and not row.tool_calls


class _WithId(msgspec.Struct):
    id: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_decode_id: Final = msgspec.json.Decoder(_WithId).decode


def _id_of(block: Block, offset: int, raw: bytes, time_ms: int) -> str:
    """The `event.id` of a line."""
    own = _decode_id(raw).id
    if not isinstance(own, msgspec.UnsetType):
        try:
            text = msgspec.json.decode(own)
        except (msgspec.DecodeError, UnicodeDecodeError):  # a number beyond all bounds
            text = None
        if line_id_bytes(text, time_ms) is not None:
            return str(text)
    return id_text(derived_id(block.first_line, offset, raw, time_ms))
