"""What happened, for the server's automations."""

from __future__ import annotations

from prefect.events import emit_event

from officeops.site import Site

VERIFIED = "officeops.backup.verified"


def backup_verified(site: Site, backup: str) -> None:
    """A backup of the database was made and read back: the dead man's switch waits for this (deployments/automations.py)."""
    resource = {"prefect.resource.id": stack_resource(site.name), "prefect.resource.name": site.config.runbook.title}
    emit_event(VERIFIED, resource=resource, payload={"backup": backup})


def stack_resource(stack: str) -> str:
    """How events name the stack."""
    return f"officeops.stack.{stack}"
