"""Text that came from outside, made harmless for a terminal and for sentences: it moves, hides and turns nothing."""

from __future__ import annotations

import re
from typing import Final

# Control characters, and those that turn the direction of writing or begin a new line.
HARMFUL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


def harmless(text: str) -> str:
    """The text with every character that could move the cursor, or hide or turn other text, written as an escape."""
    return HARMFUL.sub(lambda found: found.group().encode("unicode_escape").decode("ascii"), text)
