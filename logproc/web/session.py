"""The cookie of a browser that has shown the token: it proves that, does not hold it, and outlives a restart."""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Final

LASTS_S: Final = 30 * 86_400

_VALUE: Final = re.compile(r"([0-9]{1,12})\.([0-9a-f]{64})")


class Sessions:
    """Makes and checks cookies. Their key is made of the token, so that a new token ends every session."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()
        self._key = _hmac(self._token, "logproc: sessions").digest()
        # Cookies know no port: two logprocs on one host must not end each other's sessions.
        self.name = f"logproc-{_hmac(self._key, 'name').hexdigest()[:8]}"

    def is_token(self, given: bytes) -> bool:
        """Whether this is the token; how long that takes tells nothing about it."""
        return hmac.compare_digest(_hmac(self._key, given).digest(), _hmac(self._key, self._token).digest())

    def cookie(self, now_s: float, *, secure: bool) -> str:
        """A `Set-Cookie` for a session that begins now (seconds since 1970)."""
        end = int(now_s) + LASTS_S
        return f"{self.name}={end}.{self._proof(end)}; Max-Age={LASTS_S}; {_attributes(secure=secure)}"

    def farewell(self, *, secure: bool) -> str:
        """A `Set-Cookie` that makes the browser forget the session."""
        return f"{self.name}=; Max-Age=0; {_attributes(secure=secure)}"

    def is_open(self, cookies: str, now_s: float) -> bool:
        """Whether a `Cookie` header holds a session that we gave and that is not over."""
        for each in cookies.split(";"):  # those of others may have any form
            name, _, value = each.strip().partition("=")
            parts = _VALUE.fullmatch(value) if name == self.name else None
            if parts is not None and hmac.compare_digest(parts[2], self._proof(int(parts[1]))):
                return now_s < int(parts[1])
        return False

    def _proof(self, end: int) -> str:
        return _hmac(self._key, f"until {end}").hexdigest()


def _attributes(*, secure: bool) -> str:
    return f"Path=/; HttpOnly; SameSite=Strict{'; Secure' if secure else ''}"


def _hmac(key: bytes, message: str | bytes) -> hmac.HMAC:
    return hmac.new(key, message.encode() if isinstance(message, str) else message, hashlib.sha256)
