"""Packed files (.gz, .zst) as forward streams of what they hold: several members, cut or broken ones too."""

from __future__ import annotations

import os
import zlib
from typing import Final, Literal, Protocol

import zstandard

from logproc.tailing.forward import ForwardStream

Kind = Literal["gzip", "zstd"]

_MAGIC: Final[dict[Kind, bytes]] = {"gzip": b"\x1f\x8b\x08", "zstd": b"\x28\xb5\x2f\xfd"}
_ENDINGS: Final = (".gz", ".zst")
_READ: Final[dict[Kind, int]] = {"gzip": 16_384, "zstd": 1024}
"""Bytes read at a time. One block of zstd, 3 bytes, may hold 128 KiB: so the most that 1 KiB can become is 44 MB."""


class _Decoder(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


def kind_of(start: bytes) -> Kind | None:
    """How a file that begins with these bytes is packed; None where it is not."""
    for kind, magic in _MAGIC.items():
        if start.startswith(magic):
            return kind
    return None


def looks_packed(path: str) -> bool:
    """Whether the name says that the file is packed, or will be when it is complete."""
    return path.endswith(_ENDINGS)


def told_length(fd: int, kind: Kind) -> int | None:
    """How many bytes a packed file says that it holds, None where it does not say; with several members it holds more.

    Raises:
        OSError: the file cannot be read.
    """
    if kind == "gzip":  # its last four bytes, modulo 2^32
        return int.from_bytes(os.pread(fd, 4, max(0, os.fstat(fd).st_size - 4)), "little")
    try:
        told: int = zstandard.frame_content_size(os.pread(fd, 18, 0))
    except zstandard.ZstdError:
        return None
    return told if told >= 0 else None


class PackedStream(ForwardStream):
    """What a packed file holds, member after member. What can be read is given; the rest is counted in `unreadable`."""

    def __init__(self, fd: int, kind: Kind) -> None:
        super().__init__()
        self._fd = fd
        self._kind = kind
        self._begin()

    def _begin(self) -> None:
        self._at = 0
        self._pending = b""
        self._decoder: _Decoder | None = None
        self.unreadable = 0
        """Packed bytes at the end that could not be made sense of."""
        self.complete = True
        """Whether the stream ended where a member ended."""

    def _restart(self) -> None:
        self._begin()

    def _more(self) -> bytes:
        if not self._pending:
            self._pending = os.pread(self._fd, _READ[self._kind], self._at)
            self._at += len(self._pending)
            if not self._pending:
                self.at_end = True
                self.complete = self._decoder is None
                return b""
        if self._decoder is None:
            self._pending = self._pending.lstrip(b"\0")  # padding between members and after the last
            if not self._pending:
                return b""
            self._decoder = self._new_decoder()
        data, self._pending = self._pending, b""
        try:
            out = self._decoder.decompress(data)
        except (zlib.error, zstandard.ZstdError):
            self.at_end, self.complete = True, False
            self.unreadable = os.fstat(self._fd).st_size - self._at + len(data)
            return b""
        if self._decoder.eof:
            self._pending, self._decoder = self._decoder.unused_data, None
        return out

    def _new_decoder(self) -> _Decoder:
        if self._kind == "gzip":
            return zlib.decompressobj(wbits=31)
        return zstandard.ZstdDecompressor().decompressobj()
