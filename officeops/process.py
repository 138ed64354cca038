"""The one place that starts child processes.

Each gets a timeout, a process group of its own, stdout and stderr kept apart, a clean environment, and its
exit status checked. On the way out, however that happens, the whole group is gone.
"""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from pydantic import SecretStr

from officeops.errors import OfficeOpsError

_PASSED_ON = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "PIP_CERT",
    "DOCKER_HOST",
)
_STDERR_LINES = 60
_GRACE_S = 5.0


@dataclass(frozen=True)
class Command:
    """A program to run, with no shell.

    env: added to the few inherited variables; secrets go here, never into argv.
    user: account to run as, None for ours (only root may name another).
    on_kill: called after the group was killed, for what the kill does not reach (a process inside a container).
    """

    argv: tuple[str, ...]
    env: Mapping[str, str | SecretStr] = field(default_factory=dict)
    cwd: Path | None = None
    user: str | None = None
    on_kill: Callable[[], None] | None = None

    @property
    def name(self) -> str:
        """The program's bare name, for messages."""
        return Path(self.argv[0]).name

    def environment(self) -> dict[str, str]:
        """The whole environment of the child, secrets in clear."""
        inherited = {key: os.environ[key] for key in _PASSED_ON if key in os.environ}
        own = {k: v.get_secret_value() if isinstance(v, SecretStr) else v for k, v in self.env.items()}
        return {**inherited, **own}


class CommandError(OfficeOpsError):
    """A child process that could not be started, failed, was killed or took too long."""

    def __init__(self, command: Command, how: str, stderr: str, *, status: int | None = None) -> None:
        self.command, self.status, self.stderr = command, status, stderr.strip()
        said = f": {self.stderr}" if self.stderr else ", and said nothing on stderr"
        super().__init__(f"{command.name} {how}{said}.")


class CommandTimeoutError(CommandError):
    """The child was killed because its time was up."""


@dataclass(frozen=True)
class Completed:
    """What a finished child left behind."""

    status: int
    stdout: bytes
    stderr: str


class Child:
    """A running child process. `stdin` and `stdout` are binary pipes where they were asked for."""

    def __init__(self, command: Command, popen: subprocess.Popen[bytes], deadline: float) -> None:
        self.command, self._popen, self._deadline = command, popen, deadline
        self._stderr: deque[str] = deque(maxlen=_STDERR_LINES)
        self._timed_out = False
        self._reader = threading.Thread(target=self._read_stderr, daemon=True)
        self._reader.start()
        self._timer = threading.Timer(max(0.0, deadline - time.monotonic()), self._expire)
        self._timer.daemon = True
        self._timer.start()

    @property
    def pid(self) -> int:
        """The child's process id, which is also its group's."""
        return self._popen.pid

    @property
    def stdin(self) -> IO[bytes]:
        """The pipe into the child."""
        assert self._popen.stdin is not None, "stdin was not asked for"
        return self._popen.stdin

    @property
    def stdout(self) -> IO[bytes]:
        """The pipe out of the child."""
        assert self._popen.stdout is not None, "stdout was not asked for"
        return self._popen.stdout

    def wait(self, *, ok: Sequence[int] = (0,)) -> int:
        """Waits for the end and returns the exit status. Raises CommandError unless it is one of `ok`."""
        status = self._popen.wait()
        self._timer.cancel()
        self._reader.join(timeout=_GRACE_S)
        if self._timed_out:
            raise CommandTimeoutError(self.command, "took too long and was stopped", self.stderr, status=status)
        if status not in ok:
            how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"failed with status {status}"
            raise CommandError(self.command, how, self.stderr, status=status)
        return status

    @property
    def stderr(self) -> str:
        """The last lines that the child wrote to stderr."""
        return "\n".join(self._stderr)

    def kill(self) -> None:
        """Ends the whole group, if the child still runs: SIGTERM, five seconds, SIGKILL."""
        self._timer.cancel()
        if self._popen.poll() is not None:
            return  # reaped: its number may belong to somebody else by now
        os.killpg(self.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._popen.wait(_GRACE_S)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait()
        if self.command.on_kill is not None:
            self.command.on_kill()

    def close(self) -> None:
        """Ends the child if it still runs and frees the pipes."""
        self.kill()
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()

    def _expire(self) -> None:
        if self._popen.poll() is None:
            self._timed_out = True
            self.kill()

    def _read_stderr(self) -> None:
        assert self._popen.stderr is not None
        with self._popen.stderr as pipe:
            for line in iter(lambda: pipe.readline(8192), b""):
                self._stderr.append(line.decode(errors="replace").rstrip("\n"))


@contextmanager
def started(
    command: Command,
    *,
    timeout: float,
    stdin: int | IO[bytes] | None = None,
    stdout: int | IO[bytes] | None = subprocess.PIPE,
) -> Iterator[Child]:
    """Starts `command` for the length of the block; it is killed after `timeout` seconds or when the block is left.

    The block must call `wait()` to have the exit status checked. Raises CommandError when it cannot be started.
    """
    try:
        popen = subprocess.Popen(
            command.argv,
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            env=command.environment(),
            cwd=command.cwd,
            user=command.user,
            group=pwd.getpwnam(command.user).pw_gid if command.user else None,
            extra_groups=[] if command.user else None,
            start_new_session=True,
        )
    except OSError as error:
        raise CommandError(command, "could not be started", str(error)) from error
    child = Child(command, popen, time.monotonic() + timeout)
    try:
        yield child
    finally:
        child.close()


def run(command: Command, *, timeout: float, stdin: bytes = b"", ok: Sequence[int] = (0,)) -> Completed:
    """Runs `command` to its end and returns what it printed (kept in memory: for short output only).

    Raises CommandError unless the exit status is one of `ok`, CommandTimeoutError after `timeout` seconds.
    """
    with started(command, timeout=timeout, stdin=subprocess.PIPE if stdin else None) as child:
        if stdin:
            writer = threading.Thread(target=_feed, args=(child.stdin, stdin), daemon=True)
            writer.start()
        out = child.stdout.read()
        status = child.wait(ok=ok)
        return Completed(status, out, child.stderr)


def _feed(pipe: IO[bytes], data: bytes) -> None:
    with suppress(BrokenPipeError), pipe:
        pipe.write(data)
