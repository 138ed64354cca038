"""Which model wrote a message, and an index for finding old ones."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.execute("ALTER TABLE messages ADD COLUMN model text")
    with op.get_context().autocommit_block():
        op.execute("CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_messages_created_at ON messages (created_at)")


def downgrade() -> None:
    op.execute("DROP INDEX IF EXISTS ix_messages_created_at")
    op.execute("ALTER TABLE messages DROP COLUMN model")
