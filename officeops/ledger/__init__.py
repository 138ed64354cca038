"""What was done: operations and their steps, backups, drills. SQLite by default, PostgreSQL by URL."""

from officeops.ledger.ledger import Copy, Drill, Ledger, Operation

__all__ = ["Copy", "Drill", "Ledger", "Operation"]
