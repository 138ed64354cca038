"""What the forms in the UI offer: fields in their order, each explained; choices; who may approve. No server is needed for it."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect import Flow
from prefect._internal.pydantic.v2_schema import create_v2_schema

from officeops.runbook.model import Contact
from tasks.approvals import form, people
from tasks.choices import with_choices

# Flows that change nothing of what is kept: backups, proofs, reports, messages. log-fix is tried dry by log-rotation.
SAFE = {"nightly-backup", "volume-backup", "restore-drill", "watch", "notify", "tell-again", "log-fix", "lost"}
PROJECT = Path(__file__).resolve().parent.parent.parent


def flows() -> list[Flow[Any, Any]]:
    """Every flow that is deployed."""
    entrypoints = [one["entrypoint"] for one in yaml.safe_load((PROJECT / "prefect.yaml").read_text())["deployments"]]
    found = [entrypoint.removesuffix(".py").replace("/", ".").replace(".py:", ":").split(":") for entrypoint in entrypoints]
    return [getattr(importlib.import_module(module), name) for module, name in found]


def fields(flow: Flow[Any, Any]) -> dict[str, Any]:
    """Of its options."""
    schema = flow.parameters.model_dump()
    options = schema["properties"].get("options")
    return dict(schema["definitions"][options["$ref"].rsplit("/", 1)[1]]["properties"]) if options else {}


@pytest.mark.parametrize("flow", flows(), ids=lambda flow: flow.name)
def test_every_field_is_explained_and_has_its_place_with_the_dry_run_first(flow: Flow[Any, Any]) -> None:
    found = fields(flow)
    assert [one["position"] for one in found.values()] == list(range(len(found)))
    assert [name for name, one in found.items() if not one.get("description")] == []
    assert [name for name, one in found.items() if "`" in one["description"]] == []  # the form shows plain text
    if "dry_run" in found:
        assert found["dry_run"]["position"] == 0


def test_what_destroys_can_be_tried_dry() -> None:
    assert {flow.name for flow in flows() if "dry_run" not in fields(flow)} == SAFE


def test_choices_are_the_only_values_until_there_are_none() -> None:
    flow = next(one for one in flows() if one.name == "rollback")
    schema = flow.parameters.model_dump()
    chosen = with_choices(schema, "to", ["previous", "3f2a1c9aaa"])
    assert chosen["definitions"]["RollbackOptions"]["properties"]["to"]["enum"] == ["previous", "3f2a1c9aaa"]
    assert with_choices(chosen, "to", []) == schema


def test_the_approval_asks_for_a_decision_a_person_and_a_reason_in_this_order() -> None:
    contacts = [Contact(role="system_administrator", name="佐藤"), Contact(role="development_lead", name="-")]
    asked = form(contacts, "the plan")
    schema = create_v2_schema(asked.__name__, model_base=asked)
    assert schema["required"] == ["decision", "who", "reason"]
    assert [one["position"] for one in schema["properties"].values()] == [0, 1, 2]
    assert schema["properties"]["who"]["enum"] == ["佐藤 (system administrator)", "development lead"]
    assert schema["properties"]["decision"]["enum"] == ["approve", "reject"]


def test_without_contacts_who_it_was_is_free_text() -> None:
    assert people([]) == []
    asked = form([], "the plan")
    assert "enum" not in create_v2_schema(asked.__name__, model_base=asked)["properties"]["who"]
