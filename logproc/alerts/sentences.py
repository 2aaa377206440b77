"""An alert in two plain sentences, English and Chinese: what is wrong since when and for whom, and why."""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from logproc.alerts.alert import Alert
from logproc.harmless import harmless

_WHAT: Final = {
    "latency_p99": (
        "P99 duration is {value:.1f} s (bound {bound:g} s)",
        "P99 耗时 {value:.1f} 秒（阈值 {bound:g} 秒）",
    ),
    "latency_p95": (
        "P95 duration is {value:.1f} s (bound {bound:g} s)",
        "P95 耗时 {value:.1f} 秒（阈值 {bound:g} 秒）",
    ),
    "ttft": (
        "P95 time to first token is {value:.2f} s (bound {bound:g} s)",
        "P95 首字时间 {value:.2f} 秒（阈值 {bound:g} 秒）",
    ),
    "tokens_per_second": (
        "the slowest 5 % of answers get {value:.0f} tokens/s or less (bound {bound:g})",
        "最慢的 5% 回答生成速度不超过 {value:.0f} token/秒（阈值 {bound:g}）",
    ),
    "errors": (
        "{value:.1%} of requests fail (bound {bound:.1%})",
        "{value:.1%} 的请求失败（阈值 {bound:.1%}）",
    ),
    "empty": (
        "{value:.1%} of answers are empty (bound {bound:.1%})",
        "{value:.1%} 的回答为空（阈值 {bound:.1%}）",
    ),
    "traffic_silent": (
        "no request for {value:.0f} s, where there usually are some",
        "已有 {value:.0f} 秒没有请求，而平时此时有请求",
    ),
    "server_gone": (
        "no heartbeat for {value:.0f} s",
        "已有 {value:.0f} 秒没有心跳",
    ),
    "cold_start": (
        "the server took {value:.0f} s to start (bound {bound:g} s)",
        "服务启动用了 {value:.0f} 秒（阈值 {bound:g} 秒）",
    ),
    "kv_cache_full": (
        "the KV cache is {value:.0%} full and requests wait",
        "KV 缓存已用 {value:.0%}，且有请求在等待",
    ),
    "gpu_memory": (
        "GPU memory in use: {value:.4g}",
        "GPU 显存使用：{value:.4g}",
    ),
    "queue_growing": (
        "{value:.0f} requests wait (usual bound {bound:.0f})",
        "{value:.0f} 个请求在排队（通常不超过 {bound:.0f}）",
    ),
    "drift": (
        "{what} is {value:.1f} times the usual for this hour",
        "{what_zh}是此时段平时的 {value:.1f} 倍",
    ),
}

_CAUSES: Final = {
    "queue": (
        "requests wait in the engine's queue: more arrive than it can serve",
        "请求在引擎队列中等待：到达的请求超过处理能力",
    ),
    "prefill": (
        "prefill takes longer",
        "预填充变慢",
    ),
    "decode": (
        "tokens are generated more slowly",
        "生成 token 变慢",
    ),
    "stall": (
        "answers pause in the middle",
        "回答中途停顿",
    ),
    "client": (
        "time is lost outside the engine: slow clients or network",
        "时间耗在引擎之外：客户端或网络慢",
    ),
    "long_prompts": (
        "prompts are {prompt_factor} times as long as usual",
        "提示词长度是平时的 {prompt_factor} 倍",
    ),
    "cache_misses": (
        "the prefix cache hits less: {cache_hit_rate:.0%}, usually {usual_cache_hit_rate:.0%}",
        "前缀缓存命中率下降：{cache_hit_rate:.0%}，平时 {usual_cache_hit_rate:.0%}",
    ),
    "long_answers": (
        "answers are {answer_factor} times as long as usual",
        "回答长度是平时的 {answer_factor} 倍",
    ),
    "cold_start": (
        "the server has just started",
        "服务刚刚启动",
    ),
    "kv_cache": (
        "the KV cache is full",
        "KV 缓存已满",
    ),
    "gpu_memory": (
        "GPU memory is full",
        "GPU 显存已满",
    ),
    "batch": (
        "the batch is full",
        "批次已满",
    ),
    "errors": (
        "the server answers with errors",
        "服务返回错误",
    ),
    "no_output": (
        "the model ends its answers at once, without text: look at the chat template, the stop words and the model",
        "模型立即结束回答、没有文本：请检查对话模板、停止词和模型本身",
    ),
    "unknown": (
        "the log does not tell why",
        "日志无法说明原因",
    ),
}


class _Unknown:
    """Stands for a number that nobody knows."""

    def __format__(self, _: str) -> str:
        return "?"


def sentences(alert: Alert) -> dict[str, str]:
    """The two sentences by language."""
    values: defaultdict[str, object] = defaultdict(_Unknown, what="duration", what_zh="耗时")
    values |= {name: value for name, value in alert.facts.items() if value is not None}
    values |= {name: value for name in ("value", "bound") if (value := getattr(alert, name)) is not None}
    found = {}
    for place, language in enumerate(("en", "zh")):
        what = _WHAT[alert.kind][place].format_map(values)
        who = harmless(alert.model or alert.host or "")
        since = alert.since[11:19]
        why = _CAUSES[alert.cause or "unknown"][place].format_map(values)
        share = alert.shares.get(alert.cause or "", 0.0)
        if language == "en":
            told = f"{who or 'Everything'}: {what}, since {since} UTC"
            told += f" until {(alert.until or '')[11:19]}." if alert.until else "."
            told += f" Cause: {why}" + (f" ({share:.0%} of the excess)." if share else ".")
        else:
            told = f"{who or '全部'}：{what}，自 {since} UTC 起"
            told += f"，至 {(alert.until or '')[11:19]} 结束。" if alert.until else "。"
            told += f"原因：{why}" + (f"（占超出部分的 {share:.0%}）。" if share else "。")
        found[language] = told
    return found
