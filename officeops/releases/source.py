"""Where a release's commit comes from: the application's repository, fetched first when that can be done."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from officeops.errors import OfficeOpsError
from officeops.process import Command, CommandError, run

if TYPE_CHECKING:
    from officeops.config import Config

_FETCH_S = 120.0
_REMOTE = "origin"


def default_ref(config: Config) -> str:
    """What is deployed when nobody says what: the main branch of `origin`; the last commit of a repository that has no such thing."""
    for ref in (f"{_REMOTE}/main", f"{_REMOTE}/HEAD"):
        try:
            run(_git(config, "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}"), timeout=30)
        except CommandError:
            continue
        return ref
    return "HEAD"


def fetch(config: Config) -> str:
    """Brings `origin` up to date. Returns why that could not be done, empty when it was or when there is no `origin`: what is there can be
    released without it."""
    try:
        if _REMOTE not in run(_git(config, "remote"), timeout=30).stdout.decode().split():
            return ""
        run(_git(config, "fetch", "--quiet", "--tags", "--prune", _REMOTE), timeout=_FETCH_S)
    except OfficeOpsError as error:
        return f"{_REMOTE} could not be fetched, what is on this host is used: {error.what}"
    return ""


def _git(config: Config, *arguments: str) -> Command:
    app, credentials = config.settings.officeops_app, config.settings.git_credentials_file
    helper = ("-c", "credential.helper=", "-c", f"credential.helper=store --file={shlex.quote(str(credentials))}") if credentials else ()
    # The repository may belong to another user than the one who runs this. Nobody is there to be asked for a password.
    return Command(("git", "-c", f"safe.directory={app}", *helper, "-C", str(app), *arguments), {"GIT_TERMINAL_PROMPT": "0"})
