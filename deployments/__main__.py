"""python -m deployments apply"""

from __future__ import annotations

import argparse
import os
import sys

from deployments.control_plane import client_environment
from officeops.config import load
from officeops.errors import OfficeOpsError


def main() -> int:
    """Prints a line for each thing that was changed."""
    parser = argparse.ArgumentParser(prog="python -m deployments", description="The control plane as code.")
    parser.add_argument("command", choices=["apply"])
    parser.parse_args()
    try:
        config = load()
        os.environ.update(client_environment(config))
        from deployments.apply import apply

        changes = apply(config)
    except OfficeOpsError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    print("\n".join(changes) or "Nothing to change.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
