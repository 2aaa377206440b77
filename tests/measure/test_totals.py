"""Counters and histograms agree with the independent recount, to the last token, bucket and microsecond."""

from __future__ import annotations

import io
import sys
import tracemalloc
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from benchmarks import make_log
from logproc.measure.catalog import Metric
from logproc.measure.servers import Servers
from logproc.measure.table import MOST_OTHERS, OTHER, Table
from logproc.measure.tally import tally
from logproc.measure.totals import Totals
from logproc.settings import Settings
from logproc.sketch import bins_of, quantiles
from tests.lines import NOW_MS, block, raw, request
from tests.oracle import recount


def totals_of(data: bytes, size: int = 50_000, **settings: Any) -> Totals:
    totals = Totals(Settings.model_validate({"logs": {"paths": ["-"]}, **settings}))
    stream, start = io.BytesIO(data), 0
    while chunk := stream.read(size):
        chunk += stream.readline()
        tally(totals, Servers(), block(chunk, start), lambda: NOW_MS, None)
        start += len(chunk)
    totals.fold()
    return totals


def counters(totals: Totals, name: str) -> dict[tuple[str, ...], int]:
    table = totals.tables[name]
    return {labels: int(table.cells[row, 0]) for row, labels in enumerate(table.labels) if table.cells[row, 0]}


@pytest.mark.parametrize("full", [False, True], ids=["a dozen fields", "all fields"])
def test_a_log_is_counted_as_the_recount_counts_it(full: bool) -> None:
    lines = list(make_log.lines(6000, full=full, bad=97))
    expected = recount(lines)

    totals = totals_of(b"".join(lines))

    assert counters(totals, "requests") == dict(expected.requests)
    assert counters(totals, "tokens") == {key: count for key, count in expected.tokens.items() if count}
    assert counters(totals, "finish_reasons") == dict(expected.finish)
    assert counters(totals, "logproc_lines") == {
        ("measure", "ok"): expected.lines,
        ("measure", "rejected"): expected.rejected,
    }
    assert sum(counters(totals, "logproc_lines_rejected").values()) == expected.rejected
    assert counters(totals, "logproc_bytes") == {("measure",): sum(map(len, lines))}
    for name, values in (
        ("request_duration_seconds", expected.durations),
        ("time_to_first_token_seconds", expected.ttft),
        ("queue_time_seconds", {(model,): values for model, values in expected.queue.items()}),
    ):
        table = totals.tables[name]
        assert {labels for row, labels in enumerate(table.labels) if table.cells[row, :-1].any()} == set(values)
        for labels, observed in values.items():
            cells = table.cells[table.row(labels)]
            assert np.cumsum(cells[:-1]).tolist() == expected.bucket_counts(observed, list(table.metric.edges))
            assert cells[-1] == sum(round(value * 1000) for value in observed)


def test_the_size_of_the_blocks_changes_nothing() -> None:
    data = b"".join(make_log.lines(2000, full=True, bad=50))

    one, many = totals_of(data, size=1 << 30), totals_of(data, size=700)

    for name, table in one.tables.items():
        assert sorted(zip(table.labels, table.cells.tolist(), strict=False)) == sorted(
            zip(many.tables[name].labels, many.tables[name].cells.tolist(), strict=False)
        )
    assert (one.duration_bins == many.duration_bins).all()


def test_beyond_the_limit_names_from_outside_fold_and_are_counted_and_what_happened_stays() -> None:
    statuses = (200, 200, 200, 200, 200, 200, 200, 500, 500, 429)
    data = raw(*(request(model=f"m{number}", status=status) for number, status in enumerate(statuses)))

    totals = totals_of(data, metrics={"max_series": 4})

    requests = counters(totals, "requests")
    assert sum(requests.values()) == 10
    folded = {(status, outcome): count for (model, _, status, outcome), count in requests.items() if model == OTHER}
    assert folded == {("200", "ok"): 3, ("500", "server_error"): 2, ("429", "rejected"): 1}
    assert counters(totals, "logproc_series_folded")["requests",] == 6
    durations = totals.tables["request_duration_seconds"]
    assert durations.cells[durations.others, :-1].sum() == 5  # rejected ones have no duration


def test_what_folds_is_bounded_too() -> None:
    table = Table(Metric("finish_reasons", "", ("model", "reason")), max_series=2)

    for number in range(2000):
        table.increase((f"m{number}", f"r{number}"))

    assert len(table) == 2 + MOST_OTHERS + 1
    assert table.cells[table.row(("m", "r1999")), 0] == 2000 - 2 - MOST_OTHERS


def test_a_million_distinct_labels_do_not_fill_the_memory() -> None:
    totals = Totals(Settings.model_validate({"logs": {"paths": ["-"]}, "metrics": {"max_series": 10}}))
    for start in range(0, 60_000, 500):
        data = raw(*(request(model=f"model-{number}") for number in range(start, start + 500)))
        tally(totals, Servers(), block(data), lambda: NOW_MS, None)

    totals.fold()

    assert sum(counters(totals, "requests").values()) == 60_000
    assert len(totals.kinds.list) <= 2 * (20_000 + 500)  # two a model: one more for answers without a token
    assert sys.getsizeof(totals.tables["requests"].cells) < 10_000


@pytest.mark.parametrize("field", ["model", "path", "event", "host", "unknown", "a field's name"])
def test_megabytes_of_a_label_are_not_kept(field: str) -> None:
    totals = Totals(Settings.model_validate({"logs": {"paths": ["-"]}}))
    tracemalloc.start()
    for number in range(60):
        text = f"{number}" + "x" * 1_000_000
        line = raw(request(**({text: 1} if field == "a field's name" else {field: text})))
        tally(totals, Servers(), block(line), lambda: NOW_MS, None)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert held < 20_000_000
    assert counters(totals, "logproc_lines") == {("measure", "ok"): 60}


def test_a_rejected_request_is_in_no_latency_and_an_unknown_token_count_is_not_zero() -> None:
    totals = totals_of(raw(request(status=400, prompt_tokens=None, completion_tokens=None), request()))

    assert Counter(counters(totals, "requests")).total() == 2
    durations = totals.tables["request_duration_seconds"]
    assert durations.cells[: len(durations), :-1].sum() == 1
    assert counters(totals, "tokens") == {("unknown", "prompt"): 256, ("unknown", "completion"): 128}


def test_a_duration_on_an_edge_is_within_it() -> None:
    totals = totals_of(raw(request(duration_ms=3000), request(duration_ms=3000.001)))

    table = totals.tables["request_duration_seconds"]
    place = table.metric.edges.index(3.0)
    assert table.cells[0, place : place + 2].tolist() == [1, 1]


def test_there_is_an_edge_at_every_threshold() -> None:
    thresholds = {
        "duration_s": {"warning": 7.5, "critical": 11},
        "tokens_per_second": 180,
        "models": {"m": {"ttft_s": 0.33}},
    }

    totals = totals_of(b"", thresholds=thresholds)

    assert {7.5, 11.0} <= set(totals.tables["request_duration_seconds"].metric.edges)
    assert 1 / 180 in totals.tables["time_per_output_token_seconds"].metric.edges
    assert 0.33 in totals.tables["time_to_first_token_seconds"].metric.edges


@pytest.mark.parametrize("level", [float("inf"), float("nan"), -1])
def test_a_threshold_that_is_no_size_is_refused(level: float) -> None:
    with pytest.raises(ValidationError, match=r"thresholds\.duration_s\.warning"):
        totals_of(b"", thresholds={"duration_s": level})


def test_a_threshold_of_zero_makes_no_edge() -> None:
    totals = totals_of(raw(request()), thresholds={"tokens_per_second": 0, "duration_s": 0})

    assert min(totals.tables["request_duration_seconds"].metric.edges) == 0.05


def test_sums_stay_exact_where_floats_would_round() -> None:
    totals = totals_of(raw(*[request(duration_ms=68_000_000_000.0)] * 2000, request(duration_ms=0.001)))

    assert totals.tables["request_duration_seconds"].cells[0, -1] == 2000 * 68_000_000_000_000 + 1


def test_percentiles_are_within_one_percent() -> None:
    values = np.random.default_rng(3).lognormal(6, 1.5, 50_000)

    found = quantiles(bins_of(values), (0.0, 0.5, 0.95, 0.99, 1.0))

    exact = np.quantile(values, (0.0, 0.5, 0.95, 0.99, 1.0), method="inverted_cdf")
    assert np.abs(np.array(found, float) / exact - 1).max() <= 0.0101
    assert quantiles(bins_of(np.empty(0)), (0.5,)) == [None]


def test_the_generator_gives_the_same_bytes_for_the_same_seed(tmp_path: Path) -> None:
    assert list(islice(make_log.lines(50, full=True), 50)) == list(make_log.lines(50, full=True))
