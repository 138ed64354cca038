"""Writing the audit log."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from app.models import AuditEntry


def note(database: AsyncSession, user_id: int | None, action: str, **detail: object) -> None:
    """Adds an entry to the session's transaction."""
    database.add(AuditEntry(user_id=user_id, action=action, detail=detail))
