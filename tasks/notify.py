"""Telling people from inside a flow: one task for each channel, repeated where it fails, and a table of what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.events.filters import EventFilter, EventIDFilter
from prefect.exceptions import ObjectNotFound
from prefect.futures import PrefectFuture
from prefect.settings import PREFECT_UI_URL

from officeops.errors import OfficeOpsError
from officeops.notify import Channel, Message, Text, as_text, channels, every_channel, redacted
from officeops.notify import deliver as deliver_once
from officeops.runbook.parts import Role
from officeops.site import Site
from tasks import reporting
from tasks.steps import step

_BAD = {"Failed": "failed", "Crashed": "crashed", "TimedOut": "took too long and was stopped"}
_PREFIXES = ("Flow run encountered an exception: ", "Flow run failed due to timeout: ", "Task run encountered an exception ")


@step("tell", retries=3)
def deliver(site: Site, channel: Channel, text: Text) -> None:
    """One channel."""
    deliver_once(site.config.settings, channel, text)


def tell(site: Site, message: Message, to: Sequence[Channel] | None = None) -> None:
    """Everybody whom the message concerns, or only `to`, at once. Raises OfficeOpsError naming the channels that did not take it, after several
    attempts."""
    settings = site.config.settings
    text = as_text(settings, site.config.runbook, message)
    concerned = channels(settings, message.severity, message.role) if to is None else to
    told = {one.name: deliver.submit(site, one, text) for one in concerned}
    outcomes = {name: _outcome(site, future) for name, future in told.items()}
    rows = [{"channel": name, "outcome": outcome or "delivered"} for name, outcome in outcomes.items()]
    reporting.table("messages", site.name, rows, description=text.subject)
    failed = [f"{name} ({outcome})" for name, outcome in outcomes.items() if outcome]
    if failed:
        raise OfficeOpsError(
            f"Not delivered: {'; '.join(failed)}.",
            state=f"{len(outcomes) - len(failed)} of {len(outcomes)} channels were told: {text.subject}",
            todo="Correct the URL in .env, then `officeops up`.",
        )


def about_run(site: Site, run: UUID, state: str) -> Message:
    """What is to be said of a run that ended in `state`. Raises OfficeOpsError when the server knows no such run."""
    with get_client(sync_client=True) as client:
        try:
            found = client.read_flow_run(run)
        except ObjectNotFound as error:
            raise OfficeOpsError(f"The server has no run {run} (any more).") from error
        flow = client.read_flow(found.flow_id).name
    tags = _tags(found) or _tags_of_deployment(found)
    return Message(
        what=f"{flow} {_BAD.get(state, state)} — {found.name}",
        severity="critical" if state in _BAD else "warning",
        role=_role(tags),
        since=_since(found),
        error=redacted(_error(found), site.config.settings),
        todo=site.config.runbook.advice.get(flow, "Read the run's log and its report."),
        link=_page(run),
    )


def about_untold(site: Site, what: str, event: str) -> Message:
    """What the server itself could not tell. what: the automation's name. event: what it acted on, as Prefect names it, empty when that was
    that nothing happened."""
    run = _run_of(event)
    happened = what.removeprefix(f"{site.name}: ")
    return Message(
        what=f"{happened}: {run.name}" if run else happened,
        severity="warning",
        role=_role(_tags(run)) if run else "system_administrator",
        since=_since(run) if run else None,
        error="The server itself could not tell this; so it is told again.",
        todo="See its page." if run else "`officeops check`.",
        link=_page(run.id) if run else "",
    )


def channel_of(site: Site, block: str) -> list[Channel]:
    """The channel that a block of the server stands for; nothing when .env does not have it any more."""
    return [one for one in every_channel(site.config.settings) if block.endswith(f"-{one.slug}")]


def _run_of(event: str) -> FlowRun | None:
    """The run that an event was about."""
    identifier = event.removeprefix("prefect.event.")
    if not identifier:
        return None
    with get_client(sync_client=True) as client:
        found = client.read_events(EventFilter(id=EventIDFilter(id=[UUID(identifier)])), limit=1).events
        run = found[0].resource.prefect_object_id("prefect.flow-run") if found else None
        try:
            return client.read_flow_run(run) if run else None
        except ObjectNotFound:
            return None


def _page(run: UUID) -> str:
    return f"{PREFECT_UI_URL.value()}/runs/flow-run/{run}"


def _outcome(site: Site, future: PrefectFuture[None]) -> str:
    """Empty when it was delivered."""
    future.wait()
    if future.state.is_completed():
        return ""
    error = future.result(raise_on_failure=False)
    return redacted(error.what if isinstance(error, OfficeOpsError) else str(error), site.config.settings)


def _tags(run: FlowRun) -> set[str]:
    return {tag for tag in run.tags if tag.startswith("role:")}


def _tags_of_deployment(run: FlowRun) -> set[str]:
    """prefect.yaml says who answers for a flow. A run of the command line has no deployment, and its flow has one."""
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags, FlowFilter, FlowFilterId

    stack = {tag for tag in run.tags if tag.startswith("stack:")}
    with get_client(sync_client=True) as client:
        found = client.read_deployments(
            flow_filter=FlowFilter(id=FlowFilterId(any_=[run.flow_id])),
            deployment_filter=DeploymentFilter(tags=DeploymentFilterTags(all_=sorted(stack))) if stack else None,
        )
    return {tag for one in found for tag in one.tags if tag.startswith("role:")}


def _role(tags: set[str]) -> Role:
    if "role:database_administrator" in tags:
        return "database_administrator"
    return "development_lead" if "role:development_lead" in tags else "system_administrator"


def _since(run: FlowRun) -> datetime | None:
    return run.state.timestamp if run.state else run.expected_start_time


def _error(run: FlowRun) -> str:
    text = (run.state.message if run.state else "") or ""
    for prefix in _PREFIXES:
        text = text.removeprefix(prefix)
    return text
