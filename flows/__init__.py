"""The chapters of the runbook, one module each."""
