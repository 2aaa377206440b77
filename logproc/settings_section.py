"""What every part of the settings has in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of the settings: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)
