"""Which model wrote a message, and an index for finding old ones."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    # An index that is made while others write cannot be in one transaction with the rest: each step may find itself done already,
    # and an index that was broken off is there, but not valid.
    op.execute("ALTER TABLE messages ADD COLUMN IF NOT EXISTS model text")
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_messages_created_at")
        op.execute("CREATE INDEX CONCURRENTLY ix_messages_created_at ON messages (created_at)")


def downgrade() -> None:
    op.execute("DROP INDEX IF EXISTS ix_messages_created_at")
    op.execute("ALTER TABLE messages DROP COLUMN model")
