"""Brings the server to what the project's files say: pool, queues, limits, variables, blocks, deployments, automations. Idempotent.

Everything is read first and compared; only what differs is changed, and each change is said. Applies of one host follow each other: two at
once would both see that something is missing, and make it twice.
"""

from __future__ import annotations

from prefect.client.orchestration import get_client

from deployments.automations import Waits, apply_automations
from deployments.changes import Changes
from deployments.channels import apply_channels
from deployments.deploy import apply_deployments
from deployments.place import apply_place
from officeops.config import Config
from officeops.lock import stack_lock
from officeops.site import Site
from tasks.choices import refresh

_PATIENCE_S = 240.0  # for another apply; less than `officeops up` waits for this one


def plan(config: Config) -> list[str]:
    """A line for each thing that `apply` would change."""
    return _brought(config, Changes(only_plan=True), None)


def apply(config: Config, waits: Waits | None = None) -> list[str]:
    """Returns a line for each thing that was changed; nothing when all was as it should be. Raises LockedError when another apply takes long."""
    home = (
        config.settings.officeops_home / "prefect"
    )  # the stack's own lock is another: a run that holds it for hours is in nobody's way here
    with stack_lock(home, config.runbook.stack, "python -m deployments apply", wait_s=_PATIENCE_S):
        lines = _brought(config, Changes(), waits)
        refresh(Site(config))  # what was deployed anew has lost what can be chosen now
    return lines


def _brought(config: Config, changes: Changes, waits: Waits | None) -> list[str]:
    with get_client(sync_client=True) as client:
        apply_place(client, config, changes)
        blocks = apply_channels(client, config, changes)
        deployments = apply_deployments(client, config, changes)
        apply_automations(client, config, changes, deployments=deployments, blocks=blocks, waits=waits)
    return changes.lines
