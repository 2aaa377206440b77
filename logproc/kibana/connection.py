"""One connection to Kibana's HTTP API: each request is sent once, and any status is an answer."""

from __future__ import annotations

import base64
import json
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final, NamedTuple

from pydantic import SecretStr

from logproc.settings_login import Kibana

TIMEOUT_S: Final = 60.0
_BOUNDARY: Final = "logproc-saved-objects"


class KibanaUnreachableError(Exception):
    """There was no answer; the message says where, why, and what helps."""


class KibanaLoginError(Exception):
    """A secret or a certificate cannot be read from its file."""


class Answer(NamedTuple):
    """What Kibana answered: `body` is its JSON, None where it was none."""

    status: int
    body: Any

    @property
    def said(self) -> str:
        """Kibana's own words, in one line."""
        if isinstance(self.body, dict):
            return str(self.body.get("message") or self.body.get("error") or "no reason given")[:400]
        return "no reason given"


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A login must not be sent on to wherever an answer points."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class Connection:
    """Sends requests to one Kibana, with its login.

    Raises:
        KibanaLoginError: a file of the settings cannot be read, or holds no certificate.
    """

    def __init__(self, url: str, login: Kibana) -> None:
        self.url = url.rstrip("/")
        self._headers = {"kbn-xsrf": "logproc", **_authorization(login)}
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPSHandler(context=_tls(login.ca_cert)), _NoRedirects()
        )

    def send(self, method: str, path: str, body: object = None) -> Answer:
        """Send one request of JSON.

        Raises:
            KibanaUnreachableError: there was no answer.
        """
        data = None if body is None else json.dumps(body).encode()
        return self._send(method, path, data, "application/json")

    def import_objects(self, path: str, ndjson: str) -> Answer:
        """Send NDJSON as the file of a form.

        Raises:
            KibanaUnreachableError: there was no answer.
        """
        head = (
            f"--{_BOUNDARY}\r\n"
            'Content-Disposition: form-data; name="file"; filename="logproc.ndjson"\r\n'
            "Content-Type: application/ndjson\r\n\r\n"
        )
        data = f"{head}{ndjson}\r\n--{_BOUNDARY}--\r\n".encode()
        return self._send("POST", path, data, f"multipart/form-data; boundary={_BOUNDARY}")

    def _send(self, method: str, path: str, data: bytes | None, content_type: str) -> Answer:
        headers = self._headers | ({} if data is None else {"Content-Type": content_type})
        request = urllib.request.Request(f"{self.url}{path}", data, headers, method=method)  # noqa: S310 - the settings allow http and https alone
        try:
            with self._opener.open(request, timeout=TIMEOUT_S) as response:
                return Answer(response.status, _json(response.read()))
        except urllib.error.HTTPError as error:
            return Answer(error.code, _json(error.read()))
        except OSError as error:
            reason = getattr(error, "reason", None) or error.strerror or type(error).__name__
            reason = getattr(reason, "strerror", None) or reason
            raise KibanaUnreachableError(
                f"{self.url}: {reason}. Check `kibana.url`, and whether Kibana runs."
            ) from error


def _json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _tls(ca_cert: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(ca_cert) if ca_cert else None)
    except OSError as error:
        raise KibanaLoginError(f"kibana.ca_cert: {ca_cert} cannot be read, or holds no certificate") from error


def _authorization(login: Kibana) -> dict[str, str]:
    if key := _secret(login.api_key, login.api_key_file, "kibana.api_key_file"):
        return {"Authorization": f"ApiKey {key}"}
    if password := _secret(login.password, login.password_file, "kibana.password_file"):
        pair = base64.b64encode(f"{login.username}:{password}".encode()).decode()
        return {"Authorization": f"Basic {pair}"}
    return {}


def _secret(value: SecretStr | None, path: Path | None, key: str) -> str | None:
    if path is None:
        return value.get_secret_value() if value else None
    try:
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise KibanaLoginError(f"{key}: {path} cannot be read") from error
