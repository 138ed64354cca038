"""What a run does about other runs of its stack: those that it makes needless are cancelled, those that died are marked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import StateType
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_run_logger
from prefect.runtime import deployment, flow_run
from prefect.settings import PREFECT_API_URL
from prefect.states import Cancelled, Crashed
from prefect.utilities.timeout import timeout

from officeops.clock import iso, utc_now
from officeops.errors import OfficeOpsError
from officeops.living import dead, forget, living
from officeops.site import Site

_BY_SCHEDULE = "auto-scheduled"  # Prefect's own tag
_DIED = "Its process was killed, or its host went down. The next run puts in order what it left."


class TookTooLongError(OfficeOpsError, TimeoutError):
    """A run worked for longer than the runbook allows. Prefect calls its state TimedOut, since it is a TimeoutError."""

    def __init__(self, hours: float) -> None:
        super().__init__(
            f"It worked for longer than {hours:g} hours and was stopped.",
            state="What was begun is undone, or ended by the next run.",
            todo="See in the run's log what it waited for. When it needs that long: `runs.max_hours` in runbook.yaml.",
        )

    def __repr__(self) -> str:  # Prefect puts it into the state's message
        return str(self)


class _LimitError(TimeoutError):
    """The limit was reached, and not some other one that is inside."""


@contextmanager
def limited(hours: float) -> Iterator[None]:
    """Stops what takes longer in this thread. Raises TookTooLongError."""
    try:
        with timeout(hours * 3600, timeout_exc_type=_LimitError):
            yield
    except _LimitError as error:
        raise TookTooLongError(hours) from error


def cancel_needless() -> None:
    """After a time without server or worker several runs of a schedule are due. One of them, this one, is enough for those that would do the
    same. Runs that people asked for are left alone."""
    if deployment.id is None or flow_run.id is None:
        return
    with get_client(sync_client=True) as client:
        this = client.read_flow_run(UUID(flow_run.id))
        if _BY_SCHEDULE not in this.tags:
            return
        due: dict[str, Any] = {
            "deployment_id": {"any_": [this.deployment_id]},
            "tags": {"all_": [_BY_SCHEDULE]},
            "state": {"type": {"any_": [StateType.SCHEDULED]}},
            "expected_start_time": {"before_": iso(utc_now())},
        }
        for one in client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(due)):
            if one.id != this.id and one.run_count == 0 and one.parameters == this.parameters:
                client.set_flow_run_state(one.id, Cancelled(message=f"It was due together with {this.name}, which does the same."))
                get_run_logger().warning("%s was due too and is cancelled: this run does the same.", one.name)


@contextmanager
def seen_to_live(site: Site) -> Iterator[None]:
    """Should this process be killed in the block, the next holder of the stack's lock knows. Not with --offline: that server dies with it."""
    with living(_folder(site), str(flow_run.id)) if PREFECT_API_URL.value() else nullcontext():
        yield


def mark_dead(site: Site) -> None:
    """Runs that were killed, also those of the command line, are marked Crashed. The caller holds the stack's lock. Trouble with that is
    logged: it is not what this run is for."""
    if not PREFECT_API_URL.value():
        return
    folder = _folder(site)
    try:
        for name in dead(folder):
            end_if_running(UUID(name), _DIED)
            forget(folder, name)
    except Exception as error:  # noqa: BLE001 - they are found again by the next run
        get_run_logger().warning("Runs that were killed could not be marked: %s: %s", type(error).__name__, error)


def end_if_running(run: UUID, why: str) -> None:
    """Marks a run Crashed. One that has ended, rests, or is not known to the server any more is left alone."""
    with get_client(sync_client=True) as client:
        try:
            known = client.read_flow_run(run)
        except ObjectNotFound:
            return
        if known.state is not None and known.state.is_running():
            client.set_flow_run_state(run, Crashed(message=why))
            get_run_logger().warning("%s died and is marked Crashed.", known.name)


def _folder(site: Site) -> Path:
    return site.home / "runs" / site.name
