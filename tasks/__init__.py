"""The steps that flows are made of: retries, timeouts, undo, artifacts."""
