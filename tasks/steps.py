"""What every step is: a task that repeats what may pass, stops what hangs, keeps nothing but its artifacts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.futures import PrefectFuture
from prefect.futures import wait as wait_for_futures
from prefect.tasks import exponential_backoff

from officeops.errors import OfficeOpsError

Given = ParamSpec("Given")
Result = TypeVar("Result")


def step(name: str, *, retries: int = 0) -> Callable[[Callable[Given, Result]], Task[Given, Result]]:
    """A task named `name`. Repeats up to `retries` times, with growing and jittered pauses, what fails for a reason that passes
    (network, S3 5xx); never what a repetition cannot mend (disk full, wrong key)."""

    def decorate(function: Callable[Given, Result]) -> Task[Given, Result]:
        return task(
            function,
            name=name,
            retries=retries,
            retry_delay_seconds=exponential_backoff(backoff_factor=2) if retries else None,
            retry_jitter_factor=0.5 if retries else None,
            retry_condition_fn=_passes,
            cache_policy=NO_CACHE,
            persist_result=False,
        )

    return decorate


def settle(*futures: PrefectFuture[Any]) -> None:
    """Waits for all branches. What failed is known to the object that they work on, which reports it; a defect of ours is raised."""
    wait_for_futures(list(futures))
    for future in futures:
        if future.state.is_failed() or future.state.is_crashed():
            error = future.result(raise_on_failure=False)
            if isinstance(error, BaseException) and not isinstance(error, OfficeOpsError):
                raise error


def _passes(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    try:
        state.result()
    except OfficeOpsError as error:
        return error.transient
    except Exception:  # noqa: BLE001 - a defect of ours does not pass
        return False
    return False
