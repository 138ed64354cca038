"""What `prefect.yaml` wants to be deployed, read as Prefect's own `deploy` reads it, with this host's values filled in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema

from deployments.control_plane import PROJECT, notices_queue, pool_name
from officeops.config import Config
from officeops.host import host_name

OURS = "officeops"
_PLACEHOLDER = re.compile(r"\{\{\s*\$(\w+)\s*\}\}")
Schedules = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Wanted:
    """One deployment. raw: its part of prefect.yaml, filled in. content: what is compared, by the names of the server's fields."""

    flow: str
    name: str
    raw: dict[str, Any]
    content: dict[str, Any]
    schedules: Schedules

    @property
    def title(self) -> str:
        """How Prefect names it."""
        return f"{self.flow}/{self.name}"

    @property
    def entrypoint(self) -> str:
        """File and function."""
        return str(self.raw["entrypoint"])


def environment(config: Config) -> dict[str, str]:
    """What differs from host to host in prefect.yaml."""
    return {
        "OFFICEOPS_PROJECT": str(PROJECT),
        "OFFICEOPS_POOL": pool_name(config.runbook.stack),
        "OFFICEOPS_QUEUE": host_name(config.settings),
        "OFFICEOPS_NOTICES_QUEUE": notices_queue(config.settings),
        "OFFICEOPS_STACK_NAME": config.runbook.stack,
        "TZ": config.settings.tz,
    }


def filled(config: Config) -> dict[str, Any]:
    """All of prefect.yaml with this host's values."""
    raw = yaml.safe_load((PROJECT / "prefect.yaml").read_text(encoding="utf-8"))
    found = _filled(raw, environment(config))
    assert isinstance(found, dict)
    return found


def _filled(part: Any, values: Mapping[str, str]) -> Any:
    """Prefect would take the values from this process's own environment."""
    if isinstance(part, dict):
        return {key: _filled(value, values) for key, value in part.items()}
    if isinstance(part, list):
        return [_filled(one, values) for one in part]
    return _PLACEHOLDER.sub(lambda found: values[found[1]], part) if isinstance(part, str) else part


def wanted(file: dict[str, Any]) -> list[Wanted]:
    """Every deployment of the (filled) file."""
    return [_wanted(one, file["pull"]) for one in file["deployments"]]


def _wanted(raw: dict[str, Any], pull: list[dict[str, Any]]) -> Wanted:
    flow: Flow[..., Any] = load_flow_from_entrypoint(str(PROJECT / raw["entrypoint"]))
    limit = raw.get("concurrency_limit", {})
    content = {
        "entrypoint": raw["entrypoint"],
        "description": raw["description"],
        "tags": sorted(raw["tags"]),
        "parameters": raw.get("parameters", {}),
        "parameter_openapi_schema": without_empty(parameter_schema(flow).model_dump(mode="json")),
        "work_pool_name": raw["work_pool"]["name"],
        "work_queue_name": raw["work_pool"]["work_queue_name"],
        "concurrency_limit": limit.get("limit"),
        "collision_strategy": limit.get("collision_strategy"),
        "pull_steps": pull,
    }
    schedules = {
        one["slug"]: {"cron": one["cron"], "timezone": one["timezone"], "parameters": one.get("parameters", {})}
        for one in raw.get("schedules", [])
    }
    return Wanted(flow.name, raw["name"], raw, content, schedules)


def without_empty(schema: Mapping[str, Any]) -> dict[str, Any]:
    """As the server keeps it."""
    return {key: value for key, value in schema.items() if value not in (None, [], {})}
