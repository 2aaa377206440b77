"""Reads the access lines of LLM inference servers; imports nothing, so `logproc.record` stays light for `serve`."""

__version__ = "0.1.0"
