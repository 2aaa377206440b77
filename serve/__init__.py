"""Runs inside the model server and writes one truthful access line per request."""

from serve.access_log import AccessLogMiddleware

__all__ = ["AccessLogMiddleware"]
