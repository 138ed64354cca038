"""What a run leaves behind however it ends: failed and stopped runs have a report too, a rejected one is cancelled, and the dashboard and
the forms' choices are anew."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from prefect.exceptions import TerminationSignal
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Cancelled

from officeops.errors import OfficeOpsError
from officeops.site import open_site
from tasks import choices, dashboard, reporting
from tasks.approvals import RejectedError

Given = ParamSpec("Given")
Result = TypeVar("Result")
_STOPPED = OfficeOpsError(
    "The run was cancelled, or its process was asked to end, before it was done.", todo="Start it again when it is to be done."
)


def accounted(what: str) -> Callable[[Callable[Given, Result]], Callable[Given, Result]]:
    """For the body of a flow. what: the key of its report, such as `rollback`; the newest report of that key may be of a failed run."""

    def decorate(body: Callable[Given, Result]) -> Callable[Given, Result]:
        @wraps(body)
        def run(*arguments: Given.args, **named: Given.kwargs) -> Result:
            try:
                result = body(*arguments, **named)
            except RejectedError as error:
                _leave(what, error, "rejected")
                return cast(Result, Cancelled(message=str(error)))
            except (TerminationSignal, KeyboardInterrupt):  # in some seconds the process is killed
                _leave(what, _STOPPED, "stopped")
                raise
            except Exception as error:
                _leave(what, error, "failed")
                raise
            _leave(what, None, "done")
            return result

        # Prefect looks names of types up where the function it is given was written, which is here.
        run.__signature__ = inspect.signature(body, eval_str=True)  # type: ignore[attr-defined]
        return run

    return decorate


def _leave(what: str, error: Exception | None, how: str) -> None:
    """What is shown to people is no part of what was done: trouble with it is logged."""
    try:
        site = open_site()
        if error is not None:
            reporting.report(what, site.name, ending(what, how, error), description=f"{what}: {how}")
        dashboard.publish(site)
        choices.refresh(site)
    except Exception as trouble:  # noqa: BLE001 - the run's own outcome is what counts
        get_run_logger().warning("What this run did could not be shown: %s: %s", type(trouble).__name__, trouble)


def ending(what: str, how: str, error: Exception) -> str:
    """The report of a run that did not do what was asked, as Markdown."""
    known = error if isinstance(error, OfficeOpsError) else None
    happened = known.what if known else f"{type(error).__name__}: {error} (a defect of this program; its traceback is in the run's log)"
    state = (known.state if known else "") or "What was begun is undone, or ended by the next run and by `officeops reconcile`."
    todo = (known.todo if known else "") or (
        "Nothing." if how == "rejected" else "Look at the run's log; start it again when its cause is gone."
    )
    rows = [("run", flow_run.name or "-"), *_asked(flow_run.parameters)]
    table = "\n".join(f"| {name} | {reporting.cell(value)} |" for name, value in rows)
    return (
        f"## {what}: {how}\n\n**What happened.** {happened.strip()}\n\n**How things are.** {state.strip()}\n\n**What to do.** {todo.strip()}"
        f"\n\n| | |\n|---|---|\n{table}\n"
    )


def _asked(parameters: Any) -> list[tuple[str, str]]:
    options = (parameters or {}).get("options")
    fields = options if isinstance(options, dict) else vars(options) if options is not None else {}
    return [(name.replace("_", " "), str(value)) for name, value in fields.items() if value not in (None, "", [], False)]
