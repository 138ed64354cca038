"""The blocks by which Prefect's server itself tells people: for what must be told when no worker runs."""

from __future__ import annotations

from functools import partial
from uuid import UUID

from prefect.blocks.notifications import SlackWebhook
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import BlockDocument
from pydantic import SecretStr

from deployments.changes import PLANNED, Changes
from officeops.config import Config
from officeops.notify import Channel, apprise_url, channels
from officeops.runbook.parts import Role
from officeops.settings import Settings

# The server loads blocks by types that it knows. This one hands any Apprise URL to Apprise, whatever its name says.
_TYPE = "slack-webhook"
_KEYS = ("notify_urls", "notify_urls_warning", "notify_urls_critical")
_ROLES: tuple[Role, ...] = ("system_administrator", "database_administrator", "development_lead")


def apply_channels(client: SyncPrefectClient, config: Config, changes: Changes) -> dict[str, UUID]:
    """One block for each URL of .env. Returns their ids by the channels' names."""
    prefix = f"{config.runbook.stack.replace('_', '-')}-"
    wanted = {_slug(prefix, one): one for one in every_channel(config.settings)}
    known = {str(one.name): one for one in _known(client) if str(one.name).startswith(f"{prefix}notify-urls")}
    found = {}
    for name, channel in wanted.items():
        url = apprise_url(channel.url.get_secret_value())
        there = known.get(name)
        if there is not None and there.data["url"] == url:
            found[channel.name] = there.id
            continue
        saved = changes.make(f"block {name}", "changed" if there else "created", partial(_save, name, url))
        found[channel.name] = saved or (there.id if there else PLANNED)
    for name in sorted(known.keys() - wanted.keys()):
        changes.make(f"block {name}", "removed", partial(client.delete_block_document, known[name].id))
    return found


def every_channel(settings: Settings) -> list[Channel]:
    """Each URL of .env once."""
    found: dict[str, Channel] = {}
    for role in _ROLES:
        for one in channels(settings, "critical", role):
            found.setdefault(one.url.get_secret_value(), one)
    return list(found.values())


def _known(client: SyncPrefectClient) -> list[BlockDocument]:
    return [one for one in client.read_block_documents(include_secrets=True, limit=200) if one.block_type and one.block_type.slug == _TYPE]


def _slug(prefix: str, channel: Channel) -> str:
    return prefix + channel.name.lower().replace("_", "-").replace(" ", "-")


def _save(name: str, url: str) -> UUID:
    saved = SlackWebhook(url=SecretStr(url), notify_type="warning").save(name, overwrite=True)
    assert isinstance(saved, UUID)
    return saved
