"""Archives and brings back in a process that is killed, as by `kill -9`, some milliseconds after a chosen statement or upload.

The processes are forked from one that has everything imported and no thread; it takes lines of JSON and answers with how that process ended
and at how many moments it could have been killed.
"""

from __future__ import annotations

import faulthandler
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.csv  # imported before the fork, so that no process pays for it
import pyarrow.parquet  # noqa: F401

from officeops.archive import pace
from officeops.archive.batch import Batch
from officeops.archive.returning import Return
from officeops.site import Site, open_site
from officeops.store.file import FileStore
from tests.support.site import PROJECT

_LONGEST_S = 120  # a process that takes longer hangs, and says where
Killed = Callable[[str, int], tuple[bool, int]]


def archive(site: Site, _batch: str) -> None:
    """As the flow does."""
    with site.locked("archive"):
        batches = Batch.pending(site)
        for batch in batches:
            if batch.record.state == "exported":
                batch.verify()
        for policy in site.config.runbook.archives:
            while (batch := Batch.begin(site, policy)).export():
                batch.verify()
                batches.append(batch)
        for batch in batches:
            batch.delete()


def bring_back(site: Site, batch: str) -> None:
    """As the flow does."""
    with site.locked("unarchive"):
        Return(site, batch).run()


@contextmanager
def killer(folder: Path) -> Iterator[Killed]:
    """`killed(batch, moment)`: archives, or brings that batch back when one is named, and is killed at that moment (-1: never). Says whether
    it was killed before its end, and how many moments it had if it was not."""
    argv = [sys.executable, "-m", "tests.support.killing_archives", str(folder)]
    with subprocess.Popen(
        argv, env={**os.environ, "PYTHONPATH": str(PROJECT)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        asked, answers = parent.stdin, parent.stdout

        def killed(batch: str, moment: int) -> tuple[bool, int]:
            asked.write(json.dumps([batch, moment]) + "\n")
            asked.flush()
            status, moments = json.loads(answers.readline())
            assert status in (0, -signal.SIGKILL), "it failed by itself"
            return status != 0, moments

        yield killed
        asked.close()


def main() -> None:
    """The process that others are forked from."""
    for name in ("MOST_ROWS", "_FIRST_ROWS", "_LEAST_ROWS"):
        setattr(pace, name, 60)  # many transactions of few rows
    pace._REST = 0.0
    for line in sys.stdin:
        batch, moment = json.loads(line)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            faulthandler.dump_traceback_later(_LONGEST_S, exit=True)
            moments = _count(moment)
            (bring_back if batch else archive)(open_site(Path(sys.argv[1])), batch)
            os.write(writer, str(moments[0]).encode())
            os._exit(0)
        os.close(writer)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        with os.fdopen(reader) as told:
            print(json.dumps([status, int(told.read() or 0)]), flush=True)


def _count(moment: int) -> list[int]:
    """Counts statements and uploads; at the moment somebody begins to count milliseconds."""
    seen = [0]

    def die() -> None:
        time.sleep(random.random() * 0.01)
        os.kill(os.getpid(), signal.SIGKILL)

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if seen[0] == moment:
                threading.Thread(target=die, daemon=True).start()
            seen[0] += 1
            return function(*arguments, **named)

        return call

    for place, names in ((psycopg.Connection, ("execute",)), (FileStore, ("put", "create", "delete", "open"))):
        for name in names:
            setattr(place, name, counted(getattr(place, name)))
    return seen


if __name__ == "__main__":
    main()
