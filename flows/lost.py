"""Looking after a run that is no longer heard of. Started by the server's automations (deployments/automations.py)."""

from __future__ import annotations

from uuid import UUID

from prefect import flow
from pydantic import Field

from flows.naming import named
from flows.options import Options
from tasks.runs import end_if_running


class LostOptions(Options):
    """What is looked after."""

    run: UUID = Field(description="The run.")


@flow(
    name="lost",
    flow_run_name=named("look after a silent run"),
    description="Marks a run Crashed that was not heard of for minutes and still counts as running.",
    timeout_seconds=600,
    log_prints=True,
    persist_result=False,
)
def lost(options: LostOptions) -> None:
    """The last sign of life may have come after the run had ended, or had begun to wait for an approval: only one that is Running has died."""
    end_if_running(options.run, "No sign of life for minutes: its process, or its host, has died. The next run puts in order what it left.")
