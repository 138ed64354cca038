"""What was done: operations and their steps, backups, drills, releases. SQLite by default, PostgreSQL by URL."""

from officeops.ledger.ledger import Copy, Drill, Ledger, Operation, ReleaseRecord

__all__ = ["Copy", "Drill", "Ledger", "Operation", "ReleaseRecord"]
