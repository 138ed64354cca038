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
    "DOCKER_CONFIG",
    "DOCKER_TLS_VERIFY",
    "DOCKER_CERT_PATH",
)
_STDERR_LINES = 60
_GRACE_S = 5.0


@dataclass(frozen=True)
class Command:
    """A program to run, with no shell.

    env: added to the few inherited variables; secrets go here, never into argv.
    user: account to run as, None for ours (only root may name another).
    daemonizes: what it leaves behind when it ends well is meant to live on; of any other program nothing does.
    on_kill: called after the group was killed, for what the kill does not reach (a process inside a container).
    title: what it is called in messages, when that is not the program's own name.
    tells_on_stdout: why it failed may stand at the end of what it prints, and belongs into the message of `run`.
    explain: the error that a failure with this status and these words on stderr is told as, None for a CommandError.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str | SecretStr] = field(default_factory=dict)
    cwd: Path | None = None
    user: str | None = None
    daemonizes: bool = False
    on_kill: Callable[[], object] | None = None
    title: str = ""
    explain: Callable[[int, str], OfficeOpsError | None] | None = None
    tells_on_stdout: bool = False

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return self.title or Path(self.argv[0]).name

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
        self._timed_out = self._over = self._reaped = False
        self._lock = threading.Lock()
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
        status = self._end()
        if not self.command.daemonizes:
            self._signal(signal.SIGKILL)  # what it left behind would hold its pipes open
        with self._lock:  # a time that runs out now is finished with before we go on
            self._over = True
        self._timer.cancel()
        self._reader.join(timeout=_GRACE_S)
        if self._timed_out:
            raise CommandTimeoutError(self.command, "took too long and was stopped", self.stderr, status=status)
        if status not in ok:
            how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"failed with status {status}"
            error = CommandError(self.command, how, self.stderr, status=status)
            explained = self.command.explain and self.command.explain(status, self.stderr)
            if explained:
                raise explained from error
            raise error
        return status

    @property
    def stderr(self) -> str:
        """The last lines that the child wrote to stderr, without the secrets that it was given."""
        text = "\n".join(self._stderr)
        for value in self.command.env.values():
            if isinstance(value, SecretStr) and (secret := value.get_secret_value()):
                text = text.replace(secret, "(hidden)")
        return text

    def kill(self) -> None:
        """Ends the whole group: SIGTERM, five seconds, SIGKILL. Of a child that ended by itself, what it left behind."""
        self._timer.cancel()
        with self._lock:
            self._over = True
            if not self._reaped:
                self._end_group(spare=self.command.daemonizes)
                self._popen.wait()
                self._reaped = True

    def close(self) -> None:
        """Ends the child if it still runs and frees the pipes."""
        self.kill()
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()

    def _expire(self) -> None:
        with self._lock:
            if not self._over:
                self._timed_out = True
                self._end_group(spare=False)

    def _end_group(self, *, spare: bool) -> None:
        """spare: leave alone what a child that ended by itself left behind."""
        running = self._status() is None
        if running:
            self._signal(signal.SIGTERM)
            deadline = time.monotonic() + _GRACE_S
            while self._status() is None and time.monotonic() < deadline:
                time.sleep(0.01)
        if running or not spare:
            self._signal(signal.SIGKILL)
        if running and self.command.on_kill is not None:
            self.command.on_kill()

    def _signal(self, number: signal.Signals) -> None:
        """To the whole group. The child is not reaped yet, so the group's number cannot be somebody else's."""
        if self._popen.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    def _end(self) -> int:
        """Waits for the child's end without reaping it. Returns its exit status, or minus the signal that killed it."""
        if self._popen.returncode is None:
            with suppress(ChildProcessError):  # closed meanwhile, in another thread
                os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        status = self._status()
        assert status is not None
        return status

    def _status(self) -> int | None:
        """The exit status, or minus the signal; None while the child runs."""
        if self._popen.returncode is not None:
            return self._popen.returncode
        try:
            ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return self._popen.wait()
        if ended is None:
            return None
        return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status

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
    except (OSError, KeyError) as error:  # KeyError: there is no such account
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
        try:
            status = child.wait(ok=ok)
        except CommandError as error:
            if not command.tells_on_stdout or error.status is None:
                raise
            said = "\n".join([*out.decode(errors="replace").splitlines()[-_STDERR_LINES:], error.stderr])
            raise CommandError(command, f"failed with status {error.status}", said, status=error.status) from error
        return Completed(status, out, child.stderr)


def _feed(pipe: IO[bytes], data: bytes) -> None:
    with suppress(BrokenPipeError), pipe:
        pipe.write(data)
