"""The HTTP API."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path
from pydantic import Field, StringConstraints

_LARGEST = 2**63 - 1  # of PostgreSQL's bigint
# PostgreSQL's text takes every character but NUL.
Text = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$")]
Id = Annotated[int, Field(ge=1, le=_LARGEST)]
PathId = Annotated[int, Path(ge=1, le=_LARGEST)]
