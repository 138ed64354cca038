"""The database: one engine for the process, a session for each request."""

from __future__ import annotations

from collections.abc import AsyncIterator

from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from app.core.settings import settings

engine = create_async_engine(
    settings.database_url,
    pool_size=settings.pool_size,
    max_overflow=0,
    pool_timeout=5,
    # A connection may have died with the server that a restore or a restart replaced.
    pool_pre_ping=True,
    connect_args={"connect_timeout": 5},
)
Session = async_sessionmaker(engine, expire_on_commit=False)


async def session() -> AsyncIterator[AsyncSession]:
    """A session for the length of a request."""
    async with Session() as opened:
        yield opened


async def init_db() -> None:
    """Checks that the database answers. Raises SQLAlchemy's OperationalError when it does not."""
    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))


async def schema_revision() -> str | None:
    """The revision that the schema is at, None before the first migration."""
    async with engine.connect() as connection:
        try:
            return (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar_one_or_none()
        except ProgrammingError:
            return None
