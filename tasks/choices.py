"""Keeps the choices in the forms fresh: retained releases and backups, in the schema of the deployments' parameters.

Only the form and the server's check of it know these choices. The command line runs a flow by itself and may name a dump file, too.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentUpdate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.client.schemas.responses import DeploymentResponse

from officeops.backups.catalogue import entries, of_the_database
from officeops.releases.records import PREVIOUS, retained
from officeops.site import Site
from officeops.stack.port import short

_MOST = 50  # a form with more is no choice any more
Choices = dict[tuple[str, str], list[str]]  # of the field of a flow, which is known by its function


def refresh(site: Site) -> list[str]:
    """Writes what there is into the deployments of this stack. Returns the names of those that changed; a server without them is left alone."""
    changed = []
    tagged = DeploymentFilter(tags=DeploymentFilterTags(all_=[f"stack:{site.name}"]))
    with get_client(sync_client=True) as client:
        deployments = {str(one.entrypoint).rsplit(":", 1)[-1]: one for one in client.read_deployments(deployment_filter=tagged)}
        for (flow, field), values in choices(site).items():
            if flow in deployments and _write(client, deployments[flow], field, values):
                changed.append(flow)
    return changed


def choices(site: Site) -> Choices:
    """What can be chosen now, by flow and field, in the order in which it is shown."""
    known = [one for one in entries(site) if one.whole]
    kinds = {one.kind for one in known}
    latest = [*(["latest"] if of_the_database(known) else []), *(f"latest:{kind}" for kind in ("volumes", "basebackup") if kind in kinds)]
    backups = [*latest, *(one.id for one in known[:_MOST])]
    running = site.stack.deployed()
    releases = [PREVIOUS, *(short(one.sha) for one in retained(site) if running is None or one.sha != running.sha)]
    return {
        ("restore", "backup"): backups,
        ("restore_drill", "backup"): backups or ["latest"],
        ("rollback", "to"): releases,
        ("emergency", "to"): releases,
    }


def with_choices(schema: dict[str, Any], field: str, values: list[str]) -> dict[str, Any]:
    """The schema of a flow's parameters with `values` as the only ones of that field of its options; without values any text is allowed."""
    made = deepcopy(schema)
    for definition in made.get("definitions", {}).values():
        known = definition.get("properties", {}).get(field)
        if known is not None:
            known.pop("enum", None)
            known |= {"enum": values} if values else {}
    return made


def _write(client: SyncPrefectClient, deployment: DeploymentResponse, field: str, values: list[str]) -> bool:
    made = with_choices(deployment.parameter_openapi_schema or {}, field, values)
    if made == deployment.parameter_openapi_schema:
        return False
    client.update_deployment(deployment.id, DeploymentUpdate(parameter_openapi_schema=made))
    return True
