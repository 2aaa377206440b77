"""A simulated inference server: a queue, a bounded batch, a prefill and a KV cache that are shared.

Every latency in this benchmark comes from here: no public trace holds any. A request waits in order of arrival for a
place in the batch and for KV cache, and nobody passes the one who waits first; then for its turn at the prefill, which
goes by its uncached prompt tokens; then it decodes, slower the fuller the batch is. Clients leave after a minute of
waiting.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from heapq import heappop, heappush
from typing import Final

import numpy as np
import numpy.typing as npt

from benchmarks.detection.arrivals import LONGEST_PROMPT, MEAN_COMPLETION, MEAN_PROMPT, Traffic
from benchmarks.detection.conditions import Conditions

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

PATIENCE_S: Final = 60.0
BATCH_COST: Final = 0.3
"""In a full batch a token takes so much longer than in an empty one."""
OVERHEAD_S: Final = 0.015
STREAMED: Final = 0.7
NEVER_SEEN: Final = 0.005
"""Of so many requests nothing at all is in the prefix cache."""
HEARTBEAT_S: Final = 10
GPU_BYTES: Final = 80 << 30

OUTCOMES: Final = ("ok", "truncated", "empty", "server_error", "stream_error", "rejected", "rejected_200",
                   "client_disconnect")  # fmt: skip
"""By number; `rejected_200` is the outcome `rejected` with the status 200."""
OK, TRUNCATED, EMPTY, SERVER_ERROR, STREAM_ERROR, REJECTED, REJECTED_200, DISCONNECT = range(len(OUTCOMES))

USUAL: Final = {EMPTY: 0.001, SERVER_ERROR: 0.001, STREAM_ERROR: 0.0005, REJECTED: 0.01, DISCONNECT: 0.005}
"""What share of requests ends so when all is well."""
TRUNCATED_SHARE: Final = 0.03


@dataclass(frozen=True)
class Hardware:
    """What a server can do."""

    slots: int
    prefill_per_s: float
    kv_tokens: float
    cached_share: float
    """The usual share of a prompt that is in the prefix cache."""
    usual_per_s: float
    """The mean of what comes, requests a second."""
    token_s: float
    """Decode time of a token in an empty batch."""
    flood_prompt: float
    """The longest prompts that it takes, tokens."""

    @classmethod
    def fitting(cls, traffic: Traffic, token_s: float) -> Hardware:
        """A server that has four times the room that the busiest hour needs, and not less than a small one has."""
        seconds = MEAN_COMPLETION * token_s * 1.1
        slots = max(16, round(4 * traffic.peak_per_s * seconds))
        prompt = MEAN_PROMPT * traffic.prompt_scale
        per_s = max(5_000.0 if traffic.prompt_scale <= 1 else 9_000.0, 0.65 * traffic.peak_per_s * prompt)
        longest = LONGEST_PROMPT * min(2.0, traffic.prompt_scale)
        kv_tokens = max(400_000.0, 1.5 * slots * (prompt + MEAN_COMPLETION))
        return cls(slots, per_s, kv_tokens, 0.85, traffic.requests_per_s, token_s, longest)

    @property
    def most_per_s(self) -> float:
        """So many ordinary requests a second fill the batch."""
        return self.slots / (MEAN_COMPLETION * self.token_s * (1 + BATCH_COST))


@dataclass
class Requests:
    """Requests as columns, each of shape (n,): times in seconds since the week began, NaN where unknown."""

    arrival: Floats
    finish: Floats
    started: Floats
    """When it joined the batch."""
    prompt: Floats
    completion: Floats
    cached: Floats
    queue: Floats
    prefill: Floats
    decode: Floats
    ttft: Floats
    stall: Floats
    outcome: Ints
    stream: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.arrival)

    def part(self, which: npt.NDArray[np.bool_] | Ints) -> Requests:
        """Those that are chosen, in the order in which they are."""
        return Requests(*(getattr(self, each.name)[which] for each in fields(self)))

    @classmethod
    def joined(cls, parts: list[Requests]) -> Requests:
        """All of them, one after the other."""
        return cls(*(np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(cls)))


@dataclass(frozen=True)
class Heartbeats:
    """What a server says every ten seconds, as columns of shape (n,)."""

    time: Floats
    running: Ints
    waiting: Ints
    kv_usage: Floats
    gpu_bytes: Floats


class Server:
    """Serves the arrivals of one stretch of time after the other."""

    def __init__(self, hardware: Hardware, conditions: Conditions, rng: np.random.Generator) -> None:
        self.hardware = hardware
        self.conditions = conditions
        self._rng = rng
        self._batch: list[tuple[float, float]] = []
        self._kv_used = 0.0
        self._free_from = 0.0
        self._prefill_free = 0.0
        self._born = 0.0
        self._unfinished: Requests | None = None

    def serve(
        self, arrival: Floats, prompt: Floats, completion: Floats, fresh: npt.NDArray[np.bool_], end: float
    ) -> tuple[Requests, Heartbeats]:
        """The requests that finish before `end` (s) in the order in which they do, and the heartbeats until then.

        `arrival` are the times (s) since the end of the last call, in order; nothing of a `fresh` prompt is cached.
        """
        served = ~self.conditions.is_down(arrival)
        requests = self._spoil(self._run(arrival[served], prompt[served], completion[served], fresh[served]))
        if self._unfinished is not None:
            requests = Requests.joined([self._unfinished, requests])
        requests = self._without_the_killed(requests)
        beats = self._heartbeats(requests, end)
        done = requests.finish < end
        self._unfinished = requests.part(~done)
        finished = requests.part(done)
        return finished.part(np.argsort(finished.finish, kind="stable")), beats

    def _run(self, arrival: Floats, prompt: Floats, completion: Floats, fresh: npt.NDArray[np.bool_]) -> Requests:
        """Queue, prefill and decode of each request."""
        count, now = len(arrival), self.conditions
        rng, hardware = self._rng, self.hardware
        share = np.clip(rng.normal(now.cached_share(arrival, hardware.cached_share), 0.06), 0.0, 0.98)
        share = np.where(fresh | (rng.random(count) < NEVER_SEEN), 0.0, share)
        cached = np.floor(prompt * share / 16) * 16
        prefill = (prompt - cached) * now.prefill_factor(arrival) / hardware.prefill_per_s
        decode = completion * hardware.token_s * now.decode_factor(arrival) * rng.lognormal(0, 0.05, count)
        room = hardware.kv_tokens * now.kv_free(arrival)
        work = now.work_time(arrival)
        started, began, first, finish = self._queue(
            work, prefill, decode, prompt + completion, room, now.work_time(now.born(arrival))
        )
        left = np.isnan(started)
        queue, decoding = began - work, finish - first
        overhead = OVERHEAD_S * rng.lognormal(0, 0.4, count)
        stall = np.abs(rng.normal(0.03, 0.02, count)) + hardware.token_s
        wall = [now.wall_time(np.nan_to_num(each)) for each in (started, first, finish)]
        starts, firsts, finishes = wall
        if now.freezes:
            frozen = (finishes - firsts) - (np.nan_to_num(finish) - np.nan_to_num(first))
            stall = np.maximum(stall, np.where(left, 0.0, now.longest_freeze(firsts, finishes)))
            decoding = decoding + frozen
            queue = np.maximum(0.0, firsts - arrival - prefill)
        stream = rng.random(count) < STREAMED
        requests = Requests(
            arrival=arrival,
            finish=np.where(left, arrival + PATIENCE_S, finishes + overhead),
            started=np.where(left, np.nan, starts),
            prompt=prompt,
            completion=completion,
            cached=cached,
            queue=queue,
            prefill=prefill,
            decode=decoding,
            ttft=np.where(stream & (completion > 0), firsts - arrival + overhead, np.nan),
            stall=np.where(stream, stall, np.nan),
            outcome=np.where(left, DISCONNECT, np.where(rng.random(count) < TRUNCATED_SHARE, TRUNCATED, OK)),
            stream=stream,
        )
        for column in (requests.completion, requests.queue, requests.prefill, requests.decode, requests.ttft,
                       requests.stall, requests.cached):  # fmt: skip
            column[left] = np.nan
        return requests

    def _queue(
        self, work: Floats, prefill: Floats, decode: Floats, tokens: Floats, room: Floats, born: Floats
    ) -> tuple[Floats, Floats, Floats, Floats]:
        """When each joins the batch, begins its prefill, has its first token, and its last; NaN for those that left.

        `born` is when the server process began that a request meets: what an older one held is gone.
        """
        batch, used, slots = self._batch, self._kv_used, self.hardware.slots
        free_from, prefill_free = self._free_from, self._prefill_free
        found = []
        nothing = (np.nan,) * 4
        since = self._born
        for arrives, before_first, after_first, need, fits, process in zip(
            work.tolist(), prefill.tolist(), decode.tolist(), tokens.tolist(), room.tolist(), born.tolist(), strict=True
        ):
            if process > since:
                since = process
                batch.clear()
                used, free_from, prefill_free = 0.0, process, process
            at = max(arrives, free_from)
            if need > fits:  # it will never have enough KV cache, and nobody passes it
                free_from = max(at, arrives + PATIENCE_S)
                found.append(nothing)
                continue
            while batch and batch[0][0] <= at:
                used -= heappop(batch)[1]
            while batch and (len(batch) >= slots or used + need > fits):
                at, freed = heappop(batch)
                used -= freed
            free_from = at
            if at - arrives > PATIENCE_S:
                found.append(nothing)
                continue
            begins = max(at, prefill_free)
            prefill_free = first = begins + before_first
            last = first + after_first * (1 + BATCH_COST * len(batch) / slots)
            heappush(batch, (last, need))
            used += need
            found.append((at, begins, first, last))
        self._kv_used, self._free_from, self._prefill_free, self._born = used, free_from, prefill_free, since
        table = np.array(found, np.float64).reshape(len(found), 4)
        return table[:, 0], table[:, 1], table[:, 2], table[:, 3]

    def _spoil(self, requests: Requests) -> Requests:
        """Let some end otherwise than they should, as the conditions say."""
        count, rng = len(requests), self._rng
        fate = rng.random(count)
        upto = np.zeros(count)
        outcome = requests.outcome.copy()
        good = outcome <= TRUNCATED
        for number, usual in USUAL.items():
            before = upto
            upto = before + self.conditions.share(OUTCOMES[number], requests.arrival, usual)
            outcome = np.where(good & (fate >= before) & (fate < upto), number, outcome)
        before = upto
        upto = before + self.conditions.share("rejected_200", requests.arrival, 0.0)
        outcome = np.where(good & (fate >= before) & (fate < upto), REJECTED_200, outcome)
        spoilt = replace(requests, outcome=outcome)
        at_once = (outcome == REJECTED) | (outcome == REJECTED_200)
        cut_short = good & np.isin(outcome, (SERVER_ERROR, STREAM_ERROR, DISCONNECT))
        first = np.where(np.isnan(requests.ttft), requests.queue + requests.prefill, requests.ttft)
        part = rng.random(count)
        finish = requests.finish.copy()
        finish = np.where(
            cut_short, requests.arrival + first + part * (requests.finish - requests.arrival - first), finish
        )
        finish = np.where(outcome == EMPTY, requests.arrival + first + 0.003, finish)
        finish = np.where(at_once & good, requests.arrival + 0.002 + 0.004 * part, finish)
        spoilt.finish = finish
        unknown = at_once | (outcome == SERVER_ERROR)
        for column in (spoilt.prompt, spoilt.completion, spoilt.cached, spoilt.queue, spoilt.prefill, spoilt.decode,
                       spoilt.ttft, spoilt.stall):  # fmt: skip
            column[unknown] = np.nan
        spoilt.completion[cut_short] = np.nan
        spoilt.decode[cut_short] = np.nan
        spoilt.completion[(outcome == EMPTY) & good] = 1
        spoilt.ttft[(outcome == EMPTY) & good] = np.nan
        spoilt.stall[(outcome == EMPTY) & good] = np.nan
        spoilt.decode[(outcome == EMPTY) & good] = 0.003
        return spoilt

    def _without_the_killed(self, requests: Requests) -> Requests:
        """A server that is killed writes no line for what it was answering, nor for what comes while it is down."""
        killed = np.zeros(len(requests), np.bool_)
        for begin, end in self.conditions.downs:
            killed |= (requests.arrival < end) & (requests.finish > begin)
        return requests.part(~killed) if killed.any() else requests

    def _heartbeats(self, requests: Requests, end: float) -> Heartbeats:
        begin = self.conditions.heard_until
        self.conditions.heard_until = end
        time = np.arange(begin + HEARTBEAT_S / 2, end, HEARTBEAT_S)
        for down, up in self.conditions.downs:
            time = time[(time < down) | (time >= up)]
        started = np.where(np.isnan(requests.started), requests.finish, requests.started)
        at_once = np.isin(requests.outcome, (REJECTED, REJECTED_200))
        started = np.where(at_once, requests.arrival, np.minimum(started, requests.finish))
        need = np.where(at_once | np.isnan(requests.started), 0.0, np.nan_to_num(requests.prompt) + np.nan_to_num(
            requests.completion))  # fmt: skip
        arrived = np.searchsorted(np.sort(requests.arrival), time, "right")
        begun, ended = (np.searchsorted(np.sort(each), time, "right") for each in (started, requests.finish))
        held = _sum_until(started, need, time) - _sum_until(requests.finish, need, time)
        usage = held / self.hardware.kv_tokens + self.conditions.kv_leaked(time)
        gpu = 0.9 * GPU_BYTES + self._rng.normal(0, 4e6, len(time)) + self.conditions.gpu_leaked(time)
        return Heartbeats(time, begun - ended, arrived - begun, np.clip(usage, 0, 1), np.minimum(gpu, GPU_BYTES))


def _sum_until(times: Floats, values: Floats, at: Floats) -> Floats:
    order = np.argsort(times)
    sums = np.concatenate([[0.0], np.cumsum(values[order])])
    found: Floats = sums[np.searchsorted(times[order], at, "right")]
    return found
