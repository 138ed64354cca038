"""python -m deployments plan | apply"""

from __future__ import annotations

import argparse
import sys

from deployments.control_plane import NOTHING, become_client
from officeops.config import load
from officeops.errors import OfficeOpsError

_HELP = "plan: say what apply would change on the Prefect server. apply: change it, saying what."


def main() -> int:
    """Prints a line for each thing that is, or would be, changed."""
    parser = argparse.ArgumentParser(prog="python -m deployments", description="The control plane as code.")
    parser.add_argument("command", choices=["plan", "apply"], help=_HELP)
    command = parser.parse_args().command
    try:
        config = load()
        become_client(config)
        from deployments.apply import apply, plan

        changes = plan(config) if command == "plan" else apply(config)
    except OfficeOpsError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    print("\n".join(changes) or NOTHING)
    return 0


if __name__ == "__main__":
    sys.exit(main())
