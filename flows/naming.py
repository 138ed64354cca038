"""How runs are named: by what they do, and when, in the zone that people live in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from prefect.runtime import flow_run

from officeops.clock import utc_now
from officeops.config import load


def named(what: str, *parameters: str) -> Callable[[], str]:
    """A name for a run: `what`, the given fields of its options, and its scheduled time."""

    def name() -> str:
        options = flow_run.parameters.get("options")
        fields = [str(value) for field in parameters if (value := _field(options, field))]
        at: datetime = flow_run.scheduled_start_time or utc_now()
        return " ".join([what, *fields, f"{at.astimezone(load().settings.zone):%a %Y-%m-%d %H:%M}"])

    return name


def _field(options: object, field: str) -> object:
    return options.get(field) if isinstance(options, dict) else getattr(options, field, None)
