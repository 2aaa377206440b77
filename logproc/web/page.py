"""`/` and `/assets/*`: the page for people, from files in the package; what is not among them cannot be asked for."""

from __future__ import annotations

import gzip
import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

FOREVER: Final = "public, max-age=31536000, immutable"
"""For a file whose name tells its content: another content has another name."""
ASK_AGAIN: Final = "no-cache"

_NAMED_BY_CONTENT: Final = re.compile(r".*[.-][0-9A-Za-z]{8,}\.[a-z0-9]+")
_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
    "png": "image/png",
    "ico": "image/x-icon",
    "woff2": "font/woff2",
    "webmanifest": "application/manifest+json",
    "json": "application/json",
    "txt": "text/plain; charset=utf-8",
}
_SMALLER_WHEN_PACKED: Final = ("text/", "image/svg", "application/")


@dataclass(frozen=True)
class Asset:
    """One file of the page."""

    media_type: str
    body: bytes
    cache: str

    @cached_property
    def packed(self) -> bytes | None:
        """The body packed with gzip; None where that would not help."""
        return gzip.compress(self.body, 9, mtime=0) if self.media_type.startswith(_SMALLER_WHEN_PACKED) else None

    @cached_property
    def tag(self) -> str:
        """What tells this content from another, without quotes."""
        return hashlib.blake2b(self.body, digest_size=12).hexdigest()


class Assets:
    """The files below a folder, by their path from it, read when the first of them is asked for."""

    def __init__(self, folder: Traversable | None = None) -> None:
        self._folder = files("logproc.web").joinpath("assets") if folder is None else folder

    @cached_property
    def all(self) -> dict[str, Asset]:
        """Every file by its path, such as `app.js`."""
        return _below(self._folder, "") if self._folder.is_dir() else {}


def page_routes(assets: Assets) -> list[Route]:
    """The page at `/`, and the files that it needs."""

    def index(request: Request) -> Response:
        found = assets.all.get("index.html")
        if found is None:
            return PlainTextResponse("this logproc was built without its page: see /metrics and /api/v1\n")
        return _answer(request, found)

    def asset(request: Request) -> Response:
        found = assets.all.get(request.path_params["path"])
        return PlainTextResponse("no such file\n", 404) if found is None else _answer(request, found)

    return [Route("/", index), Route("/assets/{path:path}", asset)]


def _answer(request: Request, asset: Asset) -> Response:
    packed = asset.packed if _takes_gzip(request.headers.get("accept-encoding", "")) else None
    tag = f'"{asset.tag}{"" if packed is None else "-gzip"}"'
    headers = {"Cache-Control": asset.cache, "ETag": tag, "Vary": "Accept-Encoding"}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    if packed is not None:
        headers["Content-Encoding"] = "gzip"
    return Response(asset.body if packed is None else packed, headers={**headers, "Content-Type": asset.media_type})


def _takes_gzip(accepted: str) -> bool:
    for each in accepted.lower().split(","):
        name, _, weight = each.partition(";")
        if name.strip() == "gzip":
            return weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False


def _below(folder: Traversable, prefix: str) -> dict[str, Asset]:
    found: dict[str, Asset] = {}
    for each in folder.iterdir():
        name = f"{prefix}{each.name}"
        if each.is_dir():
            found |= _below(each, f"{name}/")
        elif (media_type := _TYPES.get(each.name.rpartition(".")[2])) is not None:
            cache = FOREVER if _NAMED_BY_CONTENT.fullmatch(each.name) else ASK_AGAIN
            found[name] = Asset(media_type, each.read_bytes(), cache)
    return found
