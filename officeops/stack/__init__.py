"""Where the application runs."""

from officeops.stack.port import DatabaseAddress, Release, ServiceStatus, Stack

__all__ = ["DatabaseAddress", "Release", "ServiceStatus", "Stack"]
