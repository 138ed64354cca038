"""Brings the deployments to what prefect.yaml says. Only what differs is deployed, so that nothing else is touched.

Prefect's own `deploy` un-pauses what it is not told about, so it is told what an operator paused, in the one request that changes a
deployment: whatever fails or is killed afterwards, it stays paused. Runs that are due stay too, but for those of a deployment that loses a
schedule: Prefect removes them all, so they are copied first.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags, FlowRunFilter
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.states import Scheduled
from rich.console import Console

from deployments.changes import PLANNED, Changes
from deployments.control_plane import PROJECT
from deployments.wanted import OURS, Wanted, filled, wanted, without_empty
from officeops.config import Config
from officeops.errors import OfficeOpsError
from officeops.notify import redacted

CATCH_UP = "catch-up"
Known = dict[str, DeploymentResponse]


@dataclass(frozen=True)
class _Paused:
    """What an operator paused of a flow: the deployment, or schedules by their slugs."""

    deployment: bool
    schedules: frozenset[str | None]


def apply_deployments(client: SyncPrefectClient, config: Config, changes: Changes) -> dict[str, UUID]:
    """Returns the deployments' ids by their entrypoints."""
    file = filled(config)
    known, ours = _known(client, config.runbook.stack), wanted(file)
    differing = []
    for one in ours:
        fields = _differences(known.get(one.title), one)
        if one.title not in known or fields:
            differing.append(one)
            changes.make(f"deployment {one.title}", f"changed ({', '.join(fields)})" if one.title in known else "created", _nothing)
    if differing and not changes.only_plan:
        _deploy(config, file, differing, known)
    found = known if changes.only_plan else _known(client, config.runbook.stack)
    _prune(client, found, ours, changes)
    return {one.entrypoint: found[one.title].id if one.title in found else PLANNED for one in ours}


def _nothing() -> None:
    """Prefect deploys all that differ together."""


def _known(client: SyncPrefectClient, stack: str) -> Known:
    """Those of this stack, by flow and name."""
    mine = {f"stack:{stack}", f"notices:{stack}"}
    found = client.read_deployments(deployment_filter=DeploymentFilter(tags=DeploymentFilterTags(all_=[OURS])))
    flows = {flow.id: flow.name for flow in client.read_flows()}
    return {f"{flows[one.flow_id]}/{one.name}": one for one in found if mine & set(one.tags)}


def _differences(known: DeploymentResponse | None, one: Wanted) -> list[str]:
    """Names of the fields that differ."""
    if known is None:
        return []
    as_it_is = dict(known)  # asked for by name, some fields warn that they will be called otherwise one day
    limit, options = as_it_is["global_concurrency_limit"], as_it_is["concurrency_options"]
    there = {field: as_it_is.get(field) for field in one.content}
    there["tags"] = sorted(known.tags)
    there["concurrency_limit"] = limit.limit if limit else None
    there["collision_strategy"] = options.collision_strategy.value if options else None
    schema = without_empty(known.parameter_openapi_schema or {})
    there["parameter_openapi_schema"] = _without_choices(schema, one.content["parameter_openapi_schema"])
    fields = [field for field, value in one.content.items() if there[field] != value]
    return fields + (["schedules"] if _schedules(known) != one.schedules else [])


def _without_choices(there: Any, here: Any) -> Any:
    """A schema without the choices (`enum`) that runs add to it on the server: those that the flow itself does not have."""
    if isinstance(there, dict) and isinstance(here, dict):
        return {key: _without_choices(value, here.get(key)) for key, value in there.items() if key != "enum" or "enum" in here}
    return there


def _schedules(known: DeploymentResponse) -> dict[str | None, dict[str, Any]]:
    """Ours by slug; what is no cron, or has no slug, differs from anything in the file."""
    return {
        one.slug: {
            "cron": getattr(one.schedule, "cron", None),
            "timezone": getattr(one.schedule, "timezone", None),
            "parameters": one.parameters or {},
        }
        for one in known.schedules
        if isinstance(one.schedule, CronSchedule) and one.slug
    }


def _deploy(config: Config, file: dict[str, Any], differing: Sequence[Wanted], known: Known) -> None:
    paused = {title.split("/")[0]: _paused(one) for title, one in known.items()}
    _run_prefect_deploy(config, {**file, "deployments": [_as_left(one.raw, paused.get(one.flow)) for one in differing]})


def _run_prefect_deploy(config: Config, file: dict[str, Any]) -> None:
    """What `prefect --no-prompt deploy --all` does, in this process: the command by itself takes 5 s of a processor to start."""
    from prefect.cli.deploy._core import _run_multi_deploy  # Prefect is pinned to one version

    said = io.StringIO()
    console = Console(file=said, width=200)
    try:
        with contextlib.chdir(PROJECT):
            asyncio.run(
                _run_multi_deploy(
                    file["deployments"], {"pull": file["pull"]}, deploy_all=True, console=console, is_interactive=lambda: False
                )
            )
    except Exception as error:
        words = redacted(f"{said.getvalue()[-1000:]}\n{error}".strip(), config.settings)
        raise OfficeOpsError(
            "Prefect's deploy failed.", state=f"It said:\n{words}\n", todo="Correct prefect.yaml, then `python -m deployments apply`."
        ) from error


def _paused(known: DeploymentResponse) -> _Paused:
    return _Paused(known.paused, frozenset(one.slug for one in known.schedules if not one.active))


def _as_left(raw: dict[str, Any], before: _Paused | None) -> dict[str, Any]:
    """A deployment's part of prefect.yaml, with what an operator paused."""
    if before is None:
        return raw
    schedules = [{**one, "active": False} if one["slug"] in before.schedules else one for one in raw.get("schedules", [])]
    return {**raw, "paused": before.deployment, **({"schedules": schedules} if schedules else {})}


def _prune(client: SyncPrefectClient, known: Known, ours: Sequence[Wanted], changes: Changes) -> None:
    """Deployments and schedules that the file no longer has."""
    titles = {one.title: one for one in ours}
    for title, deployment in sorted(known.items()):
        if title not in titles:
            changes.make(f"deployment {title}", "removed", lambda one=deployment: client.delete_deployment(one.id))  # type: ignore[misc]
            continue
        for schedule in deployment.schedules:
            if schedule.slug not in titles[title].schedules:
                changes.make(
                    f"deployment {title}",
                    f"without the schedule {schedule.slug or schedule.schedule} now",
                    partial(_delete_schedule, client, deployment.id, schedule.id),
                )


def _delete_schedule(client: SyncPrefectClient, deployment: UUID, schedule: UUID) -> None:
    """Prefect removes the waiting runs of all the deployment's schedules with it. What is due by another one nothing would make again."""
    for one in _due(client, deployment):
        if one.created_by is None or one.created_by.id != schedule:
            client.create_flow_run_from_deployment(
                deployment,
                name=one.name,
                parameters=one.parameters,
                state=Scheduled(scheduled_time=one.expected_start_time),
                tags=sorted({*one.tags, CATCH_UP}),
                idempotency_key=f"{CATCH_UP} {one.id}",  # whoever is killed in between makes no second copy
            )
    client.delete_deployment_schedule(deployment, schedule)


def _due(client: SyncPrefectClient, deployment: UUID) -> list[FlowRun]:
    """Runs that schedules made and that should have begun."""
    waiting = FlowRunFilter.model_validate({"deployment_id": {"any_": [deployment]}, "state": {"type": {"any_": [StateType.SCHEDULED]}}})
    now = datetime.now(UTC)
    return [
        one
        for one in client.read_flow_runs(flow_run_filter=waiting)
        if one.auto_scheduled and one.expected_start_time is not None and one.expected_start_time <= now
    ]
