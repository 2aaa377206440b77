"""What every part of the settings has in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

Positive = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """A part of the settings: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def at(key: tuple[str, ...], message: str) -> PydanticCustomError:
    """An error about a key inside the section that finds it: its line in the file is the line of that key."""
    return PydanticCustomError("at_key", "{message}", {"message": message, "at": key})


def seconds(value: object) -> object:
    """Seconds from `90`, `90s`, `2m` or `1h`; anything else is left to pydantic to refuse."""
    units = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
    if isinstance(value, str) and value[-1:] in units and value[:-1].replace(".", "", 1).isdigit():
        return float(value[:-1]) * units[value[-1]]
    return value
