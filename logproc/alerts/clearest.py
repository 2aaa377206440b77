"""The requests that show trouble most clearly: at most three of each sort for every model and slot of time.

They are found while the bytes of their lines are still kept, since the id of a line may be made of these. The three
with the highest values of a slot are among the three of each part of it: merging is choosing again.
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
from logproc.events import TOO_LATE, Events, Floats, Lines
from logproc.flags import FLAGS
from logproc.ids import OwnId, derived_ids, id_texts, own_ids
from logproc.kinds import Kinds

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

_EMPTY: Final = 1 << FLAGS.index("empty_completion")

Mask = npt.NDArray[np.bool_]
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
    """Finds them among the requests that are added up."""

    def __init__(self, gatherer: Gatherer) -> None:
        self._gatherer = gatherer
        self._known: tuple[Kinds | None, int] = None, 0

    def look(
        self, slots: Slots, events: Events, kinds: Kinds, flags: npt.NDArray[np.uint8], lines: Sequence[Lines]
    ) -> None:
        """Add the clearest of the requests to `slots`; `lines` are those of the events, in order."""
        if self._known != (kinds, len(kinds.list)):
            self._learn(kinds)
        is_error = self._gatherer.is_error.take(events.kind)
        is_empty = ((flags & _EMPTY) != 0) & self._gatherer.is_empty.take(events.kind)
        wanted = (events.duration_ms > self._least["slow"]) | is_error | is_empty
        if events.ttft_ms is not None:
            wanted |= events.ttft_ms > self._least["first_token"]
        if events.tpot_ms is not None:
            wanted |= events.tpot_ms > self._least["speed"]
        found = np.flatnonzero(wanted & (events.second != TOO_LATE))
        if not len(found):
            return
        seconds, times, kind = events.second[found], events.time_ms[found], events.kind[found]
        model = self._gatherer.model_of_kind.take(kind)
        group = model * (1 << 40) + seconds // SLOT_S
        best = {
            sort: (value, _highest(value, times, group))
            for sort, value in self._values(events, found, kind, is_error[found], is_empty[found]).items()
        }
        if not best:  # each is within the bounds of its own kind
            return
        chosen = np.unique(np.concatenate([places for _, places in best.values()]))
        named = _named(lines, found[chosen], times[chosen])
        keys = self._keys(model[chosen], seconds[chosen])
        for sort, (value, places) in best.items():
            at = np.searchsorted(chosen, places).tolist()
            for place, clear, time_ms in zip(at, value[places].round(3).tolist(), times[places].tolist(), strict=True):
                picks = slots.setdefault(keys[place], {}).setdefault(sort, [])
                insort(picks, Pick(clear, time_ms, *named[place]), key=_clearest)
                del picks[MOST:]

    def _keys(self, model: Ints, seconds: Ints) -> list[tuple[str, int]]:
        """The slot of each request."""
        names = list(self._gatherer.models)
        return [
            (names[number], slot) for number, slot in zip(model.tolist(), (seconds // SLOT_S).tolist(), strict=True)
        ]

    def _values(
        self, events: Events, found: Ints, kind: npt.NDArray[np.int32], is_error: Mask, is_empty: Mask
    ) -> dict[Sort, Floats]:
        """How clearly each of the requests shows each sort of trouble; NaN: not at all."""
        base, per_prompt, per_token = (bound.take(kind) for bound in self._gatherer.bounds[-3:])
        first = base + per_prompt * events.uncached(found)
        duration = events.duration_ms[found]
        values: dict[Sort, Floats] = {}
        over = duration > self._bound["slow"].take(kind)
        if over.any():  # where the size is not known it is not slow for its size
            values["slow"] = np.where(over, duration - first - per_token * events.completion_tokens[found], np.nan)
        if events.ttft_ms is not None:
            ttft = events.ttft_ms[found]
            values["first_token"] = np.where(ttft > self._bound["first_token"].take(kind), ttft - first, np.nan)
        if events.tpot_ms is not None:
            tpot = events.tpot_ms[found]
            values["speed"] = np.where(tpot > self._bound["speed"].take(kind), tpot, np.nan)
        if is_error.any():  # the first are as clear as any
            values["error"] = np.where(is_error, 1.0, np.nan)
        if is_empty.any():
            values["empty"] = np.where(is_empty, 1.0, np.nan)
        return values

    def _learn(self, kinds: Kinds) -> None:
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


def _highest(value: Floats, times: Ints, group: Ints) -> Ints:
    """The places of the MOST highest positive values of each group, of equals the earlier."""
    known = np.flatnonzero(value > 0)
    if len(known) > MOST:
        known = known[np.lexsort((times[known], -value[known], group[known]))]
        groups, keys = group[known], np.stack([value[known], times[known]])
        is_first = np.concatenate([[True], groups[1:] != groups[:-1]])
        begins = np.flatnonzero(is_first)
        rank = np.arange(len(known)) - np.repeat(begins, np.diff([*begins, len(known)]))
        is_other = is_first | np.concatenate([[True], (keys[:, 1:] != keys[:, :-1]).any(axis=0)])
        same_as = np.maximum.accumulate(np.where(is_other, np.arange(len(known)), 0))
        known = known[rank[same_as] < MOST]  # of equals at the end all, since only their ids tell them apart
    return known


class _Named(msgspec.Struct):
    id: OwnId = msgspec.UNSET
    user_id: str | None = None
    api_key_id: str | None = None
    client: str | None = None


_decode_lines: Final = msgspec.json.Decoder(_Named).decode_lines


def _named(lines: Sequence[Lines], found: Ints, times_ms: Ints) -> list[tuple[str, str | None]]:
    """The `event.id` of some requests, and who sent each; `found` are their places among all, in order."""
    ids: list[bytes] = []
    clients: list[str | None] = []
    ends = np.cumsum([len(each) for each in lines])
    cuts = np.searchsorted(found, ends).tolist()
    start = 0
    for part, end, cut in zip(lines, ends.tolist(), cuts, strict=True):
        if cut > start:
            offsets, raws = part.some(found[start:cut] - (end - len(part)))
            times = times_ms[start:cut]
            records = _decode_lines(b"\n".join(raws))
            own = own_ids([each.id for each in records], times)
            derived = derived_ids(part.first_line, offsets, raws, times) if None in own else [b""] * len(own)
            ids += [one or other for one, other in zip(own, derived, strict=True)]
            clients += [each.user_id or each.api_key_id or each.client for each in records]
        start = cut
    return list(zip(id_texts(ids), clients, strict=True))
