"""Running a flow in the command's own process, recorded on the Prefect server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from deployments.control_plane import answers, api_url, become_client, prefect_home
from officeops.config import Config
from officeops.errors import OfficeOpsError
from officeops.lock import LockedError, lock_holder
from officeops_cli.console import progress_bars

_ANSWER_S = 2.0


@contextmanager
def recorded(config: Config, *, offline: bool, wait_minutes: float = 0) -> Iterator[None]:
    """The block's flows are recorded on the server, or with `offline` on a private one that is gone afterwards.

    Raises LockedError at once when somebody else changes the stack and nothing is waited for; OfficeOpsError when the server does not answer.
    """
    holder = lock_holder(config.settings.officeops_home, config.runbook.stack)
    if holder is not None and not wait_minutes:
        raise LockedError(config.runbook.stack, holder)
    if offline:
        prefect_home(config).mkdir(parents=True, exist_ok=True)  # its database goes there; where Prefect was never started there is none
    else:
        require_server(config)
    become_client(config, offline=offline)
    from prefect import tags

    try:
        with tags("officeops", f"stack:{config.runbook.stack}"), progress_bars():
            yield
    except RuntimeError as error:
        if "ephemeral" not in str(error):
            raise
        raise OfficeOpsError(
            f"A server of this run's own did not start: {error}",
            state="Nothing was changed.",
            todo="Try again when the machine is less busy; `emergency`, `reconcile` and `heal` need no server at all.",
        ) from error


def require_server(config: Config) -> None:
    """Raises OfficeOpsError unless the Prefect server, with its database, answers within two seconds."""
    url = api_url(config.settings)
    if not answers(url, config.settings.prefect_auth_string, timeout=_ANSWER_S):
        raise OfficeOpsError(
            f"The Prefect server at {url}, or its database, does not answer, so this run could not be recorded.",
            state="Nothing was changed.",
            todo="Start it with `officeops up`, or add --offline to run without it.",
        )
