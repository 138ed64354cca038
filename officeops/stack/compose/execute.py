"""Runs a program inside a running container as if it were a child of ours: a process of its own, so that it has a timeout, streams
and an exit status like every other one (see officeops/process.py). Its end, however it comes, ends the program inside too.

python -m officeops.stack.compose.execute CONTAINER PROGRAM [ARGUMENT ...]
The program's own environment comes as JSON in OFFICEOPS_EXEC_ENVIRONMENT, so that secrets are in no argument list.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import IO, Any
from uuid import uuid4

from pydantic import SecretStr

from officeops.errors import OfficeOpsError
from officeops.process import Command
from officeops.stack.compose.commands import TOOL
from officeops.stack.compose.engine import ENGINE_FAILED, Engine

_ENVIRONMENT, _MARK = "OFFICEOPS_EXEC_ENVIRONMENT", "OFFICEOPS_EXEC"
_CHUNK = 1 << 16
_FRAME = struct.Struct(">BxxxL")  # of a multiplexed stream: 1 is stdout, 2 is stderr; the length of what follows
_CUT = 141  # as a shell says of a program whose reader went away: 128 + SIGPIPE
# Whatever has the mark in its environment: the program and its children. Asked, given two seconds, ended.
_END = """
marked() { for at in /proc/[0-9]*; do grep -qs "$0" "$at/environ" && echo "${at#/proc/}"; done; }
kill -TERM $(marked) 2>/dev/null || exit 0
echo ended
for moment in 1 2 3 4 5 6 7 8 9 10; do [ -z "$(marked)" ] && exit 0; sleep 0.2; done
kill -KILL $(marked) 2>/dev/null || true
"""


def command(container: str, argv: Sequence[str], environment: Mapping[str, str | SecretStr], *, kind: str = TOOL) -> Command:
    """The command that runs `argv` in the container, with `environment` beside the container's own. kind: as of commands.Container."""
    mark = f"{_MARK}={kind}-{uuid4().hex}"
    clear = {key: value.get_secret_value() if isinstance(value, SecretStr) else value for key, value in environment.items()}
    ours: dict[str, str | SecretStr] = {
        "PYTHONPATH": str(Path(__file__).resolve().parents[3]),
        _MARK: mark,
        _ENVIRONMENT: SecretStr(json.dumps(clear)),
    }
    secret = {f"{_ENVIRONMENT}_{key}": value for key, value in environment.items() if isinstance(value, SecretStr)}  # hidden in stderr
    program = (sys.executable, "-m", "officeops.stack.compose.execute", container, *argv)
    return Command(program, {**ours, **secret}, title=Path(argv[0]).name, on_kill=lambda: end(Engine(), container, mark))


def sweep(engine: Engine, containers: Iterable[Mapping[str, Any]], always: str) -> list[str]:
    """Ends what killed runs left running inside these containers: the engine was away when they ended, and could not be told. Only those
    are asked in which the engine knows of a program beside the container's own, and `always` (an engine that was started anew knows of
    none). Returns their names."""
    found = [one for one in containers if one.get("ExecIDs") or one["Id"] == always]
    return [one["Name"].lstrip("/") for one in found if end(engine, one["Id"], f"{_MARK}={TOOL}-")]


def end(engine: Engine, container: str, mark: str) -> bool:
    """Ends every process in the container whose mark begins so, and says whether there was one. What cannot be reached has ended with its
    container."""
    with suppress(OfficeOpsError), engine.explained():
        made = engine.api.exec_create(container, ["sh", "-c", _END, mark])
        return b"ended" in engine.api.exec_start(made["Id"])
    return False


class Inside:
    """A program in a container, its streams joined to ours."""

    def __init__(self, engine: Engine, container: str, argv: Sequence[str], environment: Mapping[str, str], mark: str) -> None:
        self._engine, self._container, self._mark = engine, container, mark
        key, value = mark.split("=")
        made = engine.api.exec_create(container, list(argv), stdin=True, environment={**environment, key: value})
        self._id = made["Id"]
        self._reader, self._socket = self._start()

    def run(self) -> int:
        """Until the program ends: its exit status."""
        threading.Thread(target=self._feed, daemon=True).start()
        self._relay()
        while (found := self._engine.api.exec_inspect(self._id))["Running"]:
            time.sleep(0.01)
        return int(found["ExitCode"])

    def end(self) -> None:
        """The program is gone, with its children. Its streams first: while the engine waits for somebody to read them, it answers
        nothing else about this container."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        end(self._engine, self._container, self._mark)

    def _start(self) -> tuple[IO[bytes], socket.socket]:
        """The hijacked connection. Not by the SDK's `socket=True`: that hands out the bare socket, and loses what the reader of the
        answer's header had read ahead, which happens on a busy machine."""
        api: Any = self._engine.api
        headers = {"Connection": "Upgrade", "Upgrade": "tcp"}
        answer = api._post_json(api._url("/exec/{0}/start", self._id), headers=headers, data={"Tty": False, "Detach": False}, stream=True)
        api._raise_for_status(answer)
        reader = answer.raw._fp.fp
        connection: socket.socket = reader.raw._sock
        connection.settimeout(None)
        self._answer = answer  # closed when it is collected
        return reader, connection

    def _feed(self) -> None:
        with suppress(OSError):
            while chunk := os.read(0, _CHUNK):
                self._socket.sendall(chunk)
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def _relay(self) -> None:
        with suppress(ConnectionResetError):  # how the program ended, or whether the engine did, is asked next
            while len(header := self._reader.read(_FRAME.size)) == _FRAME.size:
                stream, length = _FRAME.unpack(header)
                while length:
                    chunk = self._reader.read(min(length, 1 << 20))
                    if not chunk:
                        return
                    length -= len(chunk)
                    _write(stream, chunk)


def _write(descriptor: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(descriptor, view) :]


def main() -> int:
    """The program's exit status; 125 when it could not be run at all."""
    parent = os.getppid()
    signal.signal(signal.SIGTERM, _leave)
    container, *argv = sys.argv[1:]
    try:
        engine = Engine()
        with engine.explained():
            inside = Inside(engine, container, argv, json.loads(os.environ[_ENVIRONMENT]), os.environ[_MARK])
    except OfficeOpsError as error:
        return _say(error)
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    try:
        with engine.explained():
            return inside.run()
    except BrokenPipeError:
        inside.end()
        return _CUT
    except OfficeOpsError as error:
        inside.end()
        return _say(error)
    except BaseException:
        inside.end()
        raise


def _say(error: OfficeOpsError) -> int:
    """The exit status with which `Engine.asked` knows that the engine failed, and not the program."""
    sys.stderr.write(f"{error}\n")
    return ENGINE_FAILED


def _watch(parent: int) -> None:
    """Whoever wanted this is gone when our parent is another one: a killed run's program must not go on."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)


def _leave(_number: int, _frame: FrameType | None) -> None:
    sys.exit(143)


if __name__ == "__main__":
    sys.exit(main())
