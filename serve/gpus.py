"""The GPUs of this host, read through NVML by threads that may hang without anybody waiting for them."""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Callable
from typing import Any, Final

READ_EVERY_S: Final = 5.0
FRESH_S: Final = 12.0
"""A reading older than this comes from a GPU that fails or hangs: two readings were missed."""


class GpuWatch:
    """Reads each GPU in a thread of its own. What did not answer lately is absent from `loads`, never 0.

    A call into a driver that is stuck cannot be ended from outside; it holds up its own thread alone.

    Args:
        load_nvml: gives the `pynvml` module; any exception means that there are no GPUs to be seen.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        *,
        load_nvml: Callable[[], Any] = lambda: importlib.import_module("pynvml"),
        read_every_s: float = READ_EVERY_S,
        fresh_s: float = FRESH_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load_nvml = load_nvml
        self._read_every_s = read_every_s
        self._fresh_s = fresh_s
        self._clock = clock
        self._stop = threading.Event()
        self._newest: dict[str, tuple[float, dict[str, object]]] = {}

    def start(self) -> None:
        """Begin to read. Returns at once, also where the driver hangs."""
        self._spawn(self._watch_all)

    def stop(self) -> None:
        """End the threads at their next breath. Waits for none of them."""
        self._stop.set()

    def loads(self) -> list[dict[str, object]]:
        """One dict a GPU that answered lately, with those fields of `logproc.record.GpuLoad` that could be read."""
        now = self._clock()
        return [load for _, (at, load) in sorted(self._newest.copy().items()) if now - at <= self._fresh_s]

    def _spawn(self, target: Callable[..., None], *args: object) -> None:
        threading.Thread(target=target, args=args, name="logproc-gpu", daemon=True).start()

    def _watch_all(self) -> None:
        try:
            nvml = self._load_nvml()
            nvml.nvmlInit()
            count = nvml.nvmlDeviceGetCount()
        except Exception:  # no such module, library, driver or GPU
            return
        for index in range(count):
            self._spawn(self._watch, nvml, index)

    def _watch(self, nvml: Any, index: int) -> None:
        while not self._stop.is_set():
            try:
                load = read_gpu(nvml, index)
            except Exception:  # lost, or fallen off the bus: it may come back
                load = None
            if load is not None:
                self._newest[str(load["gpu"])] = (self._clock(), load)
            self._stop.wait(self._read_every_s)


def read_gpu(nvml: Any, index: int) -> dict[str, object] | None:
    """The load of one GPU now, with the fields that it can tell; None if it can tell none.

    Raises:
        Exception: whatever `nvml` raises when the GPU cannot be reached.
    """
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    uuid = nvml.nvmlDeviceGetUUID(handle)
    readings: dict[str, object] = {}
    memory = _try(lambda: nvml.nvmlDeviceGetMemoryInfo(handle, version=nvml.nvmlMemory_v2))  # as nvidia-smi counts
    if memory is None:
        memory = _try(lambda: nvml.nvmlDeviceGetMemoryInfo(handle))  # an older driver or module
    if memory is not None:
        readings["memory_used_bytes"] = int(memory.used)
        readings["memory_total_bytes"] = int(memory.total)
    percent = _try(lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
    if percent is not None:
        readings["utilization"] = percent / 100
    celsius = _try(lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))
    if celsius is not None:
        readings["temperature_c"] = float(celsius)
    milliwatts = _try(lambda: nvml.nvmlDeviceGetPowerUsage(handle))
    if milliwatts is not None:
        readings["power_w"] = milliwatts / 1000
    if not readings:
        return None
    return {"gpu": uuid.decode() if isinstance(uuid, bytes) else str(uuid), **readings}


def _try(read: Callable[[], Any]) -> Any:
    """What `read` gives, or None: not every GPU supports every reading."""
    try:
        return read()
    except Exception:
        return None
