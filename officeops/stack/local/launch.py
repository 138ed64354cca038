"""Starts one supervised program: run as a script by supervisor, with the program's description as its only argument.

The description is a JSON file that only its owner can read, so that secrets with any characters reach the program and nothing
else: supervisor's own format cannot quote them, and its command line is for everybody to see.
"""

import ctypes
import json
import os
import signal
import sys
import time

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Counts the start, drops privileges, and becomes the program. The kernel ends it when supervisor dies, however that happens."""
    with open(sys.argv[1], encoding="utf-8") as file:
        program = json.load(file)
    with open(program["starts"], "a", encoding="utf-8") as starts:
        starts.write(f"{time.time()} {os.getpid()}\n")
    parent = os.getppid()
    if program["uid"] is not None:
        os.setgroups([program["gid"]])
        os.setgid(program["gid"])
        os.setuid(program["uid"])
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, getattr(signal, "SIG" + program["stop_signal"]))
    if os.getppid() != parent:
        sys.exit("supervisor died meanwhile")
    os.chdir(program["cwd"])
    os.execve(program["argv"][0], program["argv"], program["environment"])  # noqa: S606 - that is its purpose


if __name__ == "__main__":
    main()
