"""The runbook as data: the model of `runbook.yaml`."""

from officeops.runbook.model import Runbook, Service

__all__ = ["Runbook", "Service"]
