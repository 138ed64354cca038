"""What was done: operations and their steps, backups, drills, releases. SQLite by default, PostgreSQL by URL."""

from officeops.ledger.ledger import Approval, Copy, Drill, Ledger, Operation, ReleaseRecord

__all__ = ["Approval", "Copy", "Drill", "Ledger", "Operation", "ReleaseRecord"]
