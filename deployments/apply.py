"""Brings the server to what the project's files say: pool, deployments, automations. Idempotent; says what it changed.

Read before and after instead of trusting what a deploy command prints: what did not change is not reported.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound
from prefect.workers.process import ProcessWorker
from pydantic import SecretStr

from deployments.approvals import expiry
from deployments.control_plane import client_environment, pool_name
from deployments.notifications import apply_notifications
from officeops.config import Config
from officeops.process import Command, run
from officeops.site import Site
from tasks.choices import refresh

OURS = "officeops"
_PROJECT = Path(__file__).resolve().parent.parent


def apply(config: Config) -> list[str]:
    """Returns a line for each thing that was changed; nothing when all was as it should be."""
    with get_client(sync_client=True) as client:
        changes = _pool(client, pool_name(config.runbook.stack))
        before = _deployments(client)
        _deploy(config)
        refresh(Site(config))  # what is deployed anew has lost what can be chosen now
        after = _deployments(client)
        changes += _differences(before, after)
        changes += _prune(client, config, after)
        changes += _expiry(client, config)
    return changes + apply_notifications(config)


def _expiry(client: SyncPrefectClient, config: Config) -> list[str]:
    wanted = expiry(config)
    known = next(iter(client.read_automations_by_name(wanted.name)), None)
    if known is None:
        client.create_automation(wanted)
        return [f"automation {wanted.name}: created"]
    if known.trigger.within != wanted.trigger.within:  # type: ignore[union-attr]
        client.update_automation(known.id, wanted.model_copy(update={"enabled": known.enabled}))
        return [f"automation {wanted.name}: changed"]
    return []


def _pool(client: SyncPrefectClient, name: str) -> list[str]:
    """A pool of processes on this host, one run at a time: what changes the stack queues where people see it."""
    try:
        found = client.read_work_pool(name)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        client.create_work_pool(WorkPoolCreate(name=name, type="process", base_job_template=template, concurrency_limit=1))
        return [f"work pool {name}: created"]
    if found.concurrency_limit != 1:
        client.update_work_pool(name, WorkPoolUpdate(concurrency_limit=1))
        return [f"work pool {name}: limit of concurrent runs set to 1"]
    return []


def _deploy(config: Config) -> None:
    """Prefect's own way, with the values that differ from host to host in the environment."""
    environment: dict[str, str | SecretStr] = {
        **client_environment(config),
        "PREFECT_API_AUTH_STRING": config.settings.prefect_auth_string,
        "OFFICEOPS_PROJECT": str(_PROJECT),
        "OFFICEOPS_POOL": pool_name(config.runbook.stack),
        "OFFICEOPS_STACK_NAME": config.runbook.stack,
        "TZ": config.settings.tz,
    }
    run(Command((str(Path(sys.prefix) / "bin" / "prefect"), "--no-prompt", "deploy", "--all"), environment, cwd=_PROJECT), timeout=240)


def _deployments(client: SyncPrefectClient) -> dict[str, DeploymentResponse]:
    """Ours, by flow and name."""
    found = client.read_deployments(deployment_filter=DeploymentFilter(tags=DeploymentFilterTags(all_=[OURS])))
    flows = {flow.id: flow.name for flow in client.read_flows()}
    return {f"{flows[one.flow_id]}/{one.name}": one for one in found}


def _differences(before: dict[str, DeploymentResponse], after: dict[str, DeploymentResponse]) -> list[str]:
    changes = [f"deployment {name}: created" for name in after.keys() - before.keys()]
    for name in after.keys() & before.keys():
        fields = [field for field, value in _content(after[name]).items() if value != _content(before[name])[field]]
        if fields:
            changes.append(f"deployment {name}: {', '.join(fields)} changed")
    return sorted(changes)


def _content(deployment: DeploymentResponse) -> dict[str, Any]:
    kept = (
        "entrypoint",
        "description",
        "tags",
        "parameters",
        "parameter_openapi_schema",
        "work_pool_name",
        "work_queue_name",
        "concurrency_options",
    )
    content = {field: getattr(deployment, field) for field in kept}
    content["schedules"] = sorted((str(one.slug), str(one.schedule), one.active) for one in deployment.schedules)
    return content


def _prune(client: SyncPrefectClient, config: Config, known: dict[str, DeploymentResponse]) -> list[str]:
    """Deployments and schedules of this stack that the files no longer have."""
    import yaml

    raw = yaml.safe_load((_PROJECT / "prefect.yaml").read_text())
    wanted = {one["entrypoint"]: {schedule["slug"] for schedule in one.get("schedules", [])} for one in raw["deployments"]}
    changes = []
    for name, deployment in known.items():
        if deployment.name != config.runbook.stack:
            continue
        if deployment.entrypoint not in wanted:
            client.delete_deployment(deployment.id)
            changes.append(f"deployment {name}: removed")
            continue
        for schedule in deployment.schedules:
            if schedule.slug not in wanted[deployment.entrypoint]:
                client.delete_deployment_schedule(deployment.id, schedule.id)
                changes.append(f"deployment {name}: schedule {schedule.slug} removed")
    return changes
