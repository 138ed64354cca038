"""The chapter on backups: made, verified, listed, kept for as long as the runbook says."""
