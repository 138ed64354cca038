"""Releases that differ in their migrations only: the real backend's, and what a test adds, run by the real Alembic."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from officeops.process import Command
from officeops.releases.revisions import read_chain
from officeops.site import Site
from officeops.stack.port import DatabaseAddress, Deployed, Release
from tests.support.backend import BACKEND, database_environment

RUNBOOK = """
version: 1
stack: test_office
title: Test Office
application: {migrations: backend/alembic/versions}
services:
  postgres: {kind: postgres, port: POSTGRES_PORT}
  caddy: {kind: caddy, port: HTTP_PORT}
database: {}
releases: {lock_timeout_ms: 200}
backups: {retention: {keep_last: 2}}
"""
HEAD = read_chain(BACKEND / "alembic" / "versions").head or ""
AT = datetime(2026, 1, 2, tzinfo=UTC)


@dataclass(frozen=True)
class Written:
    """A revision that a test adds. up, down: SQL, or Python when they begin with `op.` or a word and a bracket."""

    id: str
    up: str
    down: str = "SELECT 1"
    contract: bool = False

    def text(self, after: str) -> str:
        return (
            f'"""What {self.id} does."""\nimport time\nfrom alembic import op\n'
            f"revision = {self.id!r}\ndown_revision = {after!r}\ncontract = {self.contract}\n"
            f"def upgrade():\n    {_python(self.up)}\ndef downgrade():\n    {_python(self.down)}\n"
        )


def _python(body: str) -> str:
    return body.removeprefix("py:").replace("\n", "\n    ") if body.startswith("py:") else f"op.execute({body!r})"


@dataclass
class MigratingStack:
    """Of a stack what migrations need: folders of releases, Alembic, the database."""

    parent: Path
    address: DatabaseAddress
    runs: Deployed | None = None
    releases: list[Release] = field(default_factory=list)
    asked: list[list[str]] = field(default_factory=list)
    migrated: list[str] = field(default_factory=list)

    def release(self, name: str, *added: Written) -> Release:
        """A release with the backend's migrations and then these."""
        release = Release(name.ljust(40, "0"), AT)
        folder = self.folder(release) / "backend"
        shutil.copytree(BACKEND, folder, ignore=shutil.ignore_patterns("__pycache__"))
        after = HEAD
        for one in added:
            (folder / "alembic" / "versions" / f"{one.id}.py").write_text(one.text(after))
            after = one.id
        self.releases.insert(0, release)
        return release

    def deploy(self, release: Release) -> None:
        self.runs = Deployed(release.sha, AT)

    def folder(self, release: Release) -> Path:
        return self.parent / release.sha

    def migration(self, release: Release, arguments: Sequence[str], *, environment: Mapping[str, str] | None = None) -> Command:
        self.asked.append(list(arguments))
        given = {**database_environment(self.address), **(environment or {}), "PYTHONDONTWRITEBYTECODE": "1"}
        return Command((sys.executable, "-m", "alembic", *arguments), given, cwd=self.folder(release) / "backend")

    def migrate(self, release: Release) -> None:
        self.migrated.append(release.sha)

    def database(self) -> DatabaseAddress:
        return self.address

    def deployed(self) -> Deployed | None:
        return self.runs

    def built(self) -> list[Release]:
        return self.releases


def with_stack(site: Site, stack: MigratingStack) -> Site:
    """The site, on that stack."""
    site.__dict__["stack"] = stack
    return site
