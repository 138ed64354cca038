"""Does something with volumes or logs in a process that is killed, as by `kill -9`, at a chosen moment.

Moments are counted: each write of the journal, each change of a volume, each file of logs, before it happens and after. The processes are forked from one
that has everything imported and no thread; it takes lines of JSON, `[what, moment]`, and answers with how that process ended.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from officeops.ledger import Ledger
from officeops.logs.collecting import _File
from officeops.site import Site, open_site
from officeops.stack.local import stack as _imported  # noqa: F401 - before the fork, so that no process pays for it
from officeops.stack.local.volumes import LocalVolumes
from officeops.store.file import FileStore
from tests.support.site import PROJECT


def undo(site: Site) -> None:
    """As the flow does."""
    from officeops.restores.latest import undo_of_last
    from officeops.volumes.restore import VolumeUndo

    with undo_of_last(site) as run:
        assert isinstance(run, VolumeUndo)
        run.swap.stop_users()
        run.swap.swap()
        run.swap.start_users()
        run.finish()


VOLUMES = {
    "back up": "tests.support.volumes:back_up",
    "drill": "tests.support.volumes:drill",
    "restore": "tests.support.volumes:restore",
    "undo": f"{__name__}:undo",
}
DOINGS = {**VOLUMES, "export logs": "officeops.logs.storing:export_all", "merge logs": "officeops.logs.merging:merge"}
_JOURNAL = ((Ledger, ("begin", "advance", "end")), (LocalVolumes, ("create", "exchange", "remove", "import_")))
# Of logs: what is written, before and after.
_PLACES: dict[str, tuple[tuple[type, tuple[str, ...]], ...]] = {
    "export logs": ((Ledger, ("record_collected", "record_stored")), (FileStore, ("put",)), (_File, ("finish",))),
    "merge logs": (
        (Ledger, ("record_log_left_over", "record_merged", "forget_log_left_over")),
        (FileStore, ("put", "delete")),
    ),
}


@contextmanager
def killer(folder: Path, doings: Iterable[str] = VOLUMES) -> Iterator[Callable[[str, int], bool]]:
    """Kills what it is told to do, one of `doings`, at a moment; says whether it came to be killed before its end."""
    argv = [sys.executable, "-m", "tests.support.killing", str(folder), *doings]
    env = {**os.environ, "PYTHONPATH": str(PROJECT)}
    with subprocess.Popen(argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        asked, answers = parent.stdin, parent.stdout

        def killed(what: str, moment: int) -> bool:
            asked.write(json.dumps([what, moment]) + "\n")
            asked.flush()
            status = int(answers.readline())
            assert status in (0, -signal.SIGKILL), f"{what} failed by itself"
            return status != 0

        yield killed
        asked.close()


def main() -> None:
    """The process that others are forked from."""
    doings = {}
    for what in sys.argv[2:]:  # imported before the fork, so that no process pays for it
        module, _, name = DOINGS[what].partition(":")
        doings[what] = getattr(import_module(module), name)
    for line in sys.stdin:
        what, moment = json.loads(line)
        child = os.fork()
        if child == 0:
            _count(moment, _PLACES.get(what, _JOURNAL))
            doings[what](open_site(Path(sys.argv[1])))
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _count(moment: int, places: Sequence[tuple[type, Sequence[str]]]) -> None:
    left = [moment]

    def tick() -> None:
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            tick()
            result = function(*arguments, **named)
            tick()
            return result

        return call

    for place, names in places:
        for name in names:
            setattr(place, name, counted(getattr(place, name)))


if __name__ == "__main__":
    main()
