"""The dashboards of what serves the requests: the engine and its GPUs, and logproc itself."""

from __future__ import annotations

from logproc.settings import Levels, Thresholds
from pipelines.grafana.panels import Panel, one
from pipelines.grafana.questions import MODEL, TYPE, Rows, rate


def engine(thresholds: Thresholds) -> Rows:
    """Is the machine full? Requests in the engine, its cache, its GPUs."""
    where, gpu = "{{host}} {{engine}}", "{{host}} {{gpu}}"
    memory = "llm_gpu_memory_used_bytes / on(job, instance, host, gpu) llm_gpu_memory_total_bytes"
    prompt = rate("llm_tokens_total", "model", MODEL, TYPE["prompt"])
    return {
        "Engine": [
            Panel("Requests in the batch", one("llm_engine_requests_running", where)),
            Panel("Requests that wait", one("llm_engine_requests_waiting", where)),
            Panel(
                "KV cache in use",
                one("llm_kv_cache_usage_ratio", where),
                "percentunit",
                levels=thresholds.kv_cache_ratio,
                most=1,
            ),
            Panel(
                "Prompt tokens found in the cache",
                one(f"{rate('llm_cached_tokens_total', 'model', MODEL)} / {prompt}", "{{model}}"),
                "percentunit",
                most=1,
            ),
            Panel("Requests in flight", one("llm_requests_in_flight", "{{host}} {{pid}}")),
            Panel("The oldest of them", one("llm_oldest_request_seconds", "{{host}} {{pid}}"), "s"),
        ],
        "GPU": [
            Panel("Memory in use", one("llm_gpu_memory_used_bytes", gpu), "bytes", levels=thresholds.gpu_memory_bytes),
            Panel(
                "Memory in use, of all",
                one(memory, gpu),
                "percentunit",
                levels=thresholds.gpu_memory_ratio,
                most=1,
                text="vLLM takes most of it at its start: that alone is no trouble.",
            ),
            Panel("Utilization", one("llm_gpu_utilization_ratio", gpu), "percentunit", most=1, width=8),
            Panel("Temperature", one("llm_gpu_temperature_celsius", gpu), "celsius", width=8),
            Panel("Power", one("llm_gpu_power_watts", gpu), "watt", width=8),
        ],
        "Starts": [
            Panel("Starts", one("sum by (model) (increase(llm_server_starts_total[$__rate_interval]))", "{{model}}")),
            Panel(
                "The last cold start took",
                one("llm_server_startup_seconds", "{{model}}"),
                "s",
                levels=thresholds.startup_s,
            ),
        ],
    }


def health(_: Thresholds) -> Rows:
    """Is logproc itself well? Lag, rejected lines, documents, messages."""
    each = "{{instance}}"
    return {
        "Keeping up": [
            Panel(
                "Up",
                one('min by (instance) (up{job=~".*logproc.*"})', each),
                kind="number",
                levels=Levels(critical=1),
                is_floor=True,
                width=6,
            ),
            Panel(
                "Lag",
                one("logproc_lag_seconds", f"{each} {{{{consumer}}}}"),
                "s",
                levels=Levels(warning=30, critical=300),
                text="How long the oldest line that is not committed has waited.",
                width=18,
            ),
            Panel(
                "Lines a second", one(rate("logproc_lines_total", "consumer, result"), "{{consumer}} {{result}}"), "cps"
            ),
            Panel("Bytes a second", one(rate("logproc_bytes_total", "consumer"), "{{consumer}}"), "Bps"),
            Panel("Waits for its store or for disk space", one("logproc_paused", f"{each} {{{{consumer}}}}"), most=1),
            Panel(
                "What happened to the files",
                one("sum by (event) (increase(logproc_file_events_total[$__rate_interval]))", "{{event}}"),
            ),
        ],
        "What could not be used": [
            Panel(
                "Lines rejected a second, by reason",
                one(rate("logproc_lines_rejected_total", "reason"), "{{reason}}"),
                "cps",
            ),
            Panel(
                "Lines that the server could not write",
                one("sum by (host) (increase(llm_lines_lost_total[$__rate_interval]))", "{{host}}"),
            ),
            Panel(
                "Documents a second",
                one(rate("logproc_documents_total", "store, result"), "{{store}} {{result}}"),
                "cps",
            ),
            Panel(
                "Events counted under __other__",
                one(
                    "sum by (metric) (increase(logproc_series_folded_total[$__rate_interval])) or vector(0)",
                    "{{metric}}",
                ),
                text="More label sets than metrics.max_series.",
            ),
        ],
        "Telling people": [
            Panel(
                "Messages a second",
                one(rate("logproc_notifications_total", "channel, result"), "{{channel}} {{result}}"),
                "cps",
                width=8,
            ),
            Panel("Deliveries that wait", one("logproc_notifications_waiting", "{{channel}}"), width=8),
            Panel("Channels that take nothing", one("logproc_notifications_failing", "{{channel}}"), most=1, width=8),
        ],
        "The process": [
            Panel(
                "CPU",
                one('sum by (instance) (rate(process_cpu_seconds_total{job=~".*logproc.*"}[$__rate_interval]))', each),
                "percentunit",
            ),
            Panel("Memory", one('process_resident_memory_bytes{job=~".*logproc.*"}', each), "bytes"),
        ],
    }
