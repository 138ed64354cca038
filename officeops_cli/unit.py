"""The systemd unit that starts everything with the host."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path


def systemd_unit(folder: Path, title: str) -> str:
    """The unit's text. folder: of runbook.yaml. What `up` starts goes on when `up` has ended, so the unit is a `oneshot` that remains;
    to be stopped it runs `down`. The account is this one: lock, ledger and backups are its own."""
    program = f"{_quoted(sys.executable)} -m officeops_cli.main"
    return f"""[Unit]
Description={title.replace("%", "%%")}
Wants=network-online.target
After=network-online.target docker.service

[Service]
Type=oneshot
RemainAfterExit=yes
User={getpass.getuser()}
ExecStart={program} up --dir {_quoted(str(folder))}
ExecStop={program} down --dir {_quoted(str(folder))}
TimeoutStartSec=1h
TimeoutStopSec=10min

[Install]
WantedBy=multi-user.target
"""


def _quoted(word: str) -> str:
    """One word of a command line as systemd reads it."""
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$") + '"'
