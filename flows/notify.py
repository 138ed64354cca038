"""Telling people of a run that ended badly. Started by the server's automations (deployments/automations.py)."""

from __future__ import annotations

from uuid import UUID

from prefect import flow
from pydantic import Field

from flows.naming import named
from flows.options import Options
from officeops.site import open_site
from tasks.notify import about_run, tell


class NotifyOptions(Options):
    """What people are told of."""

    run: UUID = Field(description="The run.")
    state: str = Field("Failed", description="The state that it ended in.")


@flow(
    name="notify",
    flow_run_name=named("message: a run", "state"),
    description="Tells people of a run that ended badly.",
    timeout_seconds=600,
    log_prints=True,
    persist_result=False,
)
def notify(options: NotifyOptions) -> None:
    """Reads the run, then tells everybody whom it concerns; repeats what fails, and shows what could not be delivered."""
    site = open_site()
    tell(site, about_run(site, options.run, options.state))
