"""How long from the failed request that tips an alert to the message in a DingTalk group: p50, p95 and the longest.

    python benchmarks/delivery.py                       # 20 incidents each way, about eight minutes
    python benchmarks/delivery.py --incidents 5 --json

"logproc": requests of many models end ten times a second, and one model after the other begins to fail. The detector
takes its time to be sure; the second in which it was sure stands in the alert. Counted is from the FIRST failed line
that was written in that second to the arrival at the robot, so no line that could have tipped it came earlier.

"Prometheus": the same by a real Prometheus that scrapes and evaluates every half second, a real Alertmanager without
`group_wait`, and the relay. All failures of a model are written at once, enough to tip the rule, and counted is from
that write. With other intervals add them: on average half of `scrape_interval` and `evaluation_interval` each, and all
of `group_wait`.

The robot is a double on this machine that checks the signature: the way through the internet is not in it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring import machine, print_machine, print_table
from logproc.alerts import record
from logproc.decode import time_ms
from logproc.rules.output import rules_text
from logproc.settings_file import load
from tests.doubles.dingtalk import DingTalkDouble
from tests.notify.incident import Traffic
from tests.pipeline import Pipeline, until
from tests.rules.test_alertmanager import CONFIG
from tests.services.alertmanager import Alertmanager
from tests.services.prometheus import Prometheus

APART_S = 10.0
"""logproc sends at most a message every 4 s, and an incident may be two (it grows graver): none waits for another."""
ALONE_S = 60.0
"""The first one is alone: before it says that one model is ill, logproc waits whether all are."""
PATIENCE_S = 120.0


def pipeline_in(folder: Path, robot: DingTalkDouble, decide: str) -> Pipeline:
    quiet = ("phone", "auto-scaling", "dead-mans-switch")
    routes: dict[str, dict[str, list[str]]] = {name: {"severity": [], "to": []} for name in quiet}
    routes["chat"] = {"severity": ["warning", "critical"], "to": ["ops"]}
    notifiers = {"ops": {"kind": "dingtalk", "url": robot.url, "secret": "SECdouble"}}
    alerts = {"decide": decide, "routes": routes}
    return Pipeline(folder, [str(folder / "access.jsonl")], alerts=alerts, notifiers=notifiers)


def arrival(robot: DingTalkDouble, model: str) -> float:
    """When the first message that names a model was taken, s since 1970."""
    if not robot.wait_for(lambda: any(model in text for text in robot.texts()), PATIENCE_S):
        raise SystemExit(f"no message about {model} within {PATIENCE_S:.0f} s")
    return next(post.at for post, text in zip(robot.taken, robot.texts(), strict=True) if model in text)


def by_logproc(folder: Path, count: int) -> list[float]:
    models = ["well", *(f"model-{number:03}" for number in range(count))]
    traffic = Traffic(folder / "access.jsonl", models)
    traffic.past(400)
    with DingTalkDouble(secret="SECdouble") as robot:
        pipeline = pipeline_in(folder, robot, "logproc")
        pipeline.start()
        until(lambda: pipeline.is_up() and pipeline.has_read(4000 * len(models)), "the log", PATIENCE_S)
        took = []
        with traffic:
            begins = dict(zip(models[1:], np.arange(count) * APART_S + ALONE_S + time.monotonic(), strict=True))
            begins[models[1]] = 0.0
            for model in models[1:]:
                while True:
                    traffic.failing |= {each for each, at in begins.items() if at <= time.monotonic()}
                    if any(model in text for text in robot.texts()):
                        break
                    time.sleep(0.02)
                begins.pop(model)
                traffic.failing.discard(model)
                second = next(
                    time_ms(entry.time, 1 << 47) // 1000
                    for _, entry in record.after(pipeline.state / "measure.db", 0)
                    if entry.model == model and entry.state == "firing"
                )
                tipped = max(each for name, each in traffic.first_failure if name == model and each <= second)
                took.append(arrival(robot, model) - traffic.first_failure[model, tipped])
        pipeline.stop()
    return took


def by_prometheus(folder: Path, count: int) -> list[float]:
    models = ["well", *(f"model-{number:03}" for number in range(count))]
    traffic = Traffic(folder / "access.jsonl", models)
    traffic.past(60)
    (folder / "token").write_text("token-of-the-relay")
    with DingTalkDouble(secret="SECdouble") as robot, traffic:
        pipeline = pipeline_in(folder, robot, "prometheus")
        pipeline.start()
        until(lambda: pipeline.is_up() and pipeline.has_read(600 * len(models)), "the log", PATIENCE_S)
        told = CONFIG.read_text().replace("http://127.0.0.1:9470", f"http://127.0.0.1:{pipeline.port}")
        told = told.replace("/run/secrets/logproc_token", str(folder / "token")).replace("5s", "0s")
        with Alertmanager(folder / "alertmanager", told) as manager:
            config = {
                "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"},
                "scrape_configs": [
                    {"job_name": "logproc", "static_configs": [{"targets": [f"127.0.0.1:{pipeline.port}"]}]}
                ],
                "alerting": {"alertmanagers": [{"static_configs": [{"targets": [manager.address]}]}]},
            }
            rules = rules_text(load(pipeline.file, {}))
            with Prometheus(folder / "prometheus", config, rules=rules) as server:
                failed = "model:llm_requests_failed:increase5m"
                took = []
                for model in models[1:]:
                    traffic.failed_at_once(model, 1)  # a counter that appears is no increase: so that it is there
                    until(lambda: bool(server.ask(f'{failed}{{model="{model}"}}')), "the counter")  # noqa: B023
                    time.sleep(APART_S)
                    began = time.time()
                    traffic.failed_at_once(model, 200)
                    took.append(arrival(robot, model) - began)
        pipeline.stop()
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--incidents", type=int, default=20)
    parser.add_argument("--json", action="store_true", help="one object instead of the table")
    given = parser.parse_args()
    ways: dict[str, Callable[[Path, int], Sequence[float]]] = {"logproc": by_logproc, "Prometheus": by_prometheus}
    found: dict[str, Any] = {}
    for name, way in ways.items():
        with tempfile.TemporaryDirectory() as folder:
            found[name] = [round(each, 3) for each in way(Path(folder), given.incidents)]
    if given.json:
        print(json.dumps({"machine": machine(), "incidents": given.incidents, "seconds": found}))
        return
    print_machine(machine())
    rows = [
        [name, *(f"{value:.2f} s" for value in (*np.quantile(each, [0.5, 0.95]), max(each)))]
        for name, each in found.items()
    ]
    print_table(["from a failed request to the robot, by", "p50", "p95", "longest"], rows)


if __name__ == "__main__":
    main()
