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
from officeops.notify import apprise_url, every_channel

# The server loads blocks by types that it knows. This one hands any Apprise URL to Apprise, whatever its name says.
_TYPE = "slack-webhook"


def apply_channels(client: SyncPrefectClient, config: Config, changes: Changes) -> dict[str, UUID]:
    """One block for each URL of .env. Returns their ids by the channels' names."""
    prefix = f"{config.runbook.stack.replace('_', '-')}-"
    wanted = {f"{prefix}{one.slug}": one for one in every_channel(config.settings)}
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


def _known(client: SyncPrefectClient) -> list[BlockDocument]:
    return [one for one in client.read_block_documents(include_secrets=True, limit=200) if one.block_type and one.block_type.slug == _TYPE]


def _save(name: str, url: str) -> UUID:
    saved = SlackWebhook(url=SecretStr(url), notify_type="warning").save(name, overwrite=True)
    assert isinstance(saved, UUID)
    return saved
