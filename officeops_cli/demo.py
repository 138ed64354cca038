"""demo: the first night, in three minutes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from officeops.config import find_folder
from officeops.settings.generate import ensure_env
from officeops.site import Site, open_site
from officeops.stack.port import short
from officeops_cli import console
from officeops_cli.options import Folder
from officeops_cli.stack import address, start


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(demo)


class Diary:
    """What was done and how long it took."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, str, float]] = []
        self._began = time.monotonic()

    @contextmanager
    def step(self, title: str) -> Iterator[list[str]]:
        """Times the block; what it appends is the result that is shown."""
        console.err.print(f"[bold]… {title}[/]")
        began, said = time.monotonic(), list[str]()
        yield said
        self._rows.append((title, " ".join(said), time.monotonic() - began))

    def show(self) -> None:
        """The table at the end."""
        from rich.table import Table

        table = Table(title="What was done", title_justify="left")
        table.add_column("step")
        table.add_column("result", overflow="fold")
        table.add_column("took", justify="right", no_wrap=True)
        for title, result, seconds in self._rows:
            table.add_row(title, result, console.duration(seconds))
        table.add_section()
        table.add_row("everything", "", console.duration(time.monotonic() - self._began))
        console.out.print(table)


def demo(folder: Folder = None) -> None:
    """An office with three years of data; its nightly backup; a restore drill; a table dropped on purpose, and restored."""
    ensure_env(find_folder(folder), {"OFFICEOPS_DEMO": "true"})
    site, diary = open_site(folder), Diary()
    with diary.step("start the stack and Prefect") as said:
        release = start(site, "HEAD", with_control_plane=True).release
        said.append(f"{len(site.config.runbook.services)} services healthy, release {short(release.sha)}")
    with diary.step("load an office") as said:
        loaded = json.loads(site.stack.seed(release))["loaded"]
        said.append(", ".join(f"{count:,} {table}" for table, count in loaded.items()) or "it was there already")
    from officeops_cli.runs import recorded

    with recorded(site.config, offline=False):
        where = _first_night(site, diary)
    diary.show()
    _show_addresses(site, where)


def _first_night(site: Site, diary: Diary) -> str:
    """The runbook's flows, in this process, recorded on the server. Returns the backup's id."""
    from flows.backup import BackupOptions, nightly_backup
    from flows.restore import DrillOptions, RestoreOptions, restore, restore_drill
    from officeops.postgres.connect import connected

    with diary.step("nightly backup") as said:
        report = nightly_backup(BackupOptions(wait_minutes=0))
        manifest = report.manifest
        said.append(
            f"{manifest.id}: {console.size(manifest.size)}, {len(manifest.fingerprint.tables)} tables fingerprinted, every object read back"
        )
    with diary.step("restore drill") as said:
        drilled = restore_drill(DrillOptions(backup=manifest.id, wait_minutes=0))
        said.append(f"{sum(check.rows for check in drilled.tables.values()):,} rows restored, fingerprints equal, indexes sound")
    with diary.step("accident: DROP TABLE messages") as said:
        with connected(site.stack.database(), application="officeops demo") as connection:
            connection.execute("DROP TABLE public.messages CASCADE")
        said.append("the chat is broken now")
    with diary.step("restore beside the live database, swap") as said:
        restored = restore(RestoreOptions(backup=manifest.id, wait_minutes=0))
        said.append(
            f"fingerprints equal, {restored.tables['public.messages'].rows:,} messages are back; the broken one is kept as {restored.previous}"
        )
    return manifest.id


def _show_addresses(site: Site, backup: str) -> None:
    from deployments.control_plane import ui_url
    from officeops.backups.catalogue import find

    settings = site.config.settings
    entry = find(site, backup)
    key = next(stored["key"] for name, stored in entry.copies[0].manifest["objects"].items() if name == "database")
    console.out.print(f"\nThe backup     {entry.copies[0].target}/{key}", soft_wrap=True)
    console.out.print(f"The application {address(site)}   (log in as demo, {settings.demo_password.get_secret_value()})", soft_wrap=True)
    console.out.print(f"Prefect         {ui_url(settings)}   (authentication string: officeops ui)", soft_wrap=True)
    console.out.print("\nNext: officeops status · officeops backups · officeops restore --undo · make down", soft_wrap=True)
