"""When people are told of what the probes find: once, of what matters, and with what to do."""

from officeops.alerts.engine import Alert, Change, advance

__all__ = ["Alert", "Change", "advance"]
