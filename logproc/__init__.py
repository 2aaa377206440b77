"""Reads the access lines of LLM inference servers. Imports nothing, so that `logproc.record` stays light for `serve`."""

__version__ = "0.1.0"
