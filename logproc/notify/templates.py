"""Templates that users write for the text of one alert: plain text with `$names` of a closed list."""

from __future__ import annotations

from pathlib import Path
from string import Template

from logproc.notify.text import NAMES


class TemplateError(Exception):
    """The template cannot be used: where, what, and what to do."""


def read(path: Path) -> Template:
    """Read and check a template. Raises TemplateError."""
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise TemplateError(f"{path}: {(error.strerror or 'cannot be read').lower()}") from error
    except UnicodeDecodeError as error:
        raise TemplateError(f"{path}: not UTF-8 at byte {error.start}") from error
    template = Template(text)
    if not template.is_valid():
        line = next(number for number, line in enumerate(text.splitlines(), 1) if not Template(line).is_valid())
        raise TemplateError(f"{path}:{line}: a `$` that begins no name: write `$$` for the character")
    for name in template.get_identifiers():
        if name not in NAMES:
            line = next(n for n, line in enumerate(text.splitlines(), 1) if name in Template(line).get_identifiers())
            raise TemplateError(f"{path}:{line}: unknown name `${name}`; there are: {', '.join(NAMES)}")
    if not text.strip():
        raise TemplateError(f"{path}: empty")
    return template
