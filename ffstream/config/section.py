"""Base class and types of the sections of the TOML file."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
# At most as many rows as a header may list labels for (docs/protocol.md, "Limits").
Rows = Annotated[int, Field(ge=1, le=1_024)]


class Section(BaseModel):
    """A table of the TOML file: unknown keys are refused, and values cannot change."""

    model_config = ConfigDict(extra="forbid", frozen=True)
