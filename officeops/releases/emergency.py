"""Back to the previous release by what is on the machine: no Prefect, no git, no network, no build. Traffic first, everything else after."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from officeops.clock import iso
from officeops.errors import OfficeOpsError
from officeops.releases import records
from officeops.releases.rollout import KIND, Outcome, Rollout, reconcile
from officeops.stack.port import Deployed, Release, other

if TYPE_CHECKING:
    from officeops.site import Site


def back(site: Site, to: str = records.PREVIOUS, *, why: str = "", switched: Callable[[Rollout], None] = lambda _: None) -> Outcome:
    """The release `to` serves again. `switched`: called as soon as it does; what follows may take as long as the longest request.

    The caller holds the stack's lock. Nothing is watched afterwards: there is nothing better to go back to."""
    began = time.monotonic()
    before, release = site.stack.deployed(), records.release_of(site, records.find(site, to))
    if _put_aside(site) and (now := site.stack.deployed()) and _same(now, release):
        with suppress(OfficeOpsError):  # it gets no requests
            site.stack.retire(other(now.colour))
        record = records.new_record(site, release, kind="emergency", strategy="blue-green", colour=now.colour, why=why)
        records.change(site, record.id, outcome="deployed", deployed_at=iso(site.clock()))
        seconds = time.monotonic() - began
        return Outcome(before.sha if before else None, release.sha, "blue-green", (None, None), seconds, None, None, seconds, "rolled_back")
    with Rollout.begin(site, release, kind="emergency", why=why) as rollout:
        rollout.launch()
        rollout.prove()
        rollout.switch()
        switched(rollout)
        rollout.wait_for_requests()
        rollout.retire()
    return rollout.finish()


def _same(deployed: Deployed, release: Release) -> bool:
    return (deployed.sha, dict(deployed.settings)) == (release.sha, dict(release.settings))


def _put_aside(site: Site) -> bool:
    """Ends what a killed deploy left, or says in the journal that nobody will: whatever is in its way must not keep people from going back.
    Says whether there was something."""
    found = site.ledger.operations(KIND)
    try:
        reconcile(site)
    except OfficeOpsError as error:
        for operation in site.ledger.operations(KIND):
            why = f"An emergency took its place. {error}"
            records.change(site, operation.id, outcome="undone", error=why)
            site.ledger.end(operation.id, "undone", why)
    return bool(found)


def unshown(site: Site) -> list[str]:
    """Emergencies that nobody saw in the Prefect UI yet: ids, newest first."""
    shown = {operation.id.removeprefix("shown-") for operation in site.ledger.operations("shown", outcome="done")}
    return [one.id for one in site.ledger.releases() if one.kind == "emergency" and one.outcome and one.id not in shown]


def mark_shown(site: Site, identifier: str) -> None:
    """It was shown."""
    try:
        site.ledger.begin("shown", f"shown-{identifier}")
    except OfficeOpsError:
        return
    site.ledger.end(f"shown-{identifier}", "done")
