"""What `status` says of the live database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from officeops.errors import OfficeOpsError
from officeops.postgres.tools import connection_string
from officeops.process import run

if TYPE_CHECKING:
    from officeops.site import Site

_ANSWER_S = 3.0


def database_facts(site: Site) -> dict[str, Any] | None:
    """Size in bytes and schema revision; None when the database does not answer.

    Asked by psql, which answers before this process could import a driver.
    """
    table = site.config.runbook.database.revision_table.replace('"', '""')
    queries = ("SELECT pg_database_size(current_database())", f'SELECT * FROM public."{table}" LIMIT 1')
    argv = ["psql", "-X", "-A", "-t", "-q", "--no-password", "-d", connection_string(site.stack.database().database)]
    for query in queries:
        argv += ["-c", query]
    try:
        lines = run(site.stack.tool(argv), timeout=_ANSWER_S, ok=(0, 1)).stdout.decode().splitlines()
    except OfficeOpsError:
        return None
    # Status 1 with a size: there is no such table.
    return {"size_bytes": int(lines[0]), "revision": lines[1] if len(lines) > 1 else None} if lines else None
