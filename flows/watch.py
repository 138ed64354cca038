"""The chapter on monitoring, as people see it: what the watcher found last, and how the last day was."""

from __future__ import annotations

from prefect import flow

from flows.naming import named
from officeops.site import open_site
from tasks import watching as steps
from tasks.account import accounted


@flow(
    name="watch",
    flow_run_name=named("watch"),
    description="What the watcher found, for people; and whether it watches.",
    timeout_seconds=600,
    persist_result=False,
)
@accounted("watch")
def watch() -> None:
    """The rounds themselves are the watcher's, which needs no Prefect. Fails when there are none: so the two watch each other. The dashboard
    and the forms' choices are anew afterwards, also for what no run did (an emergency, a prune, `--offline`)."""
    site = open_site()
    steps.publish_values(site)
    steps.require_watcher(site)
