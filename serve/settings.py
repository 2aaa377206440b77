"""The settings of `serve`, from environment variables: a bad value is warned about and replaced, never an error."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final, TypeVar

T = TypeVar("T")
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

MIB: Final = 1 << 20
STDOUT: Final = "-"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the operator chose. Sizes in bytes."""

    path: str = "logs/access.jsonl"
    max_bytes: int = 256 * MIB
    keep: int = 5
    log_all: bool = False
    service: str = "vllm"
    user_header: bytes | None = None
    trusted_proxies: tuple[IPNetwork, ...] = ()
    hash_key_file: str = "logs/access.key"
    warnings: tuple[str, ...] = field(default=(), compare=False)
    """Sentences for the operator about values that were not usable."""

    def trusts(self, address: str) -> bool:
        """Whether X-Forwarded-For from this address is believed."""
        return bool(self.trusted_proxies) and _within(address, self.trusted_proxies)


@lru_cache(maxsize=1024)
def _within(address: str, networks: tuple[IPNetwork, ...]) -> bool:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(ip in network for network in networks)


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Settings from variables named `LOGPROC_…`. Never raises: what is not usable becomes the default and a warning."""
    warnings: list[str] = []

    def read(name: str, default: T, convert: Callable[[str], T]) -> T:
        text = environ.get(name, "").strip()
        if not text:
            return default
        try:
            return convert(text)
        except ValueError as error:
            warnings.append(f"{name}={_shown(text)} is not usable ({error}); {default!r} is used instead")
            return default

    default = Settings()
    path = read("LOGPROC_ACCESS_LOG", default.path, _path)
    key_file = default.hash_key_file if path == STDOUT else str(Path(path).with_suffix(".key"))
    return Settings(
        path=path,
        max_bytes=read("LOGPROC_ACCESS_LOG_MAX_MB", default.max_bytes, lambda text: int(_at_least(0.01, text) * MIB)),
        keep=read("LOGPROC_ACCESS_LOG_KEEP", default.keep, lambda text: int(_at_least(1, text))),
        log_all=read("LOGPROC_ACCESS_LOG_ALL", default.log_all, _flag),
        service=read("LOGPROC_SERVICE", default.service, _label),
        user_header=read("LOGPROC_USER_HEADER", default.user_header, _header),
        trusted_proxies=read("LOGPROC_TRUSTED_PROXIES", default.trusted_proxies, _networks),
        hash_key_file=read("LOGPROC_HASH_KEY_FILE", key_file, _path),
        warnings=tuple(warnings),
    )


def _shown(text: str) -> str:
    return repr(text if len(text) <= 64 else text[:61] + "...")


def _path(text: str) -> str:
    if "\0" in text:
        raise ValueError("a path has no NUL byte")
    return text


def _at_least(least: float, text: str) -> float:
    number = float(text)
    if not least <= number <= 1e9:
        raise ValueError(f"a number of at least {least} is wanted")
    return number


def _flag(text: str) -> bool:
    lowered = text.lower()
    if lowered in ("1", "true", "yes", "on"):
        return True
    if lowered in ("0", "false", "no", "off"):
        return False
    raise ValueError("1 or 0 is wanted")


def _label(text: str) -> str:
    if len(text) > 128 or not text.isprintable():
        raise ValueError("at most 128 printable characters are wanted")
    return text


def _header(text: str) -> bytes:
    if not all(c.isalnum() or c in "-_" for c in text) or not text.isascii():
        raise ValueError("the name of one HTTP header is wanted")
    return text.lower().encode("ascii")


def _networks(text: str) -> tuple[IPNetwork, ...]:
    return tuple(ipaddress.ip_network(part.strip(), strict=False) for part in text.split(",") if part.strip())
