"""What this host is called: in the queue that its worker pulls from, in messages and in reports."""

from __future__ import annotations

import re
import socket

from officeops.settings import Settings


def host_name(settings: Settings) -> str:
    """OFFICEOPS_HOST, or what the host calls itself, of letters, digits, dots, dashes and underscores."""
    name = settings.officeops_host or socket.gethostname()
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "host"
