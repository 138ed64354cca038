"""A whole configuration in a folder of its own: real `.env`, real `runbook.yaml`, the real local stack; the database given."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from officeops.settings.env import quoted
from officeops.settings.generate import ensure_env
from officeops.settings.model import PORTS
from officeops.site import Site, open_site
from tests.support.ports import free_ports
from tests.support.postgres import PASSWORD, Running

PROJECT = Path(__file__).resolve().parent.parent.parent
RUNBOOK = """
version: 1
stack: test_office
title: Test Office
services:
  postgres: {kind: postgres, port: POSTGRES_PORT}
  caddy: {kind: caddy, port: HTTP_PORT}
database: {}
probes: {every_seconds: 86400}   # one round is enough for the watcher beside a server that tests start
backups: {retention: {keep_last: 2, daily: 3, weekly: 2, monthly: 2}}
remedies: {mode: never}  # a test that breaks something does not want it mended meanwhile
"""


def make_site(folder: Path, server: Running, database: str, runbook: str = RUNBOOK, **env: str) -> Site:
    """A site in `folder` whose database is `database` on `server`. env: further keys of .env."""
    (folder / "runbook.yaml").write_text(runbook)
    (folder / ".env.example").write_text((PROJECT / ".env.example").read_text())
    ports = {name.upper(): str(port) for name, port in zip(PORTS, free_ports(len(PORTS)), strict=True)}
    given: Mapping[str, str] = {
        **ports,
        "POSTGRES_PORT": str(server.server.port),
        "POSTGRES_USER": server.server.superuser,
        "POSTGRES_PASSWORD": quoted(PASSWORD),
        "POSTGRES_DB": quoted(database),
        "BACKUP_TARGETS": "file:targets/one",
        **env,
    }
    ensure_env(folder, given)
    return open_site(folder)
