"""A fresh site to everything ready: `officeops up`, with the time of each part; then the same again, with nothing to do.

    python benchmarks/up.py [--json]

Ready means: the application is healthy behind Caddy, Prefect's server, database and worker run, and every deployment is there. Packages
come from the caches of this machine where it has them. "Prefect's" parts run beside the stack's, on the same processors.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rich.console import Console
from rich.table import Table

from benchmarks.checks import at_most, print_json, print_verdicts, status
from officeops.process import Command, run
from officeops.site import Site
from tests.support.paths import open_folder
from tests.support.stack import make_repository, make_stack_site

PROJECT = Path(__file__).resolve().parent.parent
BOUND_S = 45


def officeops(site: Site, *arguments: str) -> str:
    """The command, in the site's folder: what it prints."""
    command = Command((sys.executable, "-m", "officeops_cli.main", *arguments), {"PYTHONPATH": str(PROJECT)}, cwd=site.config.folder)
    return run(command, timeout=600).stdout.decode()


def measure() -> dict[str, Any]:
    """The first start and the second, as `officeops up --json` tells them."""
    with open_folder() as folder:
        site = make_stack_site(folder / "site", make_repository(folder))
        try:
            return {"fresh": json.loads(officeops(site, "up", "--json")), "again": json.loads(officeops(site, "up", "--json"))}
        finally:
            officeops(site, "down")


def show(found: dict[str, Any]) -> None:
    """A table for people."""
    table = Table(title="officeops up", title_justify="left")
    for heading in ("part", "fresh, s", "again, s"):
        table.add_column(heading, justify="left" if heading == "part" else "right")
    for part, seconds in found["fresh"]["parts"].items():
        table.add_row(part, f"{seconds:.1f}", f"{found['again']['parts'][part]:.1f}")
    table.add_section()
    table.add_row("everything", f"{found['fresh']['seconds']:.1f}", f"{found['again']['seconds']:.1f}")
    Console().print(table)


def main() -> int:
    """Measures, prints, and fails when a bound is not kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="Print one JSON object.")
    arguments = parser.parse_args()
    found = measure()
    checks = [at_most("fresh start to all deployments ready", found["fresh"]["seconds"], BOUND_S, "s")]
    checks.append(at_most("changes on the server by the second start", len(found["again"]["changes"]), 0, ""))
    if arguments.json:
        print_json(checks, found)
    else:
        show(found)
        print_verdicts(checks)
    return status(checks)


if __name__ == "__main__":
    sys.exit(main())
