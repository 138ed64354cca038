"""What the server does by itself: tells people, ends runs that have died, heals.

Two ways to tell people. What is told of a run that ended goes by the flow `notify`: it reads the run, and repeats and shows what was not
delivered. What may mean that no worker runs is told by the server itself, by blocks, since that flow would need the worker that is missing. The
server tries once; a channel that did not take its message is asked again by the flow `tell-again`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

from prefect.automations import AutomationCore, EventTrigger, Posture
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.sorting import AutomationSort
from prefect.events.actions import RunDeployment, SendNotification
from prefect.events.schemas.events import ResourceSpecification

from deployments.approvals import expiry
from deployments.changes import Changes
from officeops.config import Config
from officeops.notify import ROLES, Channel, Message, as_text, channels, every_channel
from officeops.runbook.parts import Role
from tasks.events import VERIFIED, stack_resource

NOTIFY, AGAIN, HEAL, LOST = "flows/notify.py:notify", "flows/notify.py:tell_again", "flows/heal.py:heal", "flows/lost.py:lost"
_RUN = "prefect.flow-run"
# The last four are how the flow `heal` names its end.
_ENDED = {f"{_RUN}.{state}" for state in ("Completed", "Failed", "Crashed", "TimedOut", "Cancelled", "Well", "Healed", "Paged", "Refused")}
_MOVED_ON = _ENDED | {f"{_RUN}.{state}" for state in ("Pending", "Running", "AwaitingConcurrencySlot", "Suspended", "Paused")}
_RESTING = {f"{_RUN}.{state}" for state in ("Suspended", "Paused", "AwaitingRetry", "Scheduled", "Late", "Retrying")}
_SEE_RUN = "{{ flow_run|ui_url }}"
_WHEN = "{{ event.occurred.astimezone().strftime('%Y-%m-%d %H:%M:%S %Z') }}"  # the server's process has the site's TZ
_MESSAGES = "messages"  # the group of the runs that tell people
UNHEALTHY = "officeops.service.unhealthy"
_Groups = dict[str, tuple[Role, list[ResourceSpecification]]]  # by name: who is told, and of which runs


@dataclass(frozen=True)
class Waits:
    """How long the server waits before it acts. lost: without a sign of life (they come each 30 s, and a server that was away hears none)."""

    late: timedelta = timedelta(minutes=10)
    pending: timedelta = timedelta(minutes=5)
    lost: timedelta = timedelta(minutes=5)


def apply_automations(
    client: SyncPrefectClient,
    config: Config,
    changes: Changes,
    *,
    deployments: Mapping[str, UUID],
    blocks: Mapping[str, UUID],
    waits: Waits | None = None,
) -> None:
    """Creates, changes and prunes. One that an operator switched off stays off. Names are not unique on the server: of several the oldest stays."""
    ours = _Automations(config, deployments, blocks, waits or Waits()).wanted()
    prefix = f"{config.runbook.stack}: "
    found = [one for one in client.read_automations(sort=AutomationSort.CREATED_DESC) if one.name.startswith(prefix)]
    known = {one.name: one for one in found}
    for core in ours:
        there = known.get(core.name)
        if there is None:
            changes.make(f"automation {core.name}", "created", partial(client.create_automation, core))
        elif fields := differences(there, core):
            kept = core.model_copy(update={"enabled": there.enabled})
            changes.make(f"automation {core.name}", f"changed ({', '.join(fields)})", partial(client.update_automation, there.id, kept))
    for one in found:
        if one.id != known[one.name].id:
            changes.make(f"automation {one.name}", "removed: there is another of this name", partial(client.delete_automation, one.id))
    for name in sorted(known.keys() - {core.name for core in ours}):
        changes.make(f"automation {name}", "removed", partial(client.delete_automation, known[name].id))


class _Automations:
    """All of them for one stack."""

    def __init__(self, config: Config, deployments: Mapping[str, UUID], blocks: Mapping[str, UUID], waits: Waits) -> None:
        self._config, self._deployments, self._blocks, self._waits = config, deployments, blocks, waits
        self._stack = config.runbook.stack

    def wanted(self) -> list[AutomationCore]:
        """Those that have something to do: without anybody to tell there is no message."""
        by_server = [*self._late(), *self._pending(), self._no_backup(), *self._asking()]
        found = [
            self._failed(), *by_server, self._not_taken(by_server), self._undelivered(), self._lost(), self._unhealthy(), expiry(self._config),
        ]  # fmt: skip
        return [one for one in found if one.actions]

    def _failed(self) -> AutomationCore:
        ended = {f"{_RUN}.{state}" for state in ("Failed", "Crashed", "TimedOut")}
        return self._named(
            "a run failed",
            "Tells people of a run that failed, crashed or took too long, by the flow `notify`.",
            _reactive(ended, self._runs("stack")),
            self._run(NOTIFY, {"run": "{{ flow_run.id }}", "state": "{{ flow_run.state.name }}"}) if self._blocks else [],
        )

    def _late(self) -> list[AutomationCore]:
        message = Message(
            "a run is late: {{ flow_run.name }}", "warning", since=_WHEN, link=_SEE_RUN,
            error="It was due and nothing has started it: the worker may not run, or something else has been running for long.",
            todo="`officeops status`; `officeops up` starts the worker.",
        )  # fmt: skip
        return self._for_each_group(
            "a run is late",
            f"Tells people of a run that nothing has started {_words(self._waits.late)} after it was noticed. The server itself tells.",
            partial(_silence, {f"{_RUN}.Late"}, _MOVED_ON, self._waits.late),
            message,
            self._by_role() | self._of_messages(),
        )

    def _pending(self) -> list[AutomationCore]:
        message = Message(
            "a run does not start: {{ flow_run.name }}", "warning", since=_WHEN, link=_SEE_RUN,
            error="A worker took it, and its process has not begun.", todo="Look at the run's log, then at `officeops logs`; cancel it and start it again.",
        )  # fmt: skip
        return self._for_each_group(
            "a run is stuck before its start",
            f"Tells people of a run that is Pending for {_words(self._waits.pending)}. The server itself tells.",
            partial(_silence, {f"{_RUN}.Pending"}, (_MOVED_ON - {f"{_RUN}.Pending"}) | _RESTING, self._waits.pending),
            message,
            self._by_role() | self._of_messages(),
        )

    def _no_backup(self) -> AutomationCore:
        hours = self._config.runbook.backups.max_age_hours
        message = Message(
            f"no verified backup for {hours:g} hours", "critical", "database_administrator", since=f"more than {hours:g} hours",
            error="No backup of the database was made and verified in that time, by nobody and for whatever reason.",
            todo=self._config.runbook.advice.get("nightly-backup", "`officeops backup`, then see why the nightly one did not run."),
        )  # fmt: skip
        return self._named(
            "no verified backup",
            f"A dead man's switch: tells people when no backup was verified for {hours:g} hours, also when nothing runs at all.",
            EventTrigger(
                expect={VERIFIED},
                match=ResourceSpecification({"prefect.resource.id": stack_resource(self._stack)}),
                posture=Posture.Proactive,
                threshold=1,
                within=timedelta(hours=hours),
            ),
            self._tell(message),
        )

    def _lost(self) -> AutomationCore:
        """By a flow that looks first: the last sign of life may come just after the run was suspended, and a run that waits has not died."""
        beat = f"{_RUN}.heartbeat"
        return self._named(
            "a run lost its process",
            f"Looks after a run that was not heard of for {_words(self._waits.lost)}, by the flow `lost`: one that still counts as running is "
            "marked Crashed, so that nothing waits for it.",
            _silence({beat}, {beat} | _ENDED | _RESTING, self._waits.lost, self._runs("stack", "notices")),
            self._run(LOST, {"run": "{{ flow_run.id }}"}),
        )

    def _undelivered(self) -> AutomationCore:
        message = Message(
            "a message could not be delivered", "warning", since=_WHEN, link=_SEE_RUN,
            error="{{ flow_run.state.message }}", todo="Read what it said behind the link; correct that URL in .env, then `officeops up`.",
        )  # fmt: skip
        ended = {f"{_RUN}.{state}" for state in ("Failed", "Crashed", "TimedOut")}
        return self._named(
            "a message was not delivered",
            "Tells the others, all of them, when somebody could not be told. The server itself tells.",
            _reactive(ended, self._runs("notices")),
            self._send(message, every_channel(self._config.settings)),
        )

    def _not_taken(self, told: Sequence[AutomationCore]) -> AutomationCore:
        """Not of messages about messages: those would be told for ever while a channel is gone."""
        names = [one.name for one in told if one.actions and not one.name.endswith(f"({_MESSAGES})")]
        trigger = EventTrigger(
            expect={"prefect.automation.action.failed"},
            match=ResourceSpecification({"prefect.resource.id": "prefect.automation.*", "prefect.resource.name": names}),
            match_related=ResourceSpecification({"prefect.resource.role": "block"}),
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        )
        given = {"what": "{{ event.resource.name }}", "channel": _related("block", "name"), "event": _related("triggering-event", "id")}
        return self._named(
            "a message of the server was not taken",
            "Asks the channel again that did not take a message of the server itself, by the flow `tell-again`.",
            trigger,
            self._run(AGAIN, given) if names else [],
        )

    def _unhealthy(self) -> AutomationCore:
        trigger = EventTrigger(
            expect={UNHEALTHY},
            match=ResourceSpecification({"prefect.resource.id": f"{stack_resource(self._stack)}.*"}),
            for_each={"prefect.resource.id"},
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        )
        return self._named(
            "a service is unhealthy",
            "Starts the flow `heal` when the watcher reports that a service is not well.",
            trigger,
            self._run(HEAL, {"probe": "{{ event.resource.probe }}"}),
        )

    def _asking(self) -> list[AutomationCore]:
        message = Message(
            "a run waits for an approval: {{ flow_run.name }}", "warning", since=_WHEN, link=_SEE_RUN,
            error="Nothing was changed yet.", todo="Open the run, read its plan and answer its form (Resume).",
        )  # fmt: skip
        return self._for_each_group(
            "a run waits for an approval",
            "Tells people that a run asks them. The server itself tells: it is soon told, and no worker is needed for it.",
            partial(_reactive, {f"{_RUN}.Suspended"}),
            message,
            self._by_role(),
        )

    def _for_each_group(
        self, name: str, description: str, trigger: Callable[[list[ResourceSpecification]], EventTrigger], message: Message, groups: _Groups
    ) -> list[AutomationCore]:
        return [
            self._named(f"{name} ({group})", description, trigger(runs), self._tell(replace(message, role=role)))
            for group, (role, runs) in groups.items()
        ]

    def _by_role(self) -> _Groups:
        """Runs by who of the runbook's contacts answers for them, which their tag `role:` says."""
        return {role.replace("_", " "): (role, [*self._runs("stack"), _tag(f"role:{role}")]) for role in ROLES}

    def _of_messages(self) -> _Groups:
        """Runs that tell people."""
        return {_MESSAGES: ("system_administrator", self._runs("notices"))}

    def _named(self, name: str, description: str, trigger: EventTrigger, actions: Sequence[Any]) -> AutomationCore:
        return AutomationCore(name=f"{self._stack}: {name}", description=description, enabled=True, trigger=trigger, actions=list(actions))

    def _runs(self, *kinds: str) -> list[ResourceSpecification]:
        return [_tag(*(f"{kind}:{self._stack}" for kind in kinds))]

    def _run(self, entrypoint: str, options: Mapping[str, str]) -> list[RunDeployment]:
        """Nothing when prefect.yaml has no such flow."""
        if entrypoint not in self._deployments:
            return []
        filled = {key: {"__prefect_kind": "jinja", "template": template} for key, template in options.items()}
        return [RunDeployment(source="selected", deployment_id=self._deployments[entrypoint], parameters={"options": filled})]

    def _tell(self, message: Message) -> list[SendNotification]:
        return self._send(message, channels(self._config.settings, message.severity, message.role))

    def _send(self, message: Message, to: Sequence[Channel]) -> list[SendNotification]:
        text = as_text(self._config.settings, self._config.runbook, message)
        concerned = [self._blocks.get(one.name) for one in to]
        return [SendNotification(block_document_id=block, subject=text.subject, body=text.body) for block in concerned if block]


def differences(known: AutomationCore, wanted: AutomationCore) -> list[str]:
    """Names of the parts that differ."""
    one, other = (comparable(shape.model_dump(mode="json")) for shape in (known, wanted))
    return [field for field in ("description", "trigger", "actions") if one[field] != other[field]]


def comparable(shape: Any) -> Any:
    """Without what the server adds; sets, which come as lists in any order, sorted."""
    if isinstance(shape, dict):
        return {key: comparable(value) for key, value in shape.items() if key != "id"}
    if isinstance(shape, list):
        parts = [comparable(one) for one in shape]
        return sorted(parts) if all(isinstance(one, str) for one in parts) else parts
    return shape


def _related(role: str, field: str) -> str:
    """A template: of the first resource in that role that an event is about, the name or the id."""
    return f"{{% for one in event.related if one.role == '{role}' %}}{{% if loop.first %}}{{{{ one.{field} }}}}{{% endif %}}{{% endfor %}}"


def _tag(*tags: str) -> ResourceSpecification:
    return ResourceSpecification({"prefect.resource.role": "tag", "prefect.resource.id": [f"prefect.tag.{tag}" for tag in tags]})


def _every_run() -> ResourceSpecification:
    return ResourceSpecification({"prefect.resource.id": f"{_RUN}.*"})


def _reactive(expect: set[str], related: list[ResourceSpecification]) -> EventTrigger:
    return EventTrigger(
        expect=expect, match=_every_run(), match_related=related, posture=Posture.Reactive, threshold=1, within=timedelta(0)
    )


def _silence(after: set[str], expect: set[str], within: timedelta, related: list[ResourceSpecification]) -> EventTrigger:
    """When nothing of `expect` follows `after` for `within`, for each run."""
    return EventTrigger(
        after=after,
        expect=expect,
        match=_every_run(),
        match_related=related,
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=within,
    )


def _words(time: timedelta) -> str:
    minutes = time / timedelta(minutes=1)
    return f"{minutes:g} minutes" if minutes >= 1 else f"{time.total_seconds():g} seconds"
