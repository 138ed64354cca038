"""A release's migrations as SQL, printed by its own program (`--sql`) and looked at; nothing is run on the database."""

from __future__ import annotations

from collections.abc import Sequence

from officeops.process import CommandError, CommandTimeoutError, run
from officeops.releases.lint import lint
from officeops.releases.plans import Pending
from officeops.releases.revisions import BASE, Revision
from officeops.releases.sql import upgrade_scripts
from officeops.stack.port import Release, Stack

_PRINT_S = 120.0


def pending(stack: Stack, release: Release, current: str | None, revisions: Sequence[Revision]) -> tuple[Pending, ...]:
    """The revisions of `release` that follow `current`, each with its SQL and what is dangerous in it.

    An application whose program cannot print SQL is no error: each revision says why its SQL is not known.
    """
    if not revisions:
        return ()
    scripts, why = _scripts(stack, release, current, revisions)
    findings = lint(scripts)
    return tuple(
        Pending(one, scripts.get(one.id), tuple(found for found in findings if found.revision == one.id), why.get(one.id, ""))
        for one in revisions
    )


def printed(stack: Stack, release: Release, verb: str, start: str | None, end: str | None) -> tuple[str | None, str]:
    """What `VERB START:END --sql` prints (None: a database without a revision); or None, and why there is nothing."""
    between = f"{start}:{end or BASE}" if start else str(end)
    try:
        return run(stack.migration(release, [verb, between, "--sql"]), timeout=_PRINT_S).stdout.decode(), ""
    except CommandTimeoutError:
        raise
    except CommandError as error:
        if error.status is None:  # not even started
            raise
        last = (error.stderr.splitlines() or ["it said nothing"])[-1]
        return None, f"Its SQL is unknown, since `{verb} --sql` failed: {last}"


def _scripts(stack: Stack, release: Release, current: str | None, revisions: Sequence[Revision]) -> tuple[dict[str, str], dict[str, str]]:
    """The SQL of each revision, and why there is none of it. All at once, since each start of the program takes seconds; one by one when
    that fails: a revision that must read the database to know what it does says nothing of the others."""
    text, _ = printed(stack, release, "upgrade", current, revisions[-1].id)
    if text is not None:
        scripts = upgrade_scripts(text)
        return scripts, {one.id: "Its SQL is not in what `upgrade --sql` prints." for one in revisions if one.id not in scripts}
    scripts, why = {}, {}
    for one in revisions:
        text, why[one.id] = printed(stack, release, "upgrade", one.down, one.id)
        scripts |= upgrade_scripts(text or "")
    return scripts, why
