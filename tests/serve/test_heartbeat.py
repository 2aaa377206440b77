"""A heartbeat says what is known of the server, in time, whatever hangs beside it; what is not known is absent."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from logproc.record import EngineLoad, GpuLoad, ServerRecord
from serve.exchange import Exchange
from serve.gpus import GpuWatch
from serve.heartbeat import Heartbeat
from serve.in_flight import InFlight
from serve.log_writer import LogWriter
from serve.timings import EngineLoads

GIB = 1 << 30


class NvmlRecordingDouble:
    """Stands in for NVIDIA's `pynvml`: notes each call, answers as set, and raises or hangs where told."""

    nvmlMemory_v2 = 0x02000028  # noqa: N815 - its own name
    NVML_TEMPERATURE_GPU = 0

    def __init__(self, gpus: int = 1) -> None:
        self.gpus = gpus
        self.calls: list[str] = []
        self.broken: set[str] = set()  # names of functions that raise
        self.hanging: set[int] = set()  # numbers of GPUs that never answer
        self.hung = threading.Event()  # a call hangs
        self.stuck = threading.Event()  # until this is set

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls.append(name)
            if name in self.broken:
                raise RuntimeError("NVMLError: Not Supported")
            if args and args[0] in self.hanging:
                self.hung.set()
                self.stuck.wait(60)
            return getattr(self, f"_{name}")(*args, **kwargs)

        if name.startswith("_"):
            raise AttributeError(name)
        return call

    def _nvmlInit(self) -> None:
        pass

    def _nvmlDeviceGetCount(self) -> int:
        return self.gpus

    def _nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def _nvmlDeviceGetUUID(self, handle: int) -> str:
        return f"GPU-{handle}"

    def _nvmlDeviceGetMemoryInfo(self, handle: int, version: int | None = None) -> SimpleNamespace:
        if version is None:  # the first version counts what the driver reserves as used
            return SimpleNamespace(used=10 * GIB, total=80 * GIB)
        assert version == self.nvmlMemory_v2
        return SimpleNamespace(used=9 * GIB, total=80 * GIB)

    def _nvmlDeviceGetUtilizationRates(self, handle: int) -> SimpleNamespace:
        return SimpleNamespace(gpu=37, memory=5)

    def _nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:
        assert sensor == self.NVML_TEMPERATURE_GPU
        return 41

    def _nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        return 118_250


def eventually(condition: Callable[[], Any], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.002)


@pytest.fixture
def nvml() -> Iterator[NvmlRecordingDouble]:
    double = NvmlRecordingDouble()
    yield double
    double.stuck.set()


def watch(nvml: NvmlRecordingDouble, **settings: Any) -> GpuWatch:
    return GpuWatch(load_nvml=lambda: nvml, read_every_s=0.005, **settings)


class Lines:
    """Stands in for the writer: keeps the lines."""

    def __init__(self, lost: int = 0) -> None:
        self.lost = lost
        self.lines: list[dict[str, object]] = []

    def put(self, fields: dict[str, object]) -> None:
        self.lines.append(fields)


BASE: dict[str, object] = {"host": "gpu-1", "pid": 7, "service": "vllm"}
FULL_GPU: dict[str, object] = {
    "memory_used_bytes": 9 * GIB,
    "memory_total_bytes": 80 * GIB,
    "utilization": 0.37,
    "temperature_c": 41.0,
    "power_w": 118.25,
}


# --- the line --------------------------------------------------------------------------------------------------------


def test_a_heartbeat_is_a_server_record_of_the_contract(nvml: NvmlRecordingDouble) -> None:
    in_flight = InFlight(clock=lambda: 101.5)
    in_flight.enter(exchange(100.0))
    in_flight.enter(exchange(101.5))
    engines = EngineLoads()
    engines.put(0, 2, 1, 0.5)
    gpus = watch(nvml)
    gpus.start()
    eventually(gpus.loads)
    gpus.stop()
    heartbeat = Heartbeat(
        Lines(lost=3),  # type: ignore[arg-type]
        in_flight,
        BASE,
        engines=engines,
        gpus=gpus,
        clock=lambda: 1743848625.123,
    )
    line = heartbeat.line()
    assert list(line)[:5] == ["time", "event", "host", "pid", "service"]
    assert msgspec.json.decode(msgspec.json.encode(line), type=ServerRecord) == ServerRecord(
        time="2025-04-05T10:23:45.123Z",
        event="heartbeat",
        host="gpu-1",
        pid=7,
        service="vllm",
        in_flight=2,
        oldest_in_flight_ms=1500.0,
        lines_lost=3,
        engines=[EngineLoad(0, 2, 1, 0.5)],
        gpus=[GpuLoad("GPU-0", 9 * GIB, 80 * GIB, 0.37, 41.0, 118.25)],
    )


def test_heartbeats_come_until_stopped(nvml: NvmlRecordingDouble) -> None:
    lines = Lines()
    heartbeat = Heartbeat(lines, InFlight(), BASE, interval_s=0.005, gpus=watch(nvml))  # type: ignore[arg-type]
    heartbeat.start()
    eventually(lambda: len(lines.lines) >= 3)
    heartbeat.stop()
    eventually(lambda: not [t for t in threading.enumerate() if t.name == "logproc-heartbeat"])


def test_a_defect_in_one_beat_does_not_end_the_beat(
    nvml: NvmlRecordingDouble, caplog: pytest.LogCaptureFixture
) -> None:
    lines = Lines()
    in_flight = InFlight(clock=lambda: 1 / 0)
    oldest = exchange(0.0)
    in_flight.enter(oldest)
    heartbeat = Heartbeat(lines, in_flight, BASE, interval_s=0.005, gpus=watch(nvml))  # type: ignore[arg-type]
    heartbeat.start()
    eventually(lambda: "heartbeat failed" in caplog.text)
    in_flight.leave(oldest)
    eventually(lambda: lines.lines)
    heartbeat.stop()


def test_it_writes_through_the_real_writer(tmp_path: Any, nvml: NvmlRecordingDouble) -> None:
    log = tmp_path / "access.jsonl"
    writer = LogWriter(str(log))
    writer.start()
    heartbeat = Heartbeat(writer, InFlight(), BASE, interval_s=0.005, gpus=watch(nvml))
    heartbeat.start()
    eventually(lambda: log.exists() and b"\n" in log.read_bytes())
    heartbeat.stop()
    writer.close()
    assert msgspec.json.decode(log.read_bytes().splitlines()[0], type=ServerRecord).event == "heartbeat"


def exchange(received_at: float) -> Exchange:
    unused: Any = None
    return Exchange(unused, {}, unused, unused, received_at)


# --- requests in flight ----------------------------------------------------------------------------------------------


def test_the_oldest_request_is_the_one_that_entered_first_and_still_runs() -> None:
    now = 0.0
    in_flight = InFlight(clock=lambda: now)
    assert (in_flight.count, in_flight.oldest_ms()) == (0, 0.0)
    first, second = exchange(0.0), exchange(2.0)
    in_flight.enter(first)
    in_flight.enter(second)
    now = 3.0
    assert (in_flight.count, in_flight.oldest_ms()) == (2, 3000.0)
    in_flight.leave(first)
    in_flight.leave(first)
    assert (in_flight.count, in_flight.oldest_ms()) == (1, 1000.0)
    in_flight.leave(second)
    assert (in_flight.count, in_flight.oldest_ms()) == (0, 0.0)


def test_the_oldest_can_be_asked_for_while_requests_come_and_go() -> None:
    in_flight = InFlight()
    done = threading.Event()
    answers: list[float] = []

    def ask() -> None:
        while not done.is_set():
            answers.append(in_flight.oldest_ms())

    thread = threading.Thread(target=ask)
    thread.start()
    for _ in range(20_000):
        running = exchange(0.0)
        in_flight.enter(running)
        in_flight.leave(running)
    done.set()
    thread.join(20)
    assert answers
    assert min(answers) >= 0.0


# --- GPUs ------------------------------------------------------------------------------------------------------------


def test_each_gpu_is_told_in_the_units_of_the_contract() -> None:
    nvml = NvmlRecordingDouble(gpus=2)
    gpus = watch(nvml)
    gpus.start()
    eventually(lambda: len(gpus.loads()) == 2)
    gpus.stop()
    assert gpus.loads() == [{"gpu": "GPU-0", **FULL_GPU}, {"gpu": "GPU-1", **FULL_GPU}]
    assert nvml.calls[0] == "nvmlInit"
    assert nvml.calls.count("nvmlInit") == 1


@pytest.mark.parametrize(
    ("function", "missing"),
    [
        ("nvmlDeviceGetMemoryInfo", {"memory_used_bytes", "memory_total_bytes"}),
        ("nvmlDeviceGetUtilizationRates", {"utilization"}),
        ("nvmlDeviceGetTemperature", {"temperature_c"}),
        ("nvmlDeviceGetPowerUsage", {"power_w"}),
    ],
)
def test_a_reading_that_a_gpu_does_not_support_is_absent_not_zero(
    nvml: NvmlRecordingDouble, function: str, missing: set[str]
) -> None:
    nvml.broken = {function}
    gpus = watch(nvml)
    gpus.start()
    eventually(gpus.loads)
    gpus.stop()
    assert gpus.loads() == [
        {"gpu": "GPU-0", **{name: value for name, value in FULL_GPU.items() if name not in missing}}
    ]


@pytest.mark.parametrize(
    "broken",
    [
        {"nvmlInit"},
        {"nvmlDeviceGetCount"},
        {"nvmlDeviceGetHandleByIndex"},
        {"nvmlDeviceGetUUID"},
        {
            "nvmlDeviceGetMemoryInfo",
            "nvmlDeviceGetUtilizationRates",
            "nvmlDeviceGetTemperature",
            "nvmlDeviceGetPowerUsage",
        },
    ],
)
def test_a_gpu_that_cannot_be_read_is_absent(nvml: NvmlRecordingDouble, broken: set[str]) -> None:
    nvml.broken = broken
    gpus = watch(nvml)
    gpus.start()
    eventually(lambda: broken <= set(nvml.calls))
    gpus.stop()
    assert gpus.loads() == []


def test_a_host_without_nvml_has_no_gpus() -> None:
    asked = threading.Event()

    def missing() -> Any:
        asked.set()
        raise ModuleNotFoundError("No module named 'pynvml'")

    gpus = GpuWatch(load_nvml=missing)
    gpus.start()
    assert asked.wait(20)
    assert gpus.loads() == []


def test_a_gpu_that_hangs_is_absent_after_a_while_and_hides_no_other() -> None:
    now = 0.0
    nvml = NvmlRecordingDouble(gpus=2)
    gpus = watch(nvml, fresh_s=12, clock=lambda: now)
    gpus.start()
    eventually(lambda: len(gpus.loads()) == 2)
    nvml.hanging = {0}
    assert nvml.hung.wait(20)
    now = 13.0
    eventually(lambda: [load["gpu"] for load in gpus.loads()] == ["GPU-1"])
    nvml.hanging = set()
    nvml.stuck.set()
    eventually(lambda: len(gpus.loads()) == 2)
    gpus.stop()


def test_a_driver_that_hangs_from_the_start_holds_up_no_heartbeat() -> None:
    never = threading.Event()

    def hang() -> Any:
        never.wait(60)
        raise RuntimeError("released")

    lines = Lines()
    gpus = GpuWatch(load_nvml=hang)
    heartbeat = Heartbeat(lines, InFlight(), BASE, interval_s=0.005, gpus=gpus)  # type: ignore[arg-type]
    heartbeat.start()
    eventually(lambda: len(lines.lines) >= 2)
    heartbeat.stop()
    never.set()
    assert {"gpus": lines.lines[0]["gpus"]} == {"gpus": []}
