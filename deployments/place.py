"""Where runs go: the stack's work pool, and in it the queues of this host; what is known of the site."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.objects import WorkQueue
from prefect.exceptions import ObjectNotFound
from prefect.variables import Variable
from prefect.workers.process import ProcessWorker

from deployments.changes import Changes
from deployments.control_plane import notices_queue, pool_name
from officeops.config import Config
from officeops.host import host_name


def apply_place(client: SyncPrefectClient, config: Config, changes: Changes) -> None:
    """A pool of processes, and a queue for this host: one run at a time, since one run at a time may change the stack; the others wait
    where people see them. Messages have a queue of their own, or they would wait for the run that they tell of."""
    pool = pool_name(config.runbook.stack)
    exists = _pool(client, pool, changes)
    wanted = {
        host_name(config.settings): (1, f"What changes {config.runbook.stack} on this host: one run at a time."),
        notices_queue(config.settings): (None, f"Messages about {config.runbook.stack}: never behind a run."),
    }
    known = {queue.name: queue for queue in client.read_work_queues(work_pool_name=pool)} if exists else {}
    for name, (limit, description) in wanted.items():
        _queue(client, pool, known.get(name), changes, name=name, limit=limit, description=description)
    _variable(config, changes)


def _pool(client: SyncPrefectClient, name: str, changes: Changes) -> bool:
    """Returns whether it was there."""
    try:
        found = client.read_work_pool(name)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        description = "Processes of the workers beside the stack. How many run at once is each queue's matter."
        wanted = WorkPoolCreate(name=name, type="process", base_job_template=template, description=description)
        changes.make(f"work pool {name}", "created", lambda: client.create_work_pool(wanted))
        return False
    if found.concurrency_limit is not None:
        changes.make(
            f"work pool {name}",
            "without a limit of its own now",
            lambda: client.update_work_pool(name, WorkPoolUpdate(concurrency_limit=None)),
        )
    return True


def _queue(
    client: SyncPrefectClient, pool: str, known: WorkQueue | None, changes: Changes, *, name: str, limit: int | None, description: str
) -> None:
    if known is None:
        make: Callable[[], Any] = partial(
            client.create_work_queue, name=name, work_pool_name=pool, concurrency_limit=limit, description=description
        )
        changes.make(f"work queue {name}", f"created, limit {limit or 'none'}", make)
        return
    wanted = {"concurrency_limit": limit, "description": description}
    differing = {field: value for field, value in wanted.items() if getattr(known, field) != value}
    if differing:
        changes.make(f"work queue {name}", f"changed ({', '.join(differing)})", partial(client.update_work_queue, known.id, **differing))


def _variable(config: Config, changes: Changes) -> None:
    """What the server's users, and other hosts' programs, may want to know of the site."""
    name = f"{config.runbook.stack}_site".replace("-", "_")
    wanted = {
        "title": config.runbook.title,
        "host": host_name(config.settings),
        "runs_on": config.settings.officeops_stack,
        "folder": str(config.folder),
    }
    known = Variable.get(name)
    if known != wanted:
        changes.make(
            f"variable {name}",
            "created" if known is None else "changed",
            lambda: Variable.set(name, wanted, tags=["officeops"], overwrite=True),
        )
