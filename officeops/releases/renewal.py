"""The release that serves, in new containers or processes, without an interruption."""

from __future__ import annotations

from typing import TYPE_CHECKING

from officeops.errors import OfficeOpsError
from officeops.releases.rollout import Rollout
from officeops.stack.port import Release

if TYPE_CHECKING:
    from officeops.site import Site
    from officeops.stack.port import Colour


def renew(site: Site, *, why: str) -> Colour:
    """The rolled services run anew in the other colour, which is returned: proven before it gets a request. The caller holds the stack's lock.
    Raises OfficeOpsError, with what served before serving, when that cannot be done."""
    now = site.stack.deployed()
    if now is None:
        raise OfficeOpsError("No release runs yet.", todo="Start it with `officeops up`.")
    with Rollout.begin(site, Release(now.sha, now.at, now.settings), kind="deploy", why=why) as rollout:
        rollout.launch()
        rollout.prove()
        rollout.switch()
        rollout.wait_for_requests()
        rollout.retire()
    rollout.finish()
    return rollout.colour
