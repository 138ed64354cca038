"""`officeops status` on a Compose stack of ten services against `docker compose ps` and `docker stats`, in one run.

    python benchmarks/status.py [--runs 7] [--json]

Needs a Docker Engine with the tests' stand-in images (`python -m tests.engine up`). The services are real servers; times are medians of
whole commands in turn, the start of the program included. What is replaced says state and health only; ours also asks each service itself,
the database for its size and revision, and the ledger for the last backup.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rich.console import Console
from rich.table import Table

from benchmarks.checks import at_most, print_json, print_verdicts, status
from officeops.process import Command, run
from officeops.site import Site, open_site
from officeops.stack.compose.stack import ComposeStack
from tests.support.engine import Engine, found_engine
from tests.support.paths import open_folder
from tests.support.stack import git, make_stack_site, remove_project

PROJECT = Path(__file__).resolve().parent.parent
OTHERS = [f"queue_{number}" for number in range(8)]  # with the database and the front door: ten
COMPOSE = """
x-queue: &queue {{image: {redis}, healthcheck: {{test: [CMD, redis-cli, ping], interval: 5s}}}}
services:
  postgres:
    image: {postgres}
    environment: {{POSTGRES_USER: "${{POSTGRES_USER}}", POSTGRES_PASSWORD: "${{POSTGRES_PASSWORD}}", POSTGRES_DB: "${{POSTGRES_DB}}"}}
    volumes: ["data:/var/lib/postgresql/data"]
  caddy: {{image: {caddy}, command: [caddy, respond, --listen, ":80", well]}}
{queues}
volumes: {{data: {{}}}}
"""
RUNBOOK = """
version: 1
stack: ten_services
title: Ten services
application: {{compose: {{}}}}
services:
  postgres: {{kind: postgres}}
  caddy: {{kind: caddy, stop_grace: 1}}
{others}
"""


@contextmanager
def ten_services(engine: Engine) -> Iterator[Site]:
    """A stack of ten services, up; gone after the block."""
    with open_folder() as folder:
        repository = folder / "application"
        repository.mkdir()
        images = {key.partition("_")[0].lower(): image for key, image in engine.env.items()}
        text = COMPOSE.format(**images, queues="\n".join(f"  {name}: *queue" for name in OTHERS))
        (repository / "docker-compose.yml").write_text(text)
        git(folder, "init", "--quiet", str(repository))
        git(repository, "add", ".")
        git(repository, "commit", "--quiet", "--message=Ten services")
        config = make_stack_site(folder / "site", repository, OFFICEOPS_STACK="compose", **engine.env).config
        others = "\n".join(f"  {name}: {{kind: other, stop_grace: 1}}" for name in OTHERS)
        (config.folder / "runbook.yaml").write_text(RUNBOOK.format(others=others))
        site = open_site(config.folder)
        try:
            site.stack.up(site.stack.build())
            yield site
        finally:
            site.stack.down()
            remove_project(site)


def measure(runs: int) -> dict[str, dict[str, float]]:
    """Medians in seconds by command."""
    for engine in found_engine():
        with ten_services(engine) as site:
            stack = site.stack
            assert isinstance(stack, ComposeStack)
            deployed = stack.deployed()
            assert deployed is not None
            ours = (sys.executable, "-m", "officeops_cli.main", "status", "--json")
            environment = {"PYTHONPATH": str(PROJECT), "OFFICEOPS_DIR": str(site.config.folder)}
            ways = {
                "officeops status": Command(ours, environment),
                "officeops status --usage": Command((*ours, "--usage"), environment),
                "docker compose ps": stack.project(deployed.sha).command("ps", "--format", "json"),
                "docker stats": Command(("docker", "stats", "--no-stream"), {"DOCKER_HOST": os.environ["DOCKER_HOST"]}),
            }
            taken: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(runs):
                for name, command in ways.items():
                    began = time.perf_counter()
                    run(command, timeout=60)
                    taken[name].append(time.perf_counter() - began)
            return {"seconds": {name: statistics.median(values) for name, values in taken.items()}}
    raise AssertionError("an engine is found, or the run is skipped")


def main() -> int:
    """Exit status 1 when the bound is not kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7, help="turns; the median counts")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    options = parser.parse_args()
    figures = measure(options.runs)
    found = [at_most("officeops status with 10 services", figures["seconds"]["officeops status"], 1.0, "s")]
    if options.json:
        print_json(found, figures)
        return status(found)
    table = Table(title="Ten services on Compose, medians", title_justify="left")
    table.add_column("command")
    table.add_column("seconds", justify="right")
    for name, seconds in figures["seconds"].items():
        table.add_row(name, f"{seconds:.2f}")
    Console().print(table)
    print_verdicts(found)
    return status(found)


if __name__ == "__main__":
    sys.exit(main())
