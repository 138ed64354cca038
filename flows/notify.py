"""Telling people of a run that ended badly, and what the server itself could not tell them. Started by the server's automations (deployments/automations.py)."""

from __future__ import annotations

from uuid import UUID

from prefect import flow
from pydantic import Field

from flows.naming import named
from flows.options import Options
from officeops.site import open_site
from tasks.notify import about_run, about_untold, channel_of, tell


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


class AgainOptions(Options):
    """What was not taken."""

    what: str = Field(description="Name of the automation whose message it was.")
    channel: str = Field(description="Name of the block that did not take it.")
    event: str = Field("", description="The event that it was told of; empty when it was that something did not happen.")


@flow(
    name="tell-again",
    flow_run_name=named("message again:", "what"),
    description="Tells again what the server itself could not tell.",
    timeout_seconds=600,
    log_prints=True,
    persist_result=False,
)
def tell_again(options: AgainOptions) -> None:
    """The server tries once. This asks the same channel, and asks again; the others have had theirs."""
    site = open_site()
    tell(site, about_untold(site, options.what, options.event), channel_of(site, options.channel))
