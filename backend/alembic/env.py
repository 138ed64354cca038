"""Runs migrations on the database of DATABASE_URL (or libpq's PG* variables), or prints their SQL (`--sql`)."""

import os

from alembic import context
from app.models import Base
from sqlalchemy import Connection, create_engine


def print_sql() -> None:
    """What the migrations would do, without a database."""
    context.configure(dialect_name="postgresql", target_metadata=Base.metadata, literal_binds=True, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()


def run(connection: Connection) -> None:
    """The migrations, each in a transaction of its own."""
    # Waiting for a lock in front of everybody else would stop the application: give up and say so instead. Whoever starts
    # this with a limit of its own (PGOPTIONS) tries again.
    if connection.exec_driver_sql("SHOW lock_timeout").scalar_one() == "0":
        connection.exec_driver_sql("SET lock_timeout = '10s'")
    connection.commit()
    context.configure(connection=connection, target_metadata=Base.metadata, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    print_sql()
else:
    with create_engine(os.environ.get("DATABASE_URL", "postgresql+psycopg://")).connect() as opened:
        run(opened)
