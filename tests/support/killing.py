"""Runs something with volumes in a process of its own, which is killed (as by `kill -9`) at a chosen moment.

    python -m tests.support.killing FOLDER WHAT MOMENT

Moments are counted: each write of the journal, and each change of a volume, before and after it happens.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from officeops.ledger import Ledger
from officeops.restores.latest import undo_of_last
from officeops.site import Site, open_site
from officeops.stack.local.volumes import LocalVolumes
from officeops.volumes.restore import VolumeUndo
from tests.support import volumes


def undo(site: Site) -> None:
    """As the flow does."""
    with undo_of_last(site) as run:
        assert isinstance(run, VolumeUndo)
        run.swap.stop_users()
        run.swap.swap()
        run.swap.start_users()
        run.finish()


DOINGS: dict[str, Callable[[Site], object]] = {
    "back up": volumes.back_up,
    "drill": volumes.drill,
    "restore": volumes.restore,
    "undo": undo,
}


def main() -> None:
    """Does it, up to the moment."""
    folder, what, moment = sys.argv[1:]
    left = [int(moment)]

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

    for place, names in ((Ledger, ("begin", "advance", "end")), (LocalVolumes, ("create", "exchange", "remove", "import_"))):
        for name in names:
            setattr(place, name, counted(getattr(place, name)))
    DOINGS[what](open_site(Path(folder)))


if __name__ == "__main__":
    main()
