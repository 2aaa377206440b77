"""The words of messages to people, in English and Chinese."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Final, Literal

from logproc.alerts.alert import Kind

Language = Literal["en", "zh"]


@dataclasses.dataclass(frozen=True, slots=True)
class Words:
    """Everything that a message says which does not come from the alert itself."""

    language: Language
    kinds: Mapping[Kind, str]
    severities: Mapping[str, str]
    causes: Mapping[str, str]
    resolved: str
    firing: str
    alerts: str
    """`{n}` alerts."""
    more: str
    """… and `{n}` more."""
    reminder: str
    escalation: str
    test: str
    everything: str
    """In place of a model's name, where it is all of them."""
    value: str
    bound: str
    """`{bound}`: what the value was judged by."""
    cause: str
    since: str
    until: str
    requests: str
    examples: str
    model: str
    host: str
    details: str
    colon: str


ENGLISH: Final = Words(
    language="en",
    kinds={
        "latency_p99": "P99 latency is too high",
        "latency_p95": "P95 latency is too high",
        "ttft": "The first token comes too late",
        "tokens_per_second": "Decoding is too slow",
        "errors": "Too many errors",
        "empty": "Too many empty answers",
        "traffic_silent": "No requests",
        "server_gone": "A server is gone",
        "cold_start": "A slow start of a server",
        "kv_cache_full": "The KV cache is full",
        "gpu_memory": "GPU memory is nearly full",
        "queue_growing": "The queue is growing",
        "drift": "Slower than usual at this hour",
    },
    severities={"warning": "warning", "critical": "critical", "disaster": "disaster"},
    causes={
        "queue": "waiting in the queue",
        "prefill": "prefill",
        "decode": "decode",
        "stall": "stalls",
        "client": "the client",
        "long_prompts": "longer prompts",
        "cache_misses": "cache misses",
        "long_answers": "longer answers",
        "cold_start": "a server that has just started",
        "kv_cache": "the KV cache is full",
        "gpu_memory": "GPU memory",
        "batch": "a full batch",
        "errors": "errors",
        "no_output": "the model ends at once",
        "unknown": "not known",
    },
    resolved="resolved",
    firing="firing",
    alerts="{n} alerts",
    more="… and {n} more",
    reminder="still firing",
    escalation="nobody has acknowledged it",
    test="test, nothing is wrong",
    everything="all models",
    value="value",
    bound="bound {bound}",
    cause="cause",
    since="since",
    until="until",
    requests="samples",
    examples="examples",
    model="model",
    host="host",
    details="details",
    colon=": ",
)

CHINESE: Final = Words(
    language="zh",
    kinds={
        "latency_p99": "P99 延迟过高",
        "latency_p95": "P95 延迟过高",
        "ttft": "首 token 过慢",
        "tokens_per_second": "解码过慢",
        "errors": "错误过多",
        "empty": "空回答过多",
        "traffic_silent": "没有请求",
        "server_gone": "服务器失联",
        "cold_start": "服务器启动过慢",
        "kv_cache_full": "KV cache 已满",
        "gpu_memory": "显存将满",
        "queue_growing": "排队增长",
        "drift": "比平时同一时段慢",
    },
    severities={"warning": "警告", "critical": "严重", "disaster": "灾难"},
    causes={
        "queue": "排队",
        "prefill": "prefill",
        "decode": "decode",
        "stall": "输出停顿",
        "client": "客户端",
        "long_prompts": "输入变长",
        "cache_misses": "缓存未命中",
        "long_answers": "输出变长",
        "cold_start": "服务器刚启动",
        "kv_cache": "KV cache 已满",
        "gpu_memory": "显存",
        "batch": "批次已满",
        "errors": "错误",
        "no_output": "模型立即结束回答",
        "unknown": "未知",
    },
    resolved="已恢复",
    firing="告警中",
    alerts="{n} 条告警",
    more="… 另有 {n} 条",
    reminder="仍在告警",
    escalation="尚无人确认",
    test="测试消息，一切正常",
    everything="所有模型",
    value="当前值",
    bound="阈值 {bound}",
    cause="原因",
    since="开始",
    until="结束",
    requests="样本数",
    examples="示例",
    model="模型",
    host="主机",
    details="详情",
    colon="：",
)

WORDS: Final[Mapping[Language, Words]] = {"en": ENGLISH, "zh": CHINESE}

_UNITS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("latency_p99", "latency_p95", "ttft", "traffic_silent", "server_gone", "cold_start"), "s"),
    "tokens_per_second": "tokens/s",
    **dict.fromkeys(("errors", "empty", "kv_cache_full"), "%"),
    **dict.fromkeys(("queue_growing", "drift"), "×"),
}


def quantity(kind: Kind, value: float) -> str:
    """A value of an alert with its unit: 4.1 s, 5.2 %, ×2.4. GPU memory is a ratio, or bytes when it is above 1."""
    unit = _UNITS.get(kind, "%" if value <= 1 else "GiB")
    if unit == "%":
        return percent(value)
    if unit == "GiB":
        return f"{number(value / 2**30)} GiB"
    return f"×{number(value)}" if unit == "×" else f"{number(value)} {unit}"


def percent(ratio: float) -> str:
    """A ratio as it is said: 5.2 %."""
    return f"{number(ratio * 100)} %"


def number(value: float) -> str:
    """At most three digits that matter: 0.812, 4.1, 37, 1,240."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
