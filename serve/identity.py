"""Who asked, and under which ids: what the access line says of a request from its headers and its connection."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import random
import re
import secrets
from binascii import hexlify
from collections.abc import Container, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from serve.settings import Settings

KEY_BYTES: Final = 32
LONGEST_ADDRESS: Final = 64
MOST_KEYS: Final = 4096
"""Keys whose ids are kept."""

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_RESPONSE_ID: Final = re.compile(r"[A-Za-z0-9._:-]+")
_TRACEPARENT: Final = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")
_NO_TRACE: Final = b"0" * 32


_RANDOM: Final = random.Random()
os.register_at_fork(after_in_child=_RANDOM.seed)
random_bits: Final = _RANDOM.getrandbits
"""For ids, which are no secrets: a quarter of the time of the system's own, and untouched by an app's `random.seed`."""


def request_id(given: bytes | None) -> bytes:
    """The client's X-Request-Id if it is safe to pass on (letters, digits, `._:-`, at most 128), else a new one."""
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given
    return hexlify(random_bits(128).to_bytes(16))


def response_id(value: object) -> str | None:
    """The id of a response body; None for one of odd characters or length, which a client may have chosen."""
    if not isinstance(value, str) or not 0 < len(value) <= 256:
        return None
    plain = value.replace("-", "0")  # as nearly all of them are: a third of the pattern's time
    return value if (plain.isalnum() and plain.isascii()) or _RESPONSE_ID.fullmatch(value) else None


def trace_id(traceparent: bytes) -> str | None:
    """The trace id (32 hex digits) of a W3C `traceparent` header; None when it is not valid."""
    match = _TRACEPARENT.fullmatch(traceparent)
    if match is None or match[1] == _NO_TRACE or traceparent.startswith(b"ff"):
        return None
    return match[1].decode("ascii")


def shown(value: bytes | None, length: int) -> str | None:
    """A header's value as text of at most `length` characters, without control characters; None when empty."""
    return None if value is None else _printable(value if len(value) <= length else value[:length])


@lru_cache(maxsize=64)
def _printable(value: bytes) -> str | None:
    text = value.decode("latin-1")
    if not text.isprintable():
        text = "".join(filter(str.isprintable, text))
    return text.strip() or None


def client_address(peer: str | None, forwarded_for: bytes | None, settings: Settings) -> str | None:
    """The client's address: the peer's, or, where the peer is a trusted proxy, the last one in X-Forwarded-For that
    is not itself a trusted proxy. None for a connection without an address (a Unix socket).
    """
    if not peer:
        return None
    if not forwarded_for or not settings.trusts(peer):
        return peer
    for part in reversed(forwarded_for.decode("latin-1").split(",")[-32:]):
        text = part.strip()
        address = _address(text) if len(text) <= LONGEST_ADDRESS else None
        if address is None:
            break  # whatever stands left of nonsense is worth no more
        peer = address
        if not settings.trusts(address):
            break
    return peer


@lru_cache(maxsize=1024)
def _address(text: str) -> str | None:
    """An IP address in one spelling, without port or brackets; None for anything else."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None


class ApiKeys:
    """Tells callers apart by the keys that they present. Of a key that was seen only a salted hash is kept.

    Args:
        secret: what the ids are keyed by; without it there are none.
    """

    def __init__(self, secret: bytes | None = None) -> None:
        self._keyed = None if secret is None else hashlib.blake2b(digest_size=6, key=secret)
        self._salt = os.urandom(16)  # Python's hash has one of its own, unless PYTHONHASHSEED is set
        self._ids: dict[int, str | None] = {}

    def id_of(self, authorization: bytes | None, x_api_key: bytes | None) -> str | None:
        """12 hex digits that stand for the Bearer token, else the x-api-key, and do not tell it. None without one."""
        if self._keyed is None or (authorization is None and x_api_key is None):
            return None
        presented = hash((self._salt, authorization, x_api_key))  # 64 bits; an id has 48
        known = self._ids.get(presented, "")
        if known != "":
            return known
        if len(self._ids) >= MOST_KEYS:
            self._ids.clear()  # another thread may look something up just now
        known = None
        if key := presented_key(authorization or b"", x_api_key or b""):
            keyed = self._keyed.copy()
            keyed.update(key)
            known = keyed.hexdigest()
        self._ids[presented] = known
        return known


def presented_key(authorization: bytes, x_api_key: bytes) -> bytes:
    """The key that the client presented, as Bearer token or x-api-key; empty when there is none."""
    if authorization[:7].lower() == b"bearer " and (token := authorization[7:].strip()):
        return token
    return x_api_key.strip()


def load_hash_key(path: str) -> bytes:
    """The secret of `api_key_id`, from a file that is made once, for its owner alone (0600).

    Several processes may start at once: the file appears whole by a link, so that all of them read the same secret.

    Raises:
        OSError: the file can be neither read nor made.
        ValueError: the file is too short to be a secret.
    """
    file = Path(path)
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_name(f"{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(descriptor, secrets.token_bytes(KEY_BYTES))
        finally:
            os.close(descriptor)
        try:
            os.link(draft, file)
        except FileExistsError:
            pass  # another process was first: its secret holds
        finally:
            draft.unlink()
    secret = file.read_bytes()
    if len(secret) < 16:
        raise ValueError(f"{path} holds {len(secret)} bytes, at least 16 are wanted")
    return secret[:64]


def template_of(scope: Mapping[str, Any], known: Container[str] = ()) -> str | None:
    """The route template that the app matched, with the prefix of the mounts above it; None where there is no route.

    Args:
        scope: the ASGI scope as the app left it. Starlette and FastAPI put `route`, `endpoint` and `app` there.
        known: paths that are kept as they are for an app that has no routes at all.
    """
    route = scope.get("route")
    template = getattr(route, "path", None)
    if isinstance(template, str) and "app_root_path" not in scope and hasattr(route, "endpoint"):
        return template or "/"
    params = scope.get("path_params") or {}
    if isinstance(template, str):
        if not hasattr(route, "endpoint"):
            template = ""  # a mounted app without routes: the mount is in the root path already
        root: str = scope.get("root_path", "")
        mounts = root[len(scope["app_root_path"]) :] if "app_root_path" in scope else ""
        return _with_names(mounts, params) + template or "/"
    path = str(scope.get("path", ""))
    root = scope.get("app_root_path", scope.get("root_path", ""))
    if root and path.startswith(root):
        path = path[len(root) :]
    if "endpoint" in scope and "app_root_path" not in scope and not any("/" in str(value) for value in params.values()):
        return _with_names(path, params)  # a Starlette that does not tell the route
    return path if "app" not in scope and path in known else None


def _with_names(path: str, params: Mapping[str, Any]) -> str:
    """The path with the values of its parameters replaced by their names."""
    if not params:
        return path
    names = {str(value): "{" + name + "}" for name, value in params.items()}
    return "/".join(names.get(part, part) if part else part for part in path.split("/"))
