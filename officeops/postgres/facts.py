"""What `status` says of the live database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from officeops.errors import OfficeOpsError

if TYPE_CHECKING:
    from officeops.site import Site

_ANSWER_S = 3.0


def database_facts(site: Site) -> dict[str, Any] | None:
    """Size in bytes and schema revision; None when the database does not answer."""
    table = site.config.runbook.database.revision_table.replace('"', '""')
    queries = ("SELECT pg_database_size(current_database())", f'SELECT * FROM public."{table}" LIMIT 1')
    try:
        answers = site.stack.ask(queries, timeout=_ANSWER_S)
    except OfficeOpsError:
        return None
    return {"size_bytes": int(answers[0]), "revision": answers[1] if len(answers) > 1 else None} if answers else None
