"""A run that waits for an approval which never comes is cancelled, by the server itself: no worker is needed for it, and nothing was changed."""

from __future__ import annotations

from datetime import timedelta

from prefect.automations import AutomationCore, EventTrigger, Posture
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.events import ResourceSpecification

from officeops.config import Config

# Every change of state, and no sign of life: the last one may come just after the suspension. Suspended too: asked anew, the time begins anew.
_STATES = {
    f"prefect.flow-run.{name}"
    for name in (
        "Suspended", "Paused", "Resuming", "Scheduled", "Late", "AwaitingConcurrencySlot", "AwaitingRetry", "Pending", "Running", "Retrying",
        "Cancelling", "Cancelled", "Completed", "Failed", "Crashed", "TimedOut",
    )
}  # fmt: skip


def expiry(config: Config) -> AutomationCore:
    """Acts when a suspended run of this stack changed its state in no way for as long as the runbook says."""
    stack, hours = config.runbook.stack, config.runbook.approvals.expires_hours
    return AutomationCore(
        name=f"{stack}: nobody approved in time",
        enabled=True,
        description="Cancels a run that waits for an approval longer than the runbook allows. Nothing was changed by it.",
        trigger=EventTrigger(
            after={"prefect.flow-run.Suspended"},
            expect=_STATES,
            match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
            match_related=ResourceSpecification({"prefect.resource.role": "tag", "prefect.resource.id": f"prefect.tag.stack:{stack}"}),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(hours=hours),
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CANCELLED, name="Cancelled", message=f"Nobody approved this within {hours:g} hours. Nothing was changed."
            )
        ],
    )
