"""`officeops demo` on the Compose stack, recorded: up, load, backup to a folder and to an S3 API, drill, a table dropped, restored.

    python benchmarks/first_night.py > docs/first-night.md

A throw-away site on a Docker Engine with the tests' stand-in images (`python -m tests.engine up`), its control plane with it, and an S3 API
on loopback. What the commands print is the page.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from officeops.process import Command, run
from officeops.site import Site
from tests.support.engine import Engine, found_engine
from tests.support.paths import open_folder
from tests.support.s3 import KEYS, running_s3
from tests.support.stack import make_repository, make_stack_site, remove_project

PROJECT = Path(__file__).resolve().parent.parent
WIDTH = "150"
HEAD = """# The first night on Docker Compose, recorded

Made by `python benchmarks/first_night.py > docs/first-night.md`; every figure is as it was printed.
{cores} cores, {memory} GB of memory, Docker Engine {engine}, images built from Debian's packages with the official ones' interface.
"""


@contextmanager
def throw_away_site(engine: Engine, endpoint: str, bucket: str) -> Iterator[Site]:
    """On Compose, with two targets for its backups; nothing of it is left after the block."""
    name = f"office_{uuid4().hex[:8]}"

    def edit(runbook: str) -> str:
        return runbook.replace('"300"', '"50000"').replace("stack: smartoffice_ai", f"stack: {name}")

    with open_folder() as folder:
        targets = f"file:backups s3://{bucket}/backups?endpoint={endpoint}"
        env = {**engine.env, **KEYS, "BACKUP_TARGETS": targets, "OFFICEOPS_STACK": "compose", "OFFICEOPS_DEMO": "true"}
        site = make_stack_site(folder / "site", make_repository(folder), edit=edit, **env)
        try:
            yield site
        finally:
            officeops(site, "down")
            remove_project(site)


def officeops(site: Site, *arguments: str) -> str:
    """The command, in the site's folder: what it prints on stdout. What it says meanwhile goes to ours."""
    environment = {"PYTHONPATH": str(PROJECT), "COLUMNS": WIDTH}
    command = Command((sys.executable, "-m", "officeops_cli.main", *arguments), environment, cwd=site.config.folder)
    done = run(command, timeout=900)
    print(done.stderr, file=sys.stderr, end="")
    shown = done.stdout.decode().replace(str(site.config.folder), "…")
    return "\n".join(line.rstrip() for line in shown.rstrip().splitlines())


def block(site: Site, *arguments: str) -> str:
    """A command and what it printed, in Markdown."""
    return f"```console\n$ officeops {' '.join(arguments)}\n{officeops(site, *arguments)}\n```"


def main() -> int:
    """The page on stdout."""
    for engine in found_engine():
        with running_s3() as s3, throw_away_site(engine, s3.url, s3.new_bucket()) as site:
            blocks = [block(site, "demo"), block(site, "status", "--usage"), block(site, "backups")]
        memory = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9)
        version = engine.client().version()["Version"]
        head = HEAD.format(cores=os.cpu_count(), memory=memory, engine=f"{version} on {platform.system()} {platform.machine()}")
        print(head, *blocks, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
