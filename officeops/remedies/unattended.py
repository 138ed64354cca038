"""Healing in a process of its own, for a watcher that has no Prefect: a remedy that hangs must not stop the rounds."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

from officeops.errors import OfficeOpsError
from officeops.process import Command, run

if TYPE_CHECKING:
    from officeops.site import Site

_LONGEST_S = 2 * 3600.0
_busy = threading.Lock()


def mend(site: Site, name: str) -> None:
    """Begins; the incident is in the ledger. One at a time: what is still wrong in the next round is due again."""
    if _busy.acquire(blocking=False):
        threading.Thread(target=_run, args=(site, name), name=f"heal {name}", daemon=True).start()


def _run(site: Site, name: str) -> None:
    argv = (sys.executable, "-m", "officeops_cli.main", "heal", name, "--unattended", "--dir", str(site.config.folder))
    try:
        run(Command(argv, {"OFFICEOPS_DIR": str(site.config.folder)}), timeout=_LONGEST_S, ok=(0, 1, 2, 3))
    except OfficeOpsError as error:
        print(f"healing {name} failed: {error}", file=sys.stderr, flush=True)
    finally:
        _busy.release()
