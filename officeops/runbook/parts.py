"""What the parts of `runbook.yaml` are made of: texts and numbers that mean what they say, and mappings without unknown keys."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _inside(path: str) -> str:
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts or not path:
        raise ValueError("a path inside the release: relative, without ..")
    return path


Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
Text = Annotated[str, Field(min_length=1)]
Argument = Annotated[str, Field(pattern=r"^[^\x00]*$")]  # what the kernel lets a process have
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Inside = Annotated[str, Field(min_length=1), AfterValidator(_inside)]
# Strict: YAML says itself what is a number and what is text, and `yes` or `1:30` are rarely meant as what it makes of them.
Switch = Annotated[bool, Field(strict=True)]
Count = Annotated[int, Field(strict=True)]
Amount = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Role = Literal["system_administrator", "database_administrator", "development_lead"]


class Part(BaseModel):
    """Anything in the runbook: unknown keys are errors, nothing changes once read."""

    model_config = ConfigDict(extra="forbid", frozen=True)
