"""Collecting logs against what it replaces, in one run: `cat LOG | gzip`, and `docker logs | gzip` where there is an engine.

    python benchmarks/logs.py [--megabytes 500] [--docker] [--json]

The embedded stack: access lines with quotes, times in every line, some tracebacks. Every line gets its time, is escaped, compressed with zstd and
hashed; the cursor is in the ledger at the end. Seconds are of one core (user and system time), since others may use this machine as well; memory
is the peak of the process. With --docker the same lines are printed by a container of the tests' engine, and read back from it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rich.console import Console
from rich.table import Table

from benchmarks.checks import Check, at_least, at_most, print_json, print_verdicts, status
from officeops.site import open_site
from tests.support.paths import open_folder
from tests.support.site import RUNBOOK

SERVICE = "caddy"
_BLOCK = 20_000


def make_log(path: Path, size: int) -> int:
    """A log of about `size` bytes; the number of its lines. Blocks of lines are written again with other seconds, so that it is made quickly."""
    chance, lines = random.Random(1), 0
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        while file.tell() < size:
            block = []
            for number in range(_BLOCK):
                at = f"2026-03-01 {lines // 36_000_000 % 24:02}:{lines // 600_000 % 60:02}:{lines // 10_000 % 60:02},{number % 1000:03}"
                if chance.random() < 0.001:
                    block.append(f'{at} ERROR app Traceback\n  File "main.py", line {number}\nValueError: 不正な値 {chance.random()}')
                    lines += 2
                else:
                    room, seconds = chance.randrange(5000), chance.random() * 30
                    block.append(f'{at} INFO app.access 10.0.3.{number % 250} "GET /api/v1/rooms/{room}/readings" 200 {seconds:.1f} ms')
                lines += 1
            file.write("\n".join(block) + "\n")
    return lines


def collect(folder: str) -> None:
    """For `in_child`: collects everything, and prints what it took."""
    from officeops.logs.collecting import collect as collect_all

    site = open_site(Path(folder))
    _ = site.ledger, site.stack
    before, began = time.process_time(), time.perf_counter()
    found = collect_all(site)
    cpu, wall = time.process_time() - before, time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    parts = found.parts
    figures = {
        "cpu_s": cpu, "wall_s": wall, "peak_mib": peak, "lines": sum(one.lines for one in parts),
        "text_bytes": sum(one.plain_bytes for one in parts), "bytes": sum(one.bytes for one in parts), "troubles": found.troubles,
    }  # fmt: skip
    print(json.dumps(figures))


def in_child(folder: Path, **env: str) -> dict[str, float]:
    """The figures of `collect` in a process of its own."""
    code = f"import benchmarks.logs as b; b.collect({str(folder)!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).resolve().parent.parent, stdout=subprocess.PIPE, check=True, text=True,
        env={**os.environ, **env},
    )  # fmt: skip
    found = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(found, dict)
    assert not found["troubles"], found["troubles"]
    return found


def piped(source: list[str], out: Path, env: dict[str, str] | None = None) -> dict[str, float]:
    """`source | gzip`, as people do it: CPU seconds of both, and bytes."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with out.open("wb") as file, subprocess.Popen(source, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env) as first:
        subprocess.run(["gzip"], stdin=first.stdout, stdout=file, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"cpu_s": cpu, "wall_s": time.perf_counter() - began, "bytes": out.stat().st_size}


def make_site(folder: Path, runbook: str = RUNBOOK, **env: str) -> None:
    """A configuration whose services are never started."""
    from officeops.settings.generate import ensure_env

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "runbook.yaml").write_text(runbook)
    (folder / ".env.example").write_text((Path(__file__).resolve().parent.parent / ".env.example").read_text())
    ensure_env(folder, {"BACKUP_TARGETS": "file:targets", **env})


def embedded(folder: Path, size: int) -> dict[str, object]:
    """The embedded stack, with a tenth of the log first: memory must not grow with it."""
    figures: dict[str, object] = {}
    for name, amount in (("tenth", size // 10), ("whole", size)):
        make_site(folder / name)
        site = open_site(folder / name)
        log = site.home / "stack" / "logs" / f"{SERVICE}.log"
        lines = make_log(log, amount)
        found = in_child(folder / name)
        assert found["lines"] == lines, f"{found['lines']} lines of {lines}"
        figures[name] = found
    figures["cat"] = piped(["cat", str(log)], folder / "cat.gz")
    return figures


def containers(folder: Path, size: int) -> dict[str, object]:
    """The same lines printed by a container."""
    from officeops.stack.compose.engine import COMPOSE_ONE_OFF, PROJECT
    from officeops.stack.compose.engine import SERVICE as LABEL
    from tests.support.engine import found_engine

    lines = make_log(folder / "printed" / "log", size)
    name = f"bench_logs_{os.getpid()}"
    labels = {PROJECT: name, LABEL: SERVICE, COMPOSE_ONE_OFF: "False"}
    with contextmanager(found_engine)() as engine, closing(engine.client()) as client:
        make_site(folder / "compose", RUNBOOK.replace("test_office", name), OFFICEOPS_STACK="compose", **engine.env)
        container = client.containers.run(
            engine.env["PYTHON_IMAGE"], ["cat", "/printed/log"], labels=labels, detach=True,
            volumes={str(folder / "printed"): {"bind": "/printed", "mode": "ro"}},
        )  # fmt: skip
        try:
            container.wait()
            found = in_child(folder / "compose")
            assert found["lines"] == lines, f"{found['lines']} lines of {lines}"
            theirs = piped(["docker", "logs", "--timestamps", str(container.id)], folder / "docker.gz")
        finally:
            container.remove(force=True)
    return {"collect": found, "docker": theirs}


def checks(figures: dict[str, dict[str, dict[str, float]]]) -> list[Check]:
    """The bounds that the figures have to keep."""
    local = figures["embedded"]
    whole, cat = local["whole"], local["cat"]
    rate = whole["text_bytes"] / 1e6 / whole["cpu_s"]
    return [
        at_least("log text collected per core", rate, 100, "MB/s"),
        at_most("peak memory", whole["peak_mib"], 150, "MiB"),
        at_most("peak memory, times that of a tenth of the log", whole["peak_mib"] / local["tenth"]["peak_mib"], 1.25),
        at_most("CPU time, times that of `cat | gzip`", whole["cpu_s"] / cat["cpu_s"], 1.5),
        at_most("size, times that of `cat | gzip`", whole["bytes"] / cat["bytes"], 1.5),
    ]


def measure(size: int, *, docker: bool, say: Callable[[str], None]) -> dict[str, dict[str, dict[str, float]]]:
    """All figures."""
    figures: dict[str, object] = {}
    with open_folder() as folder:
        say(f"embedded: {size / 1e6:.0f} MB of log")
        figures["embedded"] = embedded(folder, size)
        if docker:
            say(f"containers: {size / 1e7:.0f} MB of log")
            figures["containers"] = containers(folder, size // 10)
    return figures  # type: ignore[return-value]


def main() -> int:
    """Exit status 1 when a bound is not kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=500, help="size of the log")
    parser.add_argument("--docker", action="store_true", help="also a container's, a tenth of that, in the tests' engine")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    options = parser.parse_args()
    err = Console(stderr=True)
    figures = measure(options.megabytes * 1_000_000, docker=options.docker, say=lambda text: err.print(f"… {text}"))
    found = checks(figures)
    if options.json:
        print_json(found, figures)
    else:
        show(figures, found)
    return status(found)


def show(figures: dict[str, dict[str, dict[str, float]]], found: list[Check]) -> None:
    """Two tables for people."""
    out, table = Console(), Table(title="Logs out of the services", title_justify="left")
    for heading in ("what", "MB of text", "CPU s", "seconds", "MB/s of a core", "MB stored", "MiB of memory"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    text = 0.0
    rows = (("embedded", "tenth", "ours, a tenth"), ("embedded", "whole", "ours"), ("embedded", "cat", "cat | gzip"),
            ("containers", "collect", "ours, of a container"), ("containers", "docker", "docker logs | gzip"))  # fmt: skip
    for part, key, name in rows:
        if part in figures:
            one = figures[part][key]
            text = one.get("text_bytes", text)
            table.add_row(
                name, f"{text / 1e6:.0f}", f"{one['cpu_s']:.2f}", f"{one['wall_s']:.2f}", f"{text / 1e6 / one['cpu_s']:.0f}",
                f"{one['bytes'] / 1e6:.1f}", f"{one['peak_mib']:.0f}" if "peak_mib" in one else "",
            )  # fmt: skip
    out.print(table)
    print_verdicts(found)


if __name__ == "__main__":
    sys.exit(main())
