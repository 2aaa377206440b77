"""`logproc silence`: asks the process that runs to mute one kind of alert; it alone may write that down."""

from __future__ import annotations

import json
import ssl
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any

from logproc.settings import Http

TIMEOUT_S = 10.0


class SilenceError(Exception):
    """It could not be done: no process answers, or it refused; the message says what to do."""


def silence(http: Http, kind: str, span: str, model: str | None, by: str, comment: str) -> dict[str, Any]:
    """Begin a silence of `span` (such as 2h), and return it as the process keeps it.

    Raises:
        SilenceError: it was not begun.
    """
    wanted = {"kind": kind, "for": span, "model": model, "by": by, "comment": comment}
    status, answer = _post(http, "/api/v1/silences", {name: value for name, value in wanted.items() if value})
    if status == 201:
        return answer
    if status == 401:
        raise SilenceError(
            "the process that runs wants another token: is http.token_file the one that it was started with?"
        )
    if status == 404:
        raise SilenceError(
            "the process that runs does not notify: start it without --only, or with --only measure,notify"
        )
    raise SilenceError(str(answer.get("error", f"the process that runs answered {status}")))


def _post(http: Http, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(http.host, http.host)  # noqa: S104 - where it listens, not we
    where = f"{host}:{http.port}"
    headers = {"Content-Type": "application/json"}
    try:
        if http.token_file is not None:
            headers["Authorization"] = f"Bearer {http.token_file.read_text('utf-8').strip()}"
        connection = _connection(http, host)
        try:
            connection.request("POST", path, json.dumps(body).encode(), headers)
            response = connection.getresponse()
            return response.status, _object(response.read(1 << 20))
        finally:
            connection.close()
    except ConnectionRefusedError:
        raise SilenceError(
            f"no logproc runs at {where} (http.listen): start `logproc run` with the same settings first"
        ) from None
    except ssl.SSLError as error:
        raise SilenceError(
            f"{where}: {error.reason or 'no TLS'}: is http.tls_cert the one that it was started with?"
        ) from None
    except (OSError, HTTPException) as error:
        name = getattr(error, "filename", None) or where
        raise SilenceError(f"{name}: {getattr(error, 'strerror', None) or type(error).__name__}") from None


def _connection(http: Http, host: str) -> HTTPConnection:
    if http.tls_cert is None:
        return HTTPConnection(host, http.port, timeout=TIMEOUT_S)
    # It must have the very certificate of the settings; the name in it need not be that of this address.
    context = ssl.create_default_context(cafile=str(http.tls_cert))
    context.check_hostname = False
    return HTTPSConnection(host, http.port, timeout=TIMEOUT_S, context=context)


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
