"""Who is told when a run fails: blocks for the URLs of NOTIFY_URLS, and one automation for each."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import apprise
from prefect.automations import Automation, AutomationCore, EventTrigger, Posture
from prefect.blocks.fields import SecretDict
from prefect.blocks.notifications import CustomWebhookNotificationBlock, SlackWebhook
from prefect.client.orchestration import get_client
from prefect.events.actions import SendNotification
from prefect.events.schemas.events import ResourceSpecification
from pydantic import SecretStr

from officeops.config import Config

_SUBJECT = "✗ {{ flow.name }}: {{ flow_run.state.name }} — {{ flow_run.name }}"
_BODY = """{{ flow_run.state.message }}

Run: {{ flow_run|ui_url }}
Since: {{ flow_run.state.timestamp }}"""
_FAILURES = {"prefect.flow-run.Failed", "prefect.flow-run.Crashed", "prefect.flow-run.TimedOut"}


def apply_notifications(config: Config) -> list[str]:
    """Brings blocks and automations to NOTIFY_URLS. Returns what was changed."""
    stack = config.runbook.stack
    wanted = {f"{stack}: a run failed ({number})": url for number, url in enumerate(config.settings.notify_urls, 1)}
    changes = []
    with get_client(sync_client=True) as client:
        known = {one.name: one for one in client.read_automations() if one.name.startswith(f"{stack}: a run failed")}
        for name, url in wanted.items():
            block = _block(f"notify-{stack.replace('_', '-')}-{name[-2]}", url)
            core = _automation(name, stack, block)
            if name not in known:
                client.create_automation(core)
                changes.append(f"automation {name}: created")
            elif not _same(known[name], core):
                client.update_automation(known[name].id, core.model_copy(update={"enabled": known[name].enabled}))
                changes.append(f"automation {name}: changed")
        for name in known.keys() - wanted.keys():
            client.delete_automation(known[name].id)
            changes.append(f"automation {name}: removed")
    return changes


def _block(name: str, url: SecretStr) -> UUID:
    """The block that holds the URL, which is a secret: a new value in the same block."""
    clear = url.get_secret_value()
    block: SlackWebhook | CustomWebhookNotificationBlock
    if apprise.Apprise.instantiate(clear) is None:
        # No service that Apprise knows: a plain webhook. The address itself is the secret of most webhooks.
        block = CustomWebhookNotificationBlock(
            name=name, url="{{target}}", json_data={"title": "{{subject}}", "message": "{{body}}"}, secrets=SecretDict({"target": clear})
        )
    else:
        # The server loads blocks by types that it knows. This one hands any Apprise URL to Apprise, whatever its name says;
        # and Apprise knows the webhooks of Slack, Discord and others by their https:// addresses too.
        block = SlackWebhook(url=url)
    saved = block.save(name, overwrite=True)
    assert isinstance(saved, UUID)
    return saved


def _automation(name: str, stack: str, block: UUID) -> AutomationCore:
    return AutomationCore(
        name=name,
        description="Tells people when a run of the runbook's flows fails, crashes or takes too long.",
        trigger=EventTrigger(
            expect=_FAILURES,
            match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
            match_related=ResourceSpecification({"prefect.resource.role": "tag", "prefect.resource.id": f"prefect.tag.stack:{stack}"}),
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        ),
        actions=[SendNotification(block_document_id=block, subject=_SUBJECT, body=_BODY)],
    )


def _same(known: Automation, wanted: AutomationCore) -> bool:
    fields = ("name", "description", "actions")
    one, other = known.model_dump(mode="json"), wanted.model_dump(mode="json")
    return all(one[field] == other[field] for field in fields) and _trigger(one) == _trigger(other)


def _trigger(shape: dict[str, Any]) -> dict[str, Any]:
    """A trigger without what the server adds, its sets (which come as lists, in any order) sorted."""
    kept = {key: value for key, value in shape["trigger"].items() if key != "id"}
    return {
        key: sorted(value) if isinstance(value, list) and all(isinstance(one, str) for one in value) else value
        for key, value in kept.items()
    }
