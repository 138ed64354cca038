"""The `officeops` command. Reading commands import no Prefect, so that they answer at once."""

from __future__ import annotations

import sys
import traceback
from importlib import import_module

import typer

from officeops.errors import OfficeOpsError
from officeops_cli.console import show_error

app = typer.Typer(
    name="officeops",
    help="Keeps a self-hosted application alive: backups proven restorable, restores, releases, upkeep.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for module in (
    "stack",
    "checks",
    "alerts",
    "watch",
    "heal",
    "releases",
    "migrate",
    "backups",
    "restores",
    "archive",
    "logs",
    "upkeep",
    "demo",
):
    import_module(f"officeops_cli.{module}").register(app)


def main() -> None:
    """Runs the command. Exit status: 0 done, 1 tried and failed, 2 bad usage or configuration, 3 refused."""
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        app(arguments, standalone_mode=True)
    except OfficeOpsError as error:
        if debug:
            traceback.print_exception(error)
        show_error(error)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
