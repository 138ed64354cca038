"""A group of programs kept running by supervisor: described, started, asked, stopped. Used for the stack and for the control plane."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import pwd
import shlex
import shutil
import socket
import sys
import tempfile
import time
import xmlrpc.client
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from officeops.errors import OfficeOpsError, UsageError
from officeops.process import Command, run
from officeops.stack.local import launch

if TYPE_CHECKING:
    import psutil

LOG_BYTES, LOG_FILES = 10 << 20, 3  # of each program: the one that is written and two older ones
_SAME_START_S = 5.0  # between the birth of a process and its first note
_STOP_S = 120.0
_SOCKET_BYTES = 107 - len(".4194304")  # supervisor binds it under a name with its process id behind, then links it into place
_INHERITED = ("PATH", "LANG", "LC_ALL", "SSL_CERT_FILE", "SSL_CERT_DIR")


@dataclass(frozen=True)
class Program:
    """One supervised program. user: name of the account it runs as (None: ours). stop_signal without "SIG". stop_wait in seconds.
    exclusive: whatever else runs this program in this folder was left behind by a killed run, and is ended before a start.
    release: sha of the release that it belongs to, empty for none."""

    name: str
    argv: tuple[str, ...]
    cwd: Path
    environment: Mapping[str, str | SecretStr] = field(default_factory=dict)
    user: str | None = None
    stop_signal: str = "TERM"
    stop_wait: float = 30
    exclusive: bool = False
    release: str = ""


@dataclass(frozen=True)
class ProgramStatus:
    """state: supervisor's word (STOPPED, STARTING, RUNNING, BACKOFF, STOPPING, EXITED, FATAL).
    restarts: how often it came back by itself since it was last started on purpose. release: as it was described."""

    name: str
    state: str
    pid: int | None
    started_at: datetime | None
    restarts: int
    detail: str
    release: str


@dataclass(frozen=True)
class _Start:
    """A start as the launcher noted it."""

    at: float
    pid: int
    digest: str


class Supervisor:
    """One supervisord: everything of it in `home/<name>`, its socket in a short folder of this user."""

    def __init__(self, home: Path, name: str) -> None:
        self.folder = home / name
        self.logs = self.folder / "logs"
        self._configuration_file = self.folder / "supervisord.conf"
        self._runtime_note = self.folder / "runtime"
        self._pid_file = self.folder / "supervisord.pid"

    @property
    def url(self) -> str:
        """Where it is asked, as for `supervisorctl -s`."""
        return f"unix://{self._socket}"

    @property
    def running(self) -> bool:
        """Whether it answers, and is not about to end."""
        try:
            return bool(self._call("supervisor.getState")["statename"] == "RUNNING")
        except (OSError, http.client.HTTPException):
            return False

    def apply(self, programs: Sequence[Program]) -> None:
        """Makes `programs` the ones that there are. Running ones that were started with another description are stopped. Starts none."""
        if not self.running:
            self.sweep()
            self._runtime_note.unlink(missing_ok=True)
            self._write(programs)
            self._start_daemon()
            return
        self._write(programs)
        added, altered, removed = self._call("supervisor.reloadConfig")[0]
        for group in [*altered, *removed]:
            self._call("supervisor.stopProcessGroup", group)
            self._call("supervisor.removeProcessGroup", group)
        for group in [*added, *altered]:
            self._call("supervisor.addProcessGroup", group)
        for program in programs:
            if self._is_outdated(program.name):
                self.stop(program.name)

    def put(self, program: Program) -> None:
        """Adds one program to those that there are, or replaces the one of its name, which is stopped first. Does not start it."""
        self.remove([program.name])
        self._describe(program)
        self._write_configuration()
        self._call("supervisor.reloadConfig")  # reads; what runs is left alone
        self._call("supervisor.addProcessGroup", program.name)

    def remove(self, names: Sequence[str]) -> None:
        """These programs are no more, nor anything that they had started: asked to stop all at once, given their grace, ended. Their logs
        stay. No error when there are none of these names."""
        if not self.running:
            self.sweep()
        elif names:
            with ThreadPoolExecutor(len(names)) as pool:
                list(pool.map(self._take_out, names))
        for name in names:
            self._description(name).unlink(missing_ok=True)
            self._starts(name).unlink(missing_ok=True)
        if self._configuration_file.exists():
            self._write_configuration()

    def begin(self, name: str) -> None:
        """The program is asked to start. Not waited for: ask its status."""
        if self.status_of(name).state in ("RUNNING", "STARTING"):
            return
        self._starts(name).unlink(missing_ok=True)
        with suppress(xmlrpc.client.Fault):  # ALREADY_STARTED
            self._call("supervisor.startProcess", name, False)

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
        except (OSError, http.client.HTTPException, xmlrpc.client.Fault):  # the last: it is about to end
            return [ProgramStatus(name, "STOPPED", None, None, 0, "", self._release(name)) for name in self._known()]
        return [self._status(info) for info in raw]

    def processes(self) -> set[int]:
        """The ids of everything that the running programs consist of."""
        import psutil

        found: set[int] = set()
        for status in self.status():
            with suppress(psutil.NoSuchProcess):
                if status.pid is not None:
                    found |= {status.pid, *(child.pid for child in psutil.Process(status.pid).children(recursive=True))}
        return found

    def status_of(self, name: str) -> ProgramStatus:
        """One program. Raises UsageError when there is none of that name."""
        for status in self.status():
            if status.name == name:
                return status
        raise UsageError(f"There is no program {name!r} here.")

    def shutdown(self) -> None:
        """Nothing of it runs when this returns: neither supervisor nor any program, nor what a killed supervisor left behind."""
        daemon = self._daemon()
        with suppress(OSError, http.client.HTTPException, xmlrpc.client.Fault):
            self._call("supervisor.shutdown")
        self._see_off(daemon)
        self._end_orphans()
        shutil.rmtree(self._runtime, ignore_errors=True)
        self._runtime_note.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Ends what a supervisor that was killed, or that cannot be reached any more, left behind. One that runs is left alone."""
        if not self.running:
            self._see_off(self._daemon())
            self._end_orphans()

    def kept(self) -> dict[str, tuple[int | None, int]]:
        """How the logs of all programs are kept, as the supervisor that runs has it: bytes of a file (None: without a limit), and files."""
        try:
            raw = self._call("supervisor.getAllConfigInfo")
        except (OSError, http.client.HTTPException, xmlrpc.client.Fault):
            return {}
        return {one["name"]: (one["stdout_logfile_maxbytes"] or None, one["stdout_logfile_backups"] + 1) for one in raw}

    def log(self, name: str) -> Path:
        """The program's current log; older ones have .1, .2 ... behind it."""
        return self.logs / f"{name}.log"

    def last_words(self, name: str, lines: int = 12) -> str:
        """The end of its log."""
        try:
            return "\n".join(self.log(name).read_text(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return "It has no log yet."

    def _write(self, programs: Sequence[Program]) -> None:
        for folder in (self.folder, self.logs, self.folder / "programs"):
            folder.mkdir(parents=True, exist_ok=True)
        for program in programs:
            self._describe(program)
        for stale in set(self._known()) - {program.name for program in programs}:
            self._description(stale).unlink()
        self._write_configuration()

    def _write_configuration(self) -> None:
        """From the descriptions, which are there for each program."""
        described = {name: json.loads(self._description(name).read_text(encoding="utf-8")) for name in self._known()}
        self._configuration_file.write_text(self._configuration(described), encoding="utf-8")

    def _take_out(self, name: str) -> None:
        """Stopped, with what it leaves behind, and none of supervisor's programs any more."""
        self.stop(name)
        with suppress(FileNotFoundError):
            description = json.loads(self._description(name).read_text(encoding="utf-8"))
            launch.end_leftovers(description, os.getsid(self._call("supervisor.getPID")))
        deadline = time.monotonic() + _STOP_S
        while True:
            try:
                self._call("supervisor.removeProcessGroup", name)
            except xmlrpc.client.Fault as fault:
                if "BAD_NAME" in fault.faultString:
                    return
                if time.monotonic() > deadline:
                    raise OfficeOpsError(f"{name} does not stop.", todo=f"See {self.log(name)} and {self.logs}/supervisord.log.") from fault
                time.sleep(0.05)  # STILL_RUNNING: somebody else had asked it to stop already

    def _describe(self, program: Program) -> None:
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
            "stop_wait": program.stop_wait,
            "release": program.release,
            "starts": str(self._starts(program.name)),
            "exclusive": program.exclusive,
        }
        path = self._description(program.name)
        temporary = path.with_suffix(".new")
        temporary.unlink(missing_ok=True)
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(json.dumps(description))
        temporary.rename(path)

    def _is_outdated(self, name: str) -> bool:
        """Whether it was started with another description than today's. (Files alone do not tell: whoever wrote them may have been
        killed before the program was stopped.)"""
        last = self._last_start(name)
        return last is None or last.digest != launch.digest(self._description(name).read_text(encoding="utf-8"))

    def _configuration(self, programs: Mapping[str, Mapping[str, Any]]) -> str:
        """Paths are relative to our folder, which is supervisord's working directory: its format cannot quote every character."""
        sections = [
            f"[unix_http_server]\nfile={self._socket}\nchmod=0700\n",
            "[supervisord]\nlogfile=logs/supervisord.log\npidfile=supervisord.pid\nchildlogdir=logs\n",
            "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n",
        ]
        for name, program in programs.items():
            command = shlex.join((sys.executable, "-I", launch.__file__, f"programs/{name}.json"))
            sections.append(
                f"[program:{name}]\ncommand={command}\nautostart=false\nautorestart=true\nstartsecs=1\n"
                # The default of 3 gives up while a killed PostgreSQL's children still hold its shared memory.
                f"startretries=1000000\nstopsignal={program['stop_signal']}\nstopwaitsecs={program['stop_wait']:.0f}\n"
                "stopasgroup=false\nkillasgroup=true\nredirect_stderr=true\n"
                f"stdout_logfile=logs/{name}.log\nstdout_logfile_maxbytes={LOG_BYTES}\nstdout_logfile_backups={LOG_FILES - 1}\n"
            )
        return "\n".join(sections).replace("%", "%%")

    def _see_off(self, daemon: psutil.Process | None) -> None:
        """Waits for a supervisord that was asked to end; asks again, and in the end insists."""
        import psutil

        if daemon is None:
            return
        for ask, seconds in ((daemon.terminate, _STOP_S), (daemon.kill, 10.0)):
            with suppress(psutil.NoSuchProcess):
                ask()
            with suppress(psutil.TimeoutExpired):
                daemon.wait(seconds)
                return

    def _end_orphans(self) -> None:
        """Programs of a supervisor that was killed were told to end by the kernel: see to it that they do."""
        import psutil

        left = []
        for path in (self.folder / "programs").glob("*.starts"):
            last = self._last_start(path.stem)
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(last.pid) if last else None
                if last and process and abs(process.create_time() - last.at) < _SAME_START_S:
                    left += [process, *process.children(recursive=True)]
        _, alive = psutil.wait_procs(left, 20)
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(alive, 10)

    def _require_runtime(self) -> None:
        runtime = self._runtime
        if len(os.fsencode(self._socket)) > _SOCKET_BYTES:
            raise OfficeOpsError(
                f"The path {self._socket} is too long for a socket.", state="Nothing was started.", todo="Set TMPDIR to a shorter path."
            )
        try:
            runtime.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise OfficeOpsError(
                f"{runtime} cannot be made: {error.strerror}.",
                state="Nothing was started.",
                todo="Set TMPDIR to a folder that you may write to.",
            ) from error
        if runtime.stat().st_uid != os.geteuid():
            raise OfficeOpsError(f"{runtime} belongs to somebody else.", todo="Remove it, or set TMPDIR to a folder of your own.")
        self._runtime_note.write_text(str(runtime), encoding="utf-8")

    def _start_daemon(self) -> None:
        self._require_runtime()
        command = Command(
            (sys.executable, "-m", "supervisor.supervisord", "-c", str(self._configuration_file)), cwd=self.folder, daemonizes=True
        )
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
        name = info["name"]
        return ProgramStatus(name, info["statename"], info["pid"] or None, started, self._restarts(name), detail, self._release(name))

    def _restarts(self, name: str) -> int:
        try:
            return max(0, len(self._starts(name).read_text().splitlines()) - 1)
        except FileNotFoundError:
            return 0

    def _release(self, name: str) -> str:
        try:
            return str(json.loads(self._description(name).read_text(encoding="utf-8")).get("release", ""))
        except FileNotFoundError:
            return ""

    def _starts(self, name: str) -> Path:
        return self.folder / "programs" / f"{name}.starts"

    def _known(self) -> list[str]:
        return sorted(path.stem for path in (self.folder / "programs").glob("*.json"))

    def _description(self, name: str) -> Path:
        return self.folder / "programs" / f"{name}.json"

    def _last_start(self, name: str) -> _Start | None:
        """The last start that was noted to its end."""
        try:
            lines = self._starts(name).read_text().split("\n")[:-1]
            at, pid, digest = lines[-1].split()
            return _Start(float(at), int(pid), digest)
        except (FileNotFoundError, IndexError, ValueError):
            return None

    def _daemon(self) -> psutil.Process | None:
        """The supervisord of this folder, also when it does not answer (its socket lies where temporary files are cleared away)."""
        import psutil

        try:
            found = psutil.Process(self._call("supervisor.getPID"))
        except (OSError, http.client.HTTPException, xmlrpc.client.Fault, psutil.NoSuchProcess):
            try:
                found = psutil.Process(int(self._pid_file.read_text()))
            except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
                return None
        with suppress(psutil.Error):  # the number may be another process's by now
            if str(self._configuration_file) in found.cmdline():
                return found
        return None

    @property
    def _socket(self) -> Path:
        return self._runtime / "supervisor.sock"

    @property
    def _runtime(self) -> Path:
        """Where the socket is. Noted at the start: the next one to ask may have another TMPDIR."""
        try:
            return Path(self._runtime_note.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return self._runtime_here()

    def _runtime_here(self) -> Path:
        """Short, since a socket's path may have 107 bytes only; the same for the same folder and user."""
        digest = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:10]
        return Path(tempfile.gettempdir()) / f"officeops-{os.geteuid()}-{digest}"

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
