"""Brings the server to what the project's files say: pool, queues, limits, variables, blocks, deployments, automations. Idempotent.

Everything is read first and compared; only what differs is changed, and each change is said.
"""

from __future__ import annotations

from prefect.client.orchestration import get_client

from deployments.automations import Waits, apply_automations
from deployments.changes import Changes
from deployments.channels import apply_channels
from deployments.deploy import apply_deployments
from deployments.place import apply_place
from officeops.config import Config
from officeops.site import Site
from tasks.choices import refresh


def plan(config: Config) -> list[str]:
    """A line for each thing that `apply` would change."""
    return _brought(config, Changes(only_plan=True), None)


def apply(config: Config, waits: Waits | None = None) -> list[str]:
    """Returns a line for each thing that was changed; nothing when all was as it should be."""
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
