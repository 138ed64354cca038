"""What `status` says of the live database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from officeops.errors import OfficeOpsError
from officeops.postgres.connect import connected
from officeops.postgres.snapshot import revision

if TYPE_CHECKING:
    from officeops.site import Site


def database_facts(site: Site) -> dict[str, Any] | None:
    """Size in bytes and schema revision; None when the database does not answer."""
    try:
        with connected(site.stack.database(), application="officeops status") as connection:
            row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
            return {"size_bytes": row[0] if row else 0, "revision": revision(connection, site.config.runbook.database.revision_table)}
    except OfficeOpsError:
        return None
