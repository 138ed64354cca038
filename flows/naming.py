"""How runs are named: by what they do, and when, in the zone that people live in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from officeops.clock import utc_now
from officeops.config import load


def named(what: str, *parameters: str) -> Callable[[], str]:
    """A name for a run: `what`, the given fields of its options, and its scheduled time."""

    def name() -> str:
        options = flow_run.parameters.get("options")
        return _dated(what, *(str(value) for field in parameters if (value := _field(options, field))))

    return name


def known_as(what: str, *tags: str) -> None:
    """Names this run anew, once it is known what `previous` or `latest` stands for, and gives it more tags to be found by."""
    if flow_run.id is None:
        return
    with get_client(sync_client=True) as client:
        known = client.read_flow_run(UUID(flow_run.id))
        client.update_flow_run(known.id, name=_dated(what), tags=sorted({*known.tags, *tags})).raise_for_status()


def release_tag(sha: str) -> str:
    """Finds every run that had to do with a release."""
    return f"release:{sha[:7]}"


def _dated(*words: str) -> str:
    at: datetime = flow_run.scheduled_start_time or utc_now()
    return " ".join([*words, f"{at.astimezone(load().settings.zone):%a %Y-%m-%d %H:%M}"])


def _field(options: object, field: str) -> object:
    return options.get(field) if isinstance(options, dict) else getattr(options, field, None)
