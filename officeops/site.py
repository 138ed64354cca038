"""Everything that an operation needs, put together once: configuration, stack, ledger, targets, clock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from officeops.clock import Clock, utc_now
from officeops.config import Config, load
from officeops.lock import stack_lock

if TYPE_CHECKING:
    from officeops.ledger import Ledger
    from officeops.stack import Stack
    from officeops.store import Store


@dataclass(frozen=True)
class Site:
    """One stack on one host, with all that belongs to it. Parts are made when first asked for."""

    config: Config
    clock: Clock = utc_now

    @cached_property
    def stack(self) -> Stack:
        """Where the application runs."""
        from officeops.stack import open_stack

        return open_stack(self.config)

    @cached_property
    def ledger(self) -> Ledger:
        """What was done."""
        from officeops.ledger import Ledger

        url = self.config.settings.ledger_url
        return Ledger.open(self.home, self.name, url.get_secret_value() if url else None, clock=self.clock)

    @cached_property
    def targets(self) -> dict[str, Store]:
        """Where backups go, by name, in the order of BACKUP_TARGETS."""
        from officeops.store import open_store

        stores = [open_store(url, self.config.settings) for url in self.config.settings.backup_targets]
        return {store.name: store for store in stores}

    @property
    def home(self) -> Path:
        """OFFICEOPS_HOME."""
        return self.config.settings.officeops_home

    @property
    def name(self) -> str:
        """The stack's name."""
        return self.config.runbook.stack

    @contextmanager
    def locked(self, doing: str, *, wait_s: float = 0.0) -> Iterator[None]:
        """Holds the stack's lock for the block. Raises LockedError when somebody else has it for longer than `wait_s` seconds."""
        with stack_lock(self.home, self.name, doing, wait_s=wait_s, clock=self.clock):
            yield


def open_site(folder: Path | None = None) -> Site:
    """The site whose runbook.yaml is in `folder` (default: found from here). Raises ConfigurationError with every problem at once."""
    return Site(load(folder))
