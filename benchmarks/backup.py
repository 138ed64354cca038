"""Backup and restore against the runbook's own pipelines, in one run, on a database made for it.

    python benchmarks/backup.py [--size 500] [--runs 3] [--json]

The seed's way: `pg_dump | gzip > file` and `gunzip -c file | psql`. The floor: `pg_dump` into a plain file. Ours: one snapshot; dump, globals and
fingerprints at once; zstd, SHA-256, fsync; every object read back; the manifest. Times are medians of runs in turn (seed, floor, ours, ...), so
that a machine whose speed drifts treats all alike. Memory is the peak of this program's process, measured in a process of its own.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import pyrage
from rich.console import Console
from rich.table import Table

from benchmarks.checks import Check, at_least, at_most, print_json, print_verdicts, status
from officeops.backups.backup import Backup
from officeops.postgres import databases
from officeops.postgres.connect import connected
from officeops.restores.beside import Beside
from officeops.site import Site, open_site
from tasks.restores import find_backup
from tests.support.paths import open_folder
from tests.support.postgres import Running, running_postgres
from tests.support.site import make_site

TABLES = {
    "messages": (
        """CREATE TABLE messages (id bigint PRIMARY KEY, conversation_id bigint, author text, body text, created_at timestamptz);
           CREATE INDEX ON messages (conversation_id, created_at)""",
        """SELECT n, n / 7, 'user' || n % 997,
                  (SELECT string_agg((ARRAY['会議室', 'meeting', 'room', '予約', 'the', 'air', 'temperature', 'is', 'です', 'please', 'tomorrow', 'report'])
                                     [1 + (hashint8(n * 31 + k) & 2147483647) % 12] || CASE WHEN k % 3 = 0 THEN md5((n * k)::text) ELSE '' END, ' ')
                   FROM generate_series(1, 14 + (n % 5)::int) AS k),
                  timestamptz '2024-01-01' + n * interval '70 seconds'""",
        0.5,
        396,
    ),
    "readings": (
        """CREATE TABLE readings (id bigint PRIMARY KEY, room_id int, temperature numeric(5, 2), humidity real, co2 int, at timestamptz);
           CREATE INDEX ON readings (room_id, at)""",
        """SELECT n, n % 40, 18 + (hashint8(n) & 1023) / 100.0, 30 + (hashint8(n * 3) & 8191) / 200.0, 400 + (hashint8(n * 7) & 1023),
                  timestamptz '2024-01-01' + n * interval '10 seconds'""",
        0.25,
        123,
    ),
    "audit_log": (
        """CREATE TABLE audit_log (id bigint PRIMARY KEY, actor text, action text, detail jsonb, at timestamptz);
           CREATE INDEX ON audit_log (at)""",
        """SELECT n, 'user' || n % 997, (ARRAY['login', 'read', 'write', 'delete'])[1 + n % 4],
                  jsonb_build_object('address', '10.0.' || n % 250 || '.' || n % 199, 'request', md5(n::text), 'status', 200 + n % 5),
                  timestamptz '2024-01-01' + n * interval '30 seconds'""",
        0.25,
        211,
    ),
}  # name: definition, rows, share of the size, bytes a row with its indexes (measured)


def make_office(server: Running, name: str, megabytes: int) -> None:
    """A database of about `megabytes`: what an office writes, measures and audits."""
    with databases.maintenance(server.address(), application="benchmark") as connection:
        databases.create_like(connection, name, None)
    with connected(server.address(name), application="benchmark") as connection:
        connection.execute("SET search_path TO public, pg_catalog")
        for definition, rows, share, row_bytes in TABLES.values():
            connection.execute(definition.encode())
            table = definition.split()[2]
            count = int(megabytes * 1e6 * share / row_bytes)
            connection.execute(f"INSERT INTO {table} {rows} FROM generate_series(1, {count}) AS n".encode())
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


def shell(site: Site, line: str) -> float:
    """Runs a pipeline as the runbook does; seconds."""
    command = site.stack.tool(["psql"])
    environment = {**command.environment(), "PATH": f"{Path(command.argv[0]).parent}:{os.environ['PATH']}"}
    began = time.perf_counter()
    subprocess.run(["bash", "-o", "pipefail", "-c", line], env=environment, check=True)
    return time.perf_counter() - began


def back_up(site: Site) -> tuple[float, str, int]:
    """The flow's steps with its concurrency; seconds, id and bytes."""
    began = time.perf_counter()
    with Backup.begin(site) as backup:
        backup.snapshot()
        with ThreadPoolExecutor(3) as pool:
            for future in [pool.submit(verb) for verb in (backup.dump, backup.dump_globals, backup.fingerprint)]:
                future.result()
        for target in backup.complete_targets():
            backup.verify(target)
            backup.publish(target)
        report = backup.report()
    return time.perf_counter() - began, report.manifest.id, report.manifest.size


@contextmanager
def beside(site: Site, backup: str) -> Iterator[Beside]:
    """A restore into a database of its own, dropped after the block."""
    operation = f"benchmark-{time.time_ns()}"
    site.ledger.begin("benchmark", operation)
    source = find_backup(site, backup, target=None, identity=site.config.settings.backup_age_identity_file)
    restored = Beside(site, source, "bench_new", operation=operation)
    try:
        yield restored
    finally:
        restored.close()
        restored.drop()


def restore(site: Site, backup: str) -> tuple[float, float]:
    """Seconds until the data is there, checked to the last byte of the dump; and until its fingerprints were compared too."""
    with beside(site, backup) as restored:
        began = time.perf_counter()
        restored.check()
        restored.fetch()
        restored.load()
        loaded = time.perf_counter() - began
        restored.compare()
        return loaded, time.perf_counter() - began


def restore_as_the_seed(site: Site, dump: Path) -> float:
    """gunzip | psql into a new database, which is made in that time as it is in ours; seconds."""
    with databases.maintenance(site.stack.database(), application="benchmark") as connection:
        began = time.perf_counter()
        databases.create_like(connection, "bench_seed", None)
        shell(site, f"gunzip -c {dump} | psql -X -q -v ON_ERROR_STOP=1 -o /dev/null -d bench_seed")
        seconds = time.perf_counter() - began
        databases.drop(connection, "bench_seed")
    return seconds


def peak_memory(folder: Path) -> int:
    """MiB that a backup takes in a process of its own at its peak."""
    code = f"import benchmarks.backup as b; b.print_peak({str(folder)!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).resolve().parent.parent, capture_output=True, check=True, text=True
    )
    return int(done.stdout.split()[-1])


def print_peak(folder: str) -> None:
    """For `peak_memory`, in its process."""
    back_up(open_site(Path(folder)))
    # Not ru_maxrss: a new process inherits that from the one that started it.
    print(next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")) // 1024)


def measure(size: int, runs: int, say: Callable[[str], None]) -> dict[str, object]:
    """All figures: seconds (medians), bytes, MiB."""
    with running_postgres(durable=True) as server, open_folder() as plain, open_folder() as secret, open_folder() as big:
        say(f"making a database of about {size} MB")
        make_office(server, "bench", size)
        site = make_site(plain, server, "bench")
        identity = pyrage.x25519.Identity.generate()
        (secret / "key").write_text(str(identity))
        encrypted = make_site(secret, server, "bench", BACKUP_AGE_RECIPIENTS=str(identity.to_public()), BACKUP_AGE_IDENTITY_FILE="key")
        times: dict[str, list[float]] = {
            name: [] for name in ("seed", "floor", "ours", "encrypted", "seed_restore", "restore", "restore_compared")
        }
        dump = plain / "seed.sql.gz"
        for turn in range(1, runs + 1):
            say(f"backups, turn {turn} of {runs}")
            times["seed"].append(shell(site, f"pg_dump -d bench | gzip > {dump}"))
            times["floor"].append(shell(site, f"pg_dump -d bench > {plain}/floor.sql"))
            seconds, made, ours = back_up(site)
            times["ours"].append(seconds)
            times["encrypted"].append(back_up(encrypted)[0])
        for turn in range(1, runs + 1):
            say(f"restores, turn {turn} of {runs}")
            times["seed_restore"].append(restore_as_the_seed(site, dump))
            loaded, compared = restore(site, made)
            times["restore"].append(loaded)
            times["restore_compared"].append(compared)
        say("peak memory")
        small_peak = peak_memory(plain)
        with connected(server.address("bench"), application="benchmark") as connection:
            row = connection.execute("SELECT pg_database_size('bench')").fetchone()
        say(f"making a database of about {4 * size} MB for the memory")
        make_office(server, "bench_big", 4 * size)
        make_site(big, server, "bench_big")
        return {
            "seconds": {name: statistics.median(values) for name, values in times.items()},
            "all_seconds": times,
            "database_bytes": row[0] if row else 0,
            "seed_bytes": dump.stat().st_size,
            "our_bytes": ours,
            "peak_mib": {str(size): small_peak, str(4 * size): peak_memory(big)},
        }


def checks(figures: dict[str, object]) -> list[Check]:
    """The bounds that the figures have to keep."""
    seconds, peaks = figures["seconds"], figures["peak_mib"]
    assert isinstance(seconds, dict)
    assert isinstance(peaks, dict)
    small, large = peaks.values()

    return [
        at_least("backup, times as fast as pg_dump | gzip", seconds["seed"] / seconds["ours"], 4),
        at_least("encrypted backup, times as fast as pg_dump | gzip", seconds["seed"] / seconds["encrypted"], 3.5),
        at_most("backup, times bare pg_dump", seconds["ours"] / seconds["floor"], 1.8),
        at_most("encrypted backup, times bare pg_dump", seconds["encrypted"] / seconds["floor"], 2.2),
        at_most("size, times pg_dump | gzip", int(str(figures["our_bytes"])) / int(str(figures["seed_bytes"])), 1),
        at_least("restore, times as fast as gunzip | psql", seconds["seed_restore"] / seconds["restore"], 1.5),
        at_most("peak memory", large, 200, "MiB"),
        at_most("peak memory at four times the size, times that at the size", large / small, 1.1),
    ]


def main() -> int:
    """Exit status 1 when a bound is not kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=500, help="MB of database")
    parser.add_argument("--runs", type=int, default=3, help="turns; the median counts")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    options = parser.parse_args()
    err = Console(stderr=True)
    figures = measure(options.size, options.runs, lambda text: err.print(f"… {text}"))
    found = checks(figures)
    if options.json:
        print_json(found, figures)
    else:
        show(figures, found)
    return status(found)


def show(figures: dict[str, object], found: list[Check]) -> None:
    """Two tables for people."""
    out, seconds = Console(), figures["seconds"]
    assert isinstance(seconds, dict)
    names = {
        "seed": "pg_dump | gzip", "floor": "pg_dump alone, plain file", "ours": "ours: fingerprinted, checksummed, read back", "encrypted": "the same, encrypted",
        "seed_restore": "gunzip | psql", "restore": "our restore, dump checked", "restore_compared": "our restore, fingerprints compared",
    }  # fmt: skip
    table = Table(title=f"A database of {int(str(figures['database_bytes'])) / 1e6:.0f} MB, medians", title_justify="left")
    table.add_column("what")
    table.add_column("seconds", justify="right")
    for key, name in names.items():
        table.add_row(name, f"{seconds[key]:.2f}")
    out.print(table)
    out.print(
        f"bytes: {figures['seed_bytes']} (pg_dump | gzip), {figures['our_bytes']} (ours); peak memory in MiB by MB of database: {figures['peak_mib']}"
    )
    print_verdicts(found)


if __name__ == "__main__":
    sys.exit(main())
