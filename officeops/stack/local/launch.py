"""Starts one supervised program: run as a script by supervisor, with the program's description as its only argument.

The description is a JSON file that only its owner can read, so that secrets with any characters reach the program and nothing
else: supervisor's own format cannot quote them, and its command line is for everybody to see.
"""

import ctypes
import hashlib
import json
import os
import signal
import sys
import time
from contextlib import suppress

PR_SET_PDEATHSIG = 1
_LEFTOVERS_S = 10.0


def main() -> None:
    """Notes the start, drops privileges, and becomes the program. The kernel ends it when supervisor dies, however that happens."""
    with open(sys.argv[1], encoding="utf-8") as file:
        text = file.read()
    program = json.loads(text)
    end_leftovers(program, os.getsid(0))
    with open(program["starts"], "a", encoding="utf-8") as starts:
        starts.write(f"{time.time()} {os.getpid()} {digest(text)}\n")
    parent = os.getppid()
    if program["uid"] is not None:
        os.setgroups([program["gid"]])
        os.setgid(program["gid"])
        os.setuid(program["uid"])
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, getattr(signal, "SIG" + program["stop_signal"]))
    if os.getppid() != parent:
        sys.exit("supervisor died meanwhile")
    os.chdir(program["cwd"])
    # In UTF-8, whatever this process's locale is.
    environment = {key.encode(): value.encode() for key, value in program["environment"].items()}
    os.execve(program["argv"][0], [part.encode() for part in program["argv"]], environment)  # noqa: S606 - that is its purpose


def digest(description: str) -> str:
    """Tells which description a process was started with."""
    return hashlib.sha256(description.encode()).hexdigest()[:16]


def end_leftovers(program: dict[str, object], session: int) -> None:
    """What a run of this program that is over left behind is gone when this returns: it would hold the port, or the shared memory of the
    data. session: supervisor's."""
    former = last_pid(str(program["starts"]))
    left = [int(name) for name in os.listdir("/proc") if name.isdigit() and _is_leftover(int(name), former, program, session)]
    for pid in left:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + _LEFTOVERS_S
    while any(map(_lives, left)) and time.monotonic() < deadline:
        time.sleep(0.02)


def last_pid(starts: str) -> int | None:
    """The process of the last start that was noted to its end."""
    with suppress(OSError), open(starts, encoding="utf-8") as file:
        for line in reversed(file.read().split("\n")[:-1]):
            with suppress(ValueError, IndexError):
                return int(line.split()[1])
    return None


def _is_leftover(pid: int, former: int | None, program: dict[str, object], session: int) -> bool:
    if pid == os.getpid():
        return False
    with suppress(OSError):  # ended meanwhile, or somebody else's
        # A group's number is not given away while the group has members; only what this supervisor started is in its session.
        if former is not None and os.getpgid(pid) == former and os.getsid(pid) == session:
            return True
        if program["exclusive"]:
            same_folder = os.readlink(f"/proc/{pid}/cwd") == os.path.realpath(str(program["cwd"]))
            return same_folder and os.readlink(f"/proc/{pid}/exe") == os.path.realpath(program["argv"][0])  # type: ignore[index]
    return False


def _lives(pid: int) -> bool:
    with suppress(OSError), open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return file.read().rpartition(")")[2].split()[0] != "Z"
    return False


if __name__ == "__main__":
    main()
