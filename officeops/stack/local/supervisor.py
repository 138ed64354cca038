"""A group of programs kept running by supervisor: described, started, asked, stopped. Used for the stack and for the control plane."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import pwd
import shutil
import socket
import sys
import tempfile
import time
import xmlrpc.client
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from officeops.errors import OfficeOpsError, UsageError
from officeops.process import Command, run
from officeops.stack.local import launch

_LOG_BYTES, _LOG_FILES = "10MB", 3
_SAME_START_S = 5.0  # between the birth of a process and its first note
_INHERITED = ("PATH", "LANG", "LC_ALL", "SSL_CERT_FILE", "SSL_CERT_DIR")


@dataclass(frozen=True)
class Program:
    """One supervised program. user: name of the account it runs as (None: ours). stop_signal without "SIG". stop_wait in seconds."""

    name: str
    argv: tuple[str, ...]
    cwd: Path
    environment: Mapping[str, str | SecretStr] = field(default_factory=dict)
    user: str | None = None
    stop_signal: str = "TERM"
    stop_wait: float = 30


@dataclass(frozen=True)
class ProgramStatus:
    """state: supervisor's word (STOPPED, STARTING, RUNNING, BACKOFF, STOPPING, EXITED, FATAL).
    restarts: how often it came back by itself since it was last started on purpose."""

    name: str
    state: str
    pid: int | None
    started_at: datetime | None
    restarts: int
    detail: str


class Supervisor:
    """One supervisord: everything of it in `home/<name>`, its socket in a short folder of this user."""

    def __init__(self, home: Path, name: str) -> None:
        self.folder = home / name
        self.logs = self.folder / "logs"
        self._runtime = _runtime_folder(self.folder)
        self._socket = self._runtime / "supervisor.sock"

    @property
    def running(self) -> bool:
        """Whether it answers."""
        try:
            self._call("supervisor.getState")
        except (OSError, http.client.HTTPException):
            return False
        return True

    def apply(self, programs: Sequence[Program]) -> list[str]:
        """Makes `programs` the ones that there are. Running ones that changed are stopped. Starts none. Returns the names that changed."""
        changed = self._write(programs)
        if not self.running:
            self._start_daemon()
            return changed
        added, altered, removed = self._call("supervisor.reloadConfig")[0]
        for group in [*altered, *removed]:
            self._call("supervisor.stopProcessGroup", group)
            self._call("supervisor.removeProcessGroup", group)
        for group in [*added, *altered]:
            self._call("supervisor.addProcessGroup", group)
        for name in set(changed) - {*altered, *added}:
            self.stop(name)
        return changed

    def start(self, name: str) -> None:
        """The program's process exists when this returns. Raises OfficeOpsError when it exits at once."""
        if self.status_of(name).state in ("RUNNING", "STARTING"):
            return
        self._starts(name).unlink(missing_ok=True)
        try:
            self._call("supervisor.startProcess", name, True)
        except xmlrpc.client.Fault as fault:
            if "ALREADY_STARTED" in fault.faultString:
                return
            raise OfficeOpsError(
                f"{name} ended right after its start ({fault.faultString}).", state=self.last_words(name), todo=f"See {self.log(name)}."
            ) from fault

    def stop(self, name: str) -> None:
        """The program is stopped when this returns, and stays so."""
        with suppress(xmlrpc.client.Fault):  # NOT_RUNNING
            self._call("supervisor.stopProcess", name, True)

    def status(self) -> list[ProgramStatus]:
        """All programs; every one STOPPED when supervisor does not run."""
        try:
            raw = self._call("supervisor.getAllProcessInfo")
        except (OSError, http.client.HTTPException):
            return [ProgramStatus(name, "STOPPED", None, None, 0, "") for name in self._known()]
        return [self._status(info) for info in raw]

    def status_of(self, name: str) -> ProgramStatus:
        """One program. Raises UsageError when there is none of that name."""
        for status in self.status():
            if status.name == name:
                return status
        raise UsageError(f"There is no program {name!r} here.")

    def shutdown(self) -> None:
        """Nothing of it runs when this returns: neither supervisor nor any program, nor what a killed supervisor left behind."""
        pid = self._pid()
        with suppress(OSError, http.client.HTTPException):
            self._call("supervisor.shutdown")
        if pid is not None:
            _wait_gone(pid, 120)
        self._end_orphans()
        shutil.rmtree(self._runtime, ignore_errors=True)

    def log(self, name: str) -> Path:
        """The program's current log; older ones have .1, .2 ... behind it."""
        return self.logs / f"{name}.log"

    def last_words(self, name: str, lines: int = 12) -> str:
        """The end of its log."""
        try:
            return "\n".join(self.log(name).read_text(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return "It has no log yet."

    def _write(self, programs: Sequence[Program]) -> list[str]:
        for folder in (self.folder, self.logs, self.folder / "programs"):
            folder.mkdir(parents=True, exist_ok=True)
        changed = [program.name for program in programs if self._describe(program)]
        for stale in set(self._known()) - {program.name for program in programs}:
            (self.folder / "programs" / f"{stale}.json").unlink()
        (self.folder / "supervisord.conf").write_text(self._configuration(programs))
        return changed

    def _describe(self, program: Program) -> bool:
        """Writes the program's description. Returns whether it is another than before."""
        account = pwd.getpwnam(program.user) if program.user else None
        environment = {key: os.environ[key] for key in _INHERITED if key in os.environ}
        environment |= {k: v.get_secret_value() if isinstance(v, SecretStr) else v for k, v in program.environment.items()}
        description = {
            "argv": program.argv,
            "cwd": str(program.cwd),
            "environment": environment,
            "uid": account.pw_uid if account else None,
            "gid": account.pw_gid if account else None,
            "stop_signal": program.stop_signal,
            "starts": str(self._starts(program.name)),
        }
        path, text = self.folder / "programs" / f"{program.name}.json", json.dumps(description)
        if path.exists() and path.read_text() == text:
            return False
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        return True

    def _configuration(self, programs: Iterable[Program]) -> str:
        sections = [
            f"[unix_http_server]\nfile={self._socket}\nchmod=0700\n",
            f"[supervisord]\nlogfile={self.logs}/supervisord.log\npidfile={self._runtime}/supervisord.pid\nchildlogdir={self.logs}\n",
            "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n",
        ]
        for program in programs:
            command = f'"{sys.executable}" -I "{launch.__file__}" "{self.folder}/programs/{program.name}.json"'
            sections.append(
                f"[program:{program.name}]\ncommand={command}\nautostart=false\nautorestart=true\nstartsecs=1\n"
                # The default of 3 gives up while a killed PostgreSQL's children still hold its shared memory.
                f"startretries=1000000\nstopsignal={program.stop_signal}\nstopwaitsecs={program.stop_wait:.0f}\n"
                "stopasgroup=false\nkillasgroup=true\nredirect_stderr=true\n"
                f"stdout_logfile={self.log(program.name)}\nstdout_logfile_maxbytes={_LOG_BYTES}\nstdout_logfile_backups={_LOG_FILES}\n"
            )
        return "\n".join(sections).replace("%", "%%")

    def _end_orphans(self) -> None:
        """Programs of a supervisor that was killed were told to end by the kernel: see to it that they do."""
        import psutil

        left = []
        for path in (self.folder / "programs").glob("*.starts"):
            started, pid = path.read_text().split()[-2:]
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(int(pid))
                if abs(process.create_time() - float(started)) < _SAME_START_S:
                    left.append(process)
        _, alive = psutil.wait_procs(left, 20)
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(alive, 10)

    def _start_daemon(self) -> None:
        self._end_orphans()
        self._runtime.mkdir(mode=0o700, exist_ok=True)
        if self._runtime.stat().st_uid != os.geteuid():
            raise OfficeOpsError(f"{self._runtime} belongs to somebody else.", todo="Remove it, or set TMPDIR to a folder of your own.")
        command = Command((sys.executable, "-m", "supervisor.supervisord", "-c", str(self.folder / "supervisord.conf")), daemonizes=True)
        run(command, timeout=30)
        deadline = time.monotonic() + 15
        while not self.running:
            if time.monotonic() > deadline:
                raise OfficeOpsError(f"supervisor does not answer at {self._socket}.", todo=f"See {self.logs}/supervisord.log.")
            time.sleep(0.05)

    def _status(self, info: Mapping[str, Any]) -> ProgramStatus:
        running = info["pid"] != 0
        started = datetime.fromtimestamp(info["start"], UTC) if running else None
        detail = "" if running else (info["spawnerr"] or (info["description"] if info["statename"] != "STOPPED" else ""))
        return ProgramStatus(info["name"], info["statename"], info["pid"] or None, started, self._restarts(info["name"]), detail)

    def _restarts(self, name: str) -> int:
        try:
            return max(0, len(self._starts(name).read_text().splitlines()) - 1)
        except FileNotFoundError:
            return 0

    def _starts(self, name: str) -> Path:
        return self.folder / "programs" / f"{name}.starts"

    def _known(self) -> list[str]:
        return sorted(path.stem for path in (self.folder / "programs").glob("*.json"))

    def _pid(self) -> int | None:
        try:
            return int((self._runtime / "supervisord.pid").read_text())
        except (FileNotFoundError, ValueError):
            return None

    def _call(self, method: str, *arguments: Any) -> Any:
        proxy = xmlrpc.client.ServerProxy("http://localhost/RPC2", transport=_UnixTransport(str(self._socket)))
        return getattr(proxy, method)(*arguments)


class _UnixTransport(xmlrpc.client.Transport):
    """XML-RPC over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, _host: Any) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(150)
        connection.sock.connect(self._path)
        return connection


def _runtime_folder(folder: Path) -> Path:
    """Short, since a socket's path may have 107 bytes only; the same for the same folder and user."""
    digest = hashlib.sha256(str(folder).encode()).hexdigest()[:10]
    return Path(tempfile.gettempdir()) / f"officeops-{os.geteuid()}-{digest}"


def _wait_gone(pid: int, seconds: float) -> None:
    import psutil

    with suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait(seconds)
