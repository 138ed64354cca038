"""Archiving against what it replaces, in one run, on tables made for it: one big DELETE, and COPY to CSV.gz plus that DELETE.

    python benchmarks/archive.py [--rows 2000000] [--json]

Three tables: conversations, their messages, and feedback to conversations; half of them old. The old ones are archived: exported, stored with
fsync, read back from the target, loaded into the database and compared row by row, removed in short transactions, VACUUM. Meanwhile a client
inserts and updates young rows, whose times are compared with those of the same client when nothing else runs, before and after. Memory is the
peak of the archive's own process. The two others get databases that are copies of the first.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rich.console import Console
from rich.table import Table

from benchmarks.checks import Check, at_least, at_most, print_json, print_verdicts, status
from officeops.postgres import databases
from officeops.postgres.connect import connected
from officeops.site import Site, open_site
from officeops.stack.port import DatabaseAddress
from tests.support.archives import proven, runbook
from tests.support.paths import open_folder
from tests.support.postgres import Running, running_postgres
from tests.support.site import make_site

POLICY = (
    "{name: conversations, table: conversations, children: [messages, feedback], age_column: created_at, older_than_days: 730,"
    " grace_days: 0, batch_size: 50000}"
)
MAKE = """
CREATE TABLE public.conversations (id bigint PRIMARY KEY, user_id bigint, title text, created_at timestamptz);
CREATE TABLE public.messages (id bigint PRIMARY KEY, conversation_id bigint, role text, content text, created_at timestamptz);
CREATE TABLE public.feedback (id bigint PRIMARY KEY, conversation_id bigint, score int, said jsonb, created_at timestamptz);
INSERT INTO public.conversations SELECT n, n % 99, 'conversation ' || n, now() - CASE WHEN n <= {old} THEN interval '900 days' ELSE interval '9 days' END
    FROM generate_series(1, {all}) AS n;
INSERT INTO public.messages SELECT n, 1 + (n - 1) / 14, CASE n % 2 WHEN 0 THEN 'user' ELSE 'assistant' END,
    md5(n::text) || ' 会議室 ' || repeat(md5((n * 7)::text), 1 + n::int % 5), now() - interval '900 days' FROM generate_series(1, {all}::bigint * 14) AS n;
INSERT INTO public.feedback SELECT n, 1 + (n - 1) / 5, n % 5, jsonb_build_object('score', n % 5, 'why', md5(n::text)), now() - interval '900 days'
    FROM generate_series(1, {all}::bigint * 5) AS n;
CREATE INDEX ON public.messages (conversation_id, created_at);
CREATE INDEX ON public.feedback (conversation_id);
ALTER TABLE public.messages ADD FOREIGN KEY (conversation_id) REFERENCES public.conversations ON DELETE CASCADE;
ALTER TABLE public.feedback ADD FOREIGN KEY (conversation_id) REFERENCES public.conversations ON DELETE CASCADE;
"""
PARTS = ("export", "verify", "delete", "vacuum")
EACH = 20  # rows of a conversation: itself, 14 messages, 5 of feedback


def make_office(server: Running, name: str, rows: int) -> None:
    """Twice as many rows as are archived."""
    with databases.maintenance(server.address(), application="benchmark") as connection:
        databases.create_like(connection, name, None)
    old = rows // EACH
    with connected(server.address(name), application="benchmark") as connection:
        for statement in MAKE.format(old=old, all=2 * old).split(";\n"):
            if statement.strip():
                connection.execute(statement.encode())
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


@dataclass
class Client:
    """Inserts and updates rows that nobody archives, about 100 times a second."""

    address: DatabaseAddress
    first: int
    _next: int = 1 << 40

    @contextmanager
    def working(self) -> Iterator[Times]:
        """For the block; its times."""
        stop, times = threading.Event(), Times()
        thread = threading.Thread(target=self._work, args=(stop, times))
        thread.start()
        try:
            yield times
        finally:
            stop.set()
            thread.join()

    def _work(self, stop: threading.Event, times: Times) -> None:
        chance = random.Random(1)
        with connected(self.address, application="a client") as connection:
            while not stop.wait(0.01):
                conversation = self.first + 1 + chance.randrange(self.first - 1)
                self._next += 1
                began = time.perf_counter()
                with connection.transaction():
                    connection.execute(
                        "INSERT INTO public.messages VALUES (%s, %s, 'user', 'another one', now())", (self._next, conversation)
                    )
                    connection.execute("UPDATE public.conversations SET title = title || '.' WHERE id = %s", (conversation,))
                times.append((began, time.perf_counter() - began))


class Times(list[tuple[float, float]]):
    """When each commit was begun, by the monotonic clock, which all processes share, and the seconds that it took."""

    def percentile(self, share: float = 0.99) -> float:
        """The time that `share` of them do not exceed, in milliseconds."""
        return sorted(seconds for _, seconds in self)[min(len(self) - 1, int(len(self) * share))] * 1000 if self else 0.0

    def within(self, spans: list[list[float]]) -> Times:
        """Those that were begun in one of these."""
        return Times(one for one in self if any(begin <= one[0] <= end for begin, end in spans))


def archive_in_child(folder: Path) -> dict[str, Any]:
    """The whole cycle in a process of its own, as a run has it."""
    code = f"import benchmarks.archive as b; b.archive({str(folder)!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).resolve().parent.parent, stdout=subprocess.PIPE, check=True, text=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(found, dict)
    return found


def archive(folder: str) -> None:
    """For `archive_in_child`, in its process: seconds of each part, the longest transaction, the peak of memory."""
    from officeops.archive import pace
    from officeops.archive.batch import Batch

    site = open_site(Path(folder))
    pace.give_way()
    proven(site)
    longest, took = [0.0], pace.Pace.took

    def noted(self: pace.Pace, seconds: float, rows: int) -> None:
        longest[0] = max(longest[0], seconds)
        took(self, seconds, rows)

    pace.Pace.took = noted  # type: ignore[method-assign]
    spans: dict[str, list[tuple[float, float]]] = {part: [] for part in PARTS}
    rows, batches = 0, []

    def timed(part: str, verb: Callable[[], object]) -> object:
        began = time.perf_counter()
        result = verb()
        spans[part].append((began, time.perf_counter()))
        return result

    began = time.perf_counter()
    (policy,) = site.config.runbook.archives
    while timed("export", (batch := Batch.begin(site, policy)).export):
        timed("verify", batch.verify)
        batches.append(batch)
    for batch in batches:
        rows += batch.record.contents.rows
        timed("delete", batch.delete)
    cycle = time.perf_counter() - began
    for batch in batches[-1:]:
        timed("vacuum", batch.give_back)
    peak = next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    size = sum(batch.record.contents.bytes for batch in batches)
    seconds = {part: sum(end - begin for begin, end in found) for part, found in spans.items()}
    print(
        json.dumps(
            {
                **seconds,
                "spans": spans,
                "cycle": cycle,
                "rows": rows,
                "longest_ms": longest[0] * 1000,
                "peak_mib": peak / 1024,
                "bytes": size,
            }
        )
    )


def one_delete(address: DatabaseAddress) -> float:
    """As people do it: the cascade takes the rest. Seconds."""
    with connected(address, application="benchmark") as connection:
        began = time.perf_counter()
        connection.execute("DELETE FROM public.conversations WHERE created_at < now() - interval '730 days'")
        return time.perf_counter() - began


def copy_out(address: DatabaseAddress, folder: Path) -> tuple[float, int]:
    """Each table's old rows to CSV.gz, one after the other; seconds and bytes."""
    old = "SELECT id FROM public.conversations WHERE created_at < now() - interval '730 days'"
    queries = {
        "conversations": "SELECT * FROM public.conversations WHERE created_at < now() - interval '730 days'",
        "messages": f"SELECT * FROM public.messages WHERE conversation_id IN ({old})",
        "feedback": f"SELECT * FROM public.feedback WHERE conversation_id IN ({old})",
    }
    began, size = time.perf_counter(), 0
    with connected(address, application="benchmark") as connection, connection.cursor() as cursor:
        for name, query in queries.items():
            path = folder / f"{name}.csv.gz"
            with gzip.open(path, "wb", compresslevel=6) as file, cursor.copy(f"COPY ({query}) TO STDOUT (FORMAT csv)".encode()) as copy:
                for row in copy:
                    file.write(row)
            size += path.stat().st_size
    return time.perf_counter() - began, size


def measure(rows: int, say: Callable[[str], None]) -> dict[str, object]:
    """All figures."""
    with running_postgres(durable=True) as server, open_folder() as ours, open_folder() as theirs:
        say(f"making {2 * rows:,} rows, half of them old")
        make_office(server, "bench", rows)
        with databases.maintenance(server.address(), application="benchmark") as connection:
            for copy in ("bench_delete", "bench_copy"):
                connection.execute(f"CREATE DATABASE {copy} TEMPLATE bench".encode())
            # As on a server that has run for a while: there are files of the write-ahead log to be used again. Making a new one stops everybody.
            connection.execute("CHECKPOINT")
        site: Site = make_site(ours, server, "bench", runbook(POLICY))
        figures: dict[str, object] = {"rows": rows}
        first = rows // EACH
        clients = {name: Client(server.address(name), first) for name in ("bench", "bench_delete", "bench_copy")}
        say("the client alone")
        with clients["bench"].working() as before:
            time.sleep(10)
        say("archiving")
        with clients["bench"].working() as during:
            ours_figures = archive_in_child(site.config.folder)
        with clients["bench"].working() as after:
            time.sleep(10)
        say("one big DELETE")
        with clients["bench_delete"].working() as delete_times:
            figures["delete_seconds"] = one_delete(server.address("bench_delete"))
        say("COPY to CSV.gz, then one big DELETE")
        with clients["bench_copy"].working() as copy_times:
            seconds, size = copy_out(server.address("bench_copy"), theirs)
            figures["copy_seconds"], figures["copy_bytes"] = seconds + one_delete(server.address("bench_copy")), size
        spans = ours_figures.pop("spans")
        alone = Times(before + after)
        figures["ours"] = ours_figures
        figures["p99_ms"] = {
            "alone": alone.percentile(), "archiving": during.percentile(), "one delete": delete_times.percentile(),
            "copy and delete": copy_times.percentile(), **{part: during.within(spans[part]).percentile() for part in PARTS},
        }  # fmt: skip
        figures["median_ms"] = {"alone": alone.percentile(0.5), "archiving": during.percentile(0.5)}
        return figures


def checks(figures: dict[str, object]) -> list[Check]:
    """The bounds that the figures have to keep."""
    ours, p99 = figures["ours"], figures["p99_ms"]
    assert isinstance(ours, dict)
    assert isinstance(p99, dict)
    return [
        at_least("rows exported", ours["rows"] / ours["export"], 100_000, "rows/s"),
        at_least("rows exported, read back, compared, removed", ours["rows"] / ours["cycle"], 40_000, "rows/s"),
        at_most("peak memory", ours["peak_mib"], 300, "MiB"),
        at_most("longest transaction that removes rows", ours["longest_ms"], 250, "ms"),
        at_most("p99 of concurrent writes, times that alone", p99["archiving"] / p99["alone"], 2),
    ]


def main() -> int:
    """Exit status 1 when a bound is not kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000, help="rows to archive")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    options = parser.parse_args()
    err = Console(stderr=True)
    figures = measure(options.rows, lambda text: err.print(f"… {text}"))
    found = checks(figures)
    if options.json:
        print_json(found, figures)
    else:
        show(figures, found)
    return status(found)


def show(figures: dict[str, object], found: list[Check]) -> None:
    """Two tables for people."""
    ours, p99 = figures["ours"], figures["p99_ms"]
    assert isinstance(ours, dict)
    assert isinstance(p99, dict)
    out, table = Console(), Table(title=f"{ours['rows']:,} rows out of the database", title_justify="left")
    for heading in ("what", "seconds", "MB kept", "p99 of writes, ms"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    table.add_row("ours, all of it", f"{ours['cycle']:.1f}", f"{ours['bytes'] / 1e6:.0f}", f"{p99['archiving']:.1f}")
    for part in PARTS:
        table.add_row(f"  {part}", f"{ours[part]:.1f}", "", f"{p99[part]:.1f}")
    copied = float(str(figures["copy_seconds"]))
    table.add_row(
        "COPY to CSV.gz, one DELETE", f"{copied:.1f}", f"{int(str(figures['copy_bytes'])) / 1e6:.0f}", f"{p99['copy and delete']:.1f}"
    )
    table.add_row("one DELETE: nothing is kept", f"{float(str(figures['delete_seconds'])):.1f}", "0", f"{p99['one delete']:.1f}")
    table.add_row("the client alone", "", "", f"{p99['alone']:.1f}")
    out.print(table)
    print_verdicts(found)


if __name__ == "__main__":
    sys.exit(main())
