"""Runs that ask people, as people see them: the form, the answer, the report."""

from __future__ import annotations

from uuid import UUID

from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun

from tests.support.control_plane import Plane
from tests.support.ports import eventually


def suspended(plane: Plane, run: FlowRun, *, besides: str = "") -> FlowRun:
    """The run once it waits for an answer; besides: the key of the question that it waited for before."""
    found = [run]

    def waits() -> bool:
        found[0] = client.read_flow_run(run.id)
        state = found[0].state
        assert state is not None
        assert not state.is_final(), state
        return state.name == "Suspended" and key_of(found[0]) != besides and inputs(plane, found[0]).keys() >= {"schema", "description"}

    with plane.client() as client:
        eventually(waits, 120, "the suspension")
    return found[0]


def key_of(run: FlowRun) -> str:
    """Of the question that a run waits for."""
    assert run.state is not None
    return str(run.state.state_details.pause_key)


def inputs(plane: Plane, run: FlowRun) -> dict[str, str]:
    """What belongs to the form that a run waits for: schema and description."""
    with plane.client() as client:
        found = client.request(
            "POST", "/flow_runs/{id}/input/filter", path_params={"id": run.id}, json={"prefix": f"suspended-{key_of(run)}", "limit": 10}
        )
        return {one["key"].rsplit("-", 1)[1]: one["value"] for one in found.json()}


def answer(plane: Plane, run: FlowRun, decision: str, reason: str, who: str = "Sato") -> str:
    """What the server says of an answer to the form."""
    with plane.client() as client:
        return client.resume_flow_run(run.id, run_input={"decision": decision, "who": who, "reason": reason}).status.value


def reports(plane: Plane, run: UUID) -> dict[str, str]:
    """Markdown artifacts of a run, by their names without the stack's."""
    with plane.client() as client:
        found = client.read_artifacts(flow_run_filter=FlowRunFilter(id={"any_": [run]}))
    ours = f"-{plane.site.name.replace('_', '-')}"
    return {str(one.key).removesuffix(ours): str(one.data) for one in found if one.type == "markdown"}
