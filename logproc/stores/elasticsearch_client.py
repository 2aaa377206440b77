"""One connection to Elasticsearch: bytes over the official client's transport, each request tried once."""

from __future__ import annotations

import contextlib
import logging
import warnings
import zlib
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from pydantic import SecretStr

from logproc.settings import ElasticsearchStore
from logproc.stores.store import StoreUnavailableError

TIMEOUT_S: Final = 60.0
NDJSON: Final = "application/x-ndjson"
JSON: Final = "application/json"
_ALL_BUT_SUCCESS: Final = (*range(100, 200), *range(299, 600))
"""The client raises at every status that it is not told to leave to us; 299 is one of them."""
_GZIP: Final = 16 + zlib.MAX_WBITS


class ClientMissingError(Exception):
    """The official client is not installed; the message says how to have it."""


class SecretError(Exception):
    """A secret or certificate cannot be read from its file."""


class Answer(NamedTuple):
    """What the server answered: its status, and the body as it came."""

    status: int
    body: bytes

    def json(self) -> Any:
        """The body as JSON; None where it is none."""
        try:
            return msgspec.json.decode(self.body)
        except msgspec.DecodeError:
            return None


class Connection:
    """Sends requests from any thread; `connections` of them at the same time, to each node.

    Raises:
        ClientMissingError: the package `elasticsearch` is not installed.
        SecretError: a file of the settings cannot be read, or holds no certificate.
    """

    def __init__(self, store: ElasticsearchStore, *, connections: int = 2, timeout_s: float = TIMEOUT_S) -> None:
        try:
            from elasticsearch import Elasticsearch, ElasticsearchWarning
        except ImportError as error:
            raise ClientMissingError(
                "store.kind elasticsearch: the package elasticsearch is missing: "
                "in the checkout, pip install '.[elasticsearch]'"
            ) from error
        logging.getLogger("elastic_transport").setLevel(logging.ERROR)  # what it warns of is in our own messages
        warnings.filterwarnings("ignore", category=ElasticsearchWarning)
        self.where = "Elastic Cloud" if store.cloud_id else ", ".join(store.urls)
        self._timeout_s = timeout_s
        self._gzip = store.gzip
        self._store = store
        options: dict[str, Any] = {"ca_certs": str(store.ca_cert)} if store.ca_cert else {}
        if store.ca_cert:
            _read(store.ca_cert, "store.ca_cert")
        self._login = login = _login(store)
        try:
            client = Elasticsearch(
                None if store.cloud_id else store.urls,
                cloud_id=store.cloud_id,
                connections_per_node=connections,
                http_compress=False,
                serializers=dict.fromkeys((JSON, NDJSON, "text/*"), _as_bytes()),
                max_dead_node_backoff=1.0,
                **options,
                **login,
            )
        except (OSError, ValueError) as error:  # a file without certificates, a cloud id that is none
            raise SecretError(f"store: the connection to {self.where} cannot be set up: {error}") from error
        self._client = client.options(max_retries=0, request_timeout=timeout_s, ignore_status=_ALL_BUT_SUCCESS)

    def request(self, method: str, path: str, body: bytes | None = None, content_type: str = JSON) -> Answer:
        """Send one request, once; any status is an answer. With `store.gzip` a body is packed.

        Raises:
            StoreUnavailableError: there was no whole answer, so nobody knows whether it was done.
        """
        from elastic_transport import TransportError
        from elasticsearch import UnsupportedProductError

        headers = {"accept": JSON}
        if body is not None:
            headers["content-type"] = content_type
            if self._gzip:
                headers |= {"content-encoding": "gzip", "accept-encoding": "gzip"}
                packer = zlib.compressobj(1, wbits=_GZIP)
                body = packer.compress(body) + packer.flush()
        try:
            answer = self._client.perform_request(method, path, headers=headers, body=body)
        except TransportError as error:
            raise StoreUnavailableError(f"{self.where}: {_say(error, self._timeout_s)}.") from error
        except UnsupportedProductError as error:
            raise StoreUnavailableError(
                f"{self.where} answers, but is no Elasticsearch. Check `store.urls`."
            ) from error
        if answer.meta.status == 401:
            self._log_in_again()
        return Answer(answer.meta.status, answer.body or b"")

    def _log_in_again(self) -> None:
        """The key or password is not right any more: it may be another one in its file by now."""
        with contextlib.suppress(SecretError):
            login = _login(self._store)
            if login != self._login:
                self._login = login
                self._client = self._client.options(**login)

    def json(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Send one request of JSON; the status, and the answer's body as JSON (None where it is none).

        Raises:
            StoreUnavailableError: there was no whole answer.
        """
        answer = self.request(method, path, None if body is None else msgspec.json.encode(body))
        return answer.status, answer.json()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _as_bytes() -> Any:
    """A serializer of the client that leaves bodies as they are, both ways."""
    from elastic_transport import Serializer

    class AsBytes(Serializer):
        def dumps(self, data: Any) -> bytes:
            return bytes(data)

        def loads(self, data: bytes) -> bytes:
            return data

    return AsBytes()


def _login(store: ElasticsearchStore) -> dict[str, Any]:
    """What the client is told of it. Raises SecretError."""
    if key := _secret(store.api_key, store.api_key_file, "store.api_key_file"):
        return {"api_key": key}
    if password := _secret(store.password, store.password_file, "store.password_file"):
        return {"basic_auth": (store.username or "", password)}
    return {}


def _secret(value: SecretStr | None, path: Path | None, key: str) -> str | None:
    if path is not None:
        return _read(path, key).strip()
    return value.get_secret_value() if value else None


def _read(path: Path, key: str) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SecretError(f"{key}: {path} cannot be read: {getattr(error, 'strerror', 'it is no text')}") from error


def _say(error: Exception, timeout_s: float) -> str:
    """What went wrong on the way, in a few words."""
    seen: BaseException | None = error
    text = f"{type(error).__name__}: {error}"
    while seen is not None:
        if isinstance(seen, TimeoutError) or "Timeout" in type(seen).__name__:
            return f"no answer in {timeout_s:.0f} s"
        if isinstance(seen, OSError) and seen.strerror:
            return seen.strerror
        seen = seen.__cause__ or seen.__context__ or getattr(seen, "reason", None)
        if not isinstance(seen, BaseException):
            break
    return text.splitlines()[0][:200]
