"""What every flow's form has in common."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


def _in_order(schema: dict[str, Any]) -> None:
    """Prefect's database keeps no order of keys; its forms sort by this."""
    for position, field in enumerate(schema.get("properties", {}).values()):
        field["position"] = position


class Options(BaseModel):
    """The one parameter of a flow, which is its form in the UI: fields in the order in which they are written, each explained."""

    model_config = ConfigDict(json_schema_extra=_in_order, extra="forbid", frozen=True)


def waiting(minutes: float = 240) -> Any:
    """The last field of whatever changes the stack."""
    return Field(minutes, ge=0, description="Minutes to wait while something else changes the stack.")
