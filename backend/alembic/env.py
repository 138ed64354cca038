"""Runs migrations on the database of DATABASE_URL (or libpq's PG* variables)."""

import os

from alembic import context
from app.models import Base
from sqlalchemy import create_engine

engine = create_engine(os.environ.get("DATABASE_URL", "postgresql+psycopg://"))
with engine.connect() as connection:
    # Waiting for a lock in front of everybody else would stop the application: give up and say so instead.
    connection.exec_driver_sql("SET lock_timeout = '10s'")
    connection.commit()
    context.configure(connection=connection, target_metadata=Base.metadata, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
